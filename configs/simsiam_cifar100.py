"""The teacher alone on CIFAR-100: SimSiam, 1,000 epochs, for many runs of students.

python launch.py --config=configs/simsiam_cifar100.py --workdir=runs/teacher100
python launch.py --config=configs/rgrl_cifar100.py:gce --config.teacher.path=runs/teacher100

Needs a GPU or a TPU; not yet run to completion with this code.
"""

from rmdnet_jax.config import default


def get_config():
    config = default()
    config.dataset.name = "cifar100"
    config.train.epochs = 0
    return config
