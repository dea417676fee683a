"""Any method on CIFAR-100 under 40 % symmetric noise, by its name; all with one budget.

python launch.py --config=configs/cifar100.py:elr
python launch.py --config=configs/cifar100.py:jocor --config.jocor.rate=0.4
python launch.py --config=configs/cifar100.py:elr --config.dataset.name=cifar100_n \
    --config.noise.kind=human --config.noise.field=noise_label

The last learns from labels that people gave, CIFAR-100N (Wei et al. 2022). gss_ssl is GSS inside
DivideMix.

The budget is that of ELR's authors (Liu et al. 2020: 150 epochs, batches of 128, learning rate
0.02, times 0.01 at epochs 80 and 120). What is a method's own is its authors' for this data set;
DivideMix's lambda_u is theirs for 80 % (and may be from 50 % on), and other at 20 % (25) and for
people's labels (0).

--config.teacher.kind=simsiam adds RMDNet's term to a method with one network. Needs a GPU or a TPU;
not run to its end with this code yet.
"""

from configs import cifar10

# 15 epochs of warm-up see each image twice: the authors' 30.
DIVISION = {"warmup": 15, "lambda_u": 150.0}
METHODS = {
    "dividemix": DIVISION,
    "elr": {"beta": 0.9, "weight": 7.0},
    "elr_plus": {"beta": 0.9, "weight": 7.0},
    "gss_ssl": {"name": "gss", "branches": "ssl", **DIVISION},
    "jocor": {"weight": 0.85},
}


def get_config(method="elr"):
    config = cifar10.get_config(method, METHODS)
    config.dataset.name = "cifar100"
    config.train.epochs = 150
    config.train.lr_drops = (80 / 150, 120 / 150)
    return config
