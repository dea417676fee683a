"""Any method on CIFAR-10 under 40 % symmetric noise, by its name; all with one budget.

python launch.py --config=configs/cifar10.py:elr
python launch.py --config=configs/cifar10.py:coteaching --config.coteaching.rate=0.4

The budget is that of ELR's authors for asymmetric noise (Liu et al. 2020: 120 epochs, batches of
128, learning rate 0.02, times 0.01 at epochs 40 and 80; for symmetric noise they have 150).
--config.teacher.kind=simsiam adds RMDNet's term to a method with one network. Needs a GPU or a TPU;
not run to its end with this code yet.
"""

from rmdnet_jax.config import default
from rmdnet_jax.methods import registry


def get_config(method="elr"):
    registry.get(method)  # refuses a name that there is not
    config = default()
    config.dataset.name = "cifar10"
    config.teacher.kind = "none"
    config.method.name = method
    config.train.epochs = 120
    config.train.batch_size = 128
    config.train.lr = 0.02
    config.train.lr_drops = (1 / 3, 2 / 3)
    config.train.lr_drop = 0.01
    config.train.weight_decay = 1e-3
    return config
