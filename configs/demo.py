"""The demo: scikit-learn's digits under 40 % symmetric noise, CE alone against CE + RMDNet.

python launch.py --config=configs/demo.py        (make demo sets everything up first)

Minutes on two CPU cores. Both train without augmentation, so that in 30 epochs the network has time
to learn the wrong labels by heart, what takes CIFAR hundreds; with random crops
(--config.augment.pad=2) CE alone does not get there and does well. Digits are easy: they show the
effect of the regulariser, not the worth of the teacher (try --config.teacher.kind=random).
"""

from rmdnet_jax.config import default


def get_config():
    config = default()
    config.dataset.name = "digits"
    config.checkpoint_every = 10
    config.model.width = 12
    config.augment.flip = False  # a mirrored 2 is no 2
    config.augment.pad = 0
    config.rm.epochs = 30
    config.rm.min_area = 0.5  # a fifth of a digit is any digit
    config.rm.knn_k = 20
    config.rgrl.epochs = 30
    config.rgrl.lr = 0.05
    config.rgrl.k = 0.3
    config.rgrl.baseline = True
    return config
