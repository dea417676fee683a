"""The demo: scikit-learn's digits under 40 % symmetric noise, CE alone against CE + RMDNet.

python launch.py --config=configs/demo.py        (make demo sets everything up first)

Minutes on two CPU cores. Digits are easy: they show the effect of the regulariser, not the worth
of the teacher (a random one, --config.teacher.kind=random, does nearly as well here).
"""

from rmdnet_jax.config import default


def get_config():
    config = default()
    config.dataset.name = "digits"
    config.checkpoint_every = 10
    config.model.width = 16
    config.augment.flip = False  # a mirrored 2 is no 2
    config.augment.pad = 2
    config.rm.epochs = 50
    config.rm.knn_k = 20
    config.rgrl.epochs = 30
    config.rgrl.lr = 0.01
    config.rgrl.k = 0.3
    config.rgrl.baseline = True
    return config
