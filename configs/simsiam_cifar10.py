"""The teacher alone on CIFAR-10: SimSiam, 1,000 epochs, for many runs of students.

python launch.py --config=configs/simsiam_cifar10.py --workdir=runs/teacher10
python launch.py --config=configs/rgrl_cifar10.py:gce --config.teacher.path=runs/teacher10

Needs a GPU or a TPU; not yet run to completion with this code.
"""

from rmdnet_jax.config import default


def get_config():
    config = default()
    config.dataset.name = "cifar10"
    config.train.epochs = 0
    return config
