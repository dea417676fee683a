"""RMDNet on a laptop's CPU: 10,000 real CIFAR-10 images and a narrow ResNet-18.

python launch.py --config=configs/cifar10_small.py:gce

The ImageNet stem (stride 4 before the first block) costs a sixteenth of the CIFAR stem's
arithmetic: weaker, but two million images of training in an hour. Images are mirrored and not
cropped, so that 40 epochs are enough to begin learning the wrong labels by heart. The loss alone is
trained beside it, same seed and budget. See RESULTS.md for what it reaches and costs.
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
