"""RMDNet on a laptop's CPU: 10,000 real CIFAR-10 images and a narrow ResNet-18.

python launch.py --config=configs/cifar10_small.py:gce

The ImageNet stem (stride 4 before the first block) costs a sixteenth of the CIFAR stem's
arithmetic: it is weaker, but trains on two million images per hour. Images are mirrored but not
cropped, so that 40 epochs are enough to start memorising the wrong labels. The loss alone is
trained beside it, with the same seed and budget. RESULTS.md has their accuracy and cost.
"""

from configs import rgrl_cifar10


def get_config(loss="ce"):
    config = rgrl_cifar10.get_config(loss)
    config.checkpoint_every = 10.0
    config.dataset.train_size = 10000
    config.model.stem = "imagenet"
    config.model.width = 16
    config.augment.pad = 0
    config.rm.epochs = 200
    config.train.epochs = 40
    config.train.lr = 0.02
    config.method.baseline = "robust"
    return config
