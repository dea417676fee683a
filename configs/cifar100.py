"""Any method, by name, on CIFAR-100 with 40 % symmetric noise; all with the same budget.

python launch.py --config=configs/cifar100.py:elr
python launch.py --config=configs/cifar100.py:jocor --config.jocor.rate=0.4
python launch.py --config=configs/cifar100.py:elr --config.dataset.name=cifar100_n \
    --config.noise.kind=human --config.noise.field=noise_label

The last command learns from the human labels of CIFAR-100N (Wei et al. 2022). gss_ssl is GSS inside
DivideMix.

The budget is that of ELR's authors (Liu et al. 2020: 150 epochs, batches of 128, learning rate
0.02, times 0.01 at epochs 80 and 120). The parameters of each method are its authors' for this data
set; DivideMix's lambda_u is theirs for 80 % (and possibly from 50 % on), and differs at 20 % (25)
and for human labels (0).

--config.teacher.kind=simsiam adds RMDNet's term to a method with one network. Needs a GPU or a TPU;
not yet run to completion with this code.
"""

from configs import cifar10

# 15 epochs of warm-up see each image twice, as the authors' 30 epochs do.
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
