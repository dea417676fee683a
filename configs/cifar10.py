"""Any method, by name, on CIFAR-10 with 40 % symmetric noise; all with the same budget.

python launch.py --config=configs/cifar10.py:elr
python launch.py --config=configs/cifar10.py:coteaching --config.coteaching.rate=0.4
python launch.py --config=configs/cifar10.py:elr --config.dataset.name=cifar10_n \
    --config.noise.kind=human --config.noise.field=worse_label

The last command learns from the human labels of CIFAR-10N (Wei et al. 2022); other fields are
aggre_label, random_label1, random_label2 and random_label3. gss_ssl is GSS inside DivideMix.

The budget is that of ELR's authors for asymmetric noise (Liu et al. 2020: 120 epochs, batches of
128, learning rate 0.02, times 0.01 at epochs 40 and 80; for symmetric noise they use 150 epochs).
The parameters of each method are its authors' for 40 or 50 % symmetric noise. For other labels they
use dividemix.lambda_u=0 (20 %, asymmetric, human) and dividemix.confidence=1 (asymmetric), which
are gss.lambda_u and gss.confidence for gss_ssl; elr.beta=0.9 and elr.weight=1 (asymmetric; the same
for elr_plus); and jocor.weight=0.65 (80 %).

--config.teacher.kind=simsiam adds RMDNet's term to a method with one network. Needs a GPU or a TPU;
not yet run to completion with this code.
"""

from rmdnet_jax.config import default, set_method

# Fields of a method that differ from its defaults; and its name, if the choice has another one.
METHODS = {
    "dividemix": {"lambda_u": 25.0},
    "gss_ssl": {"name": "gss", "branches": "ssl", "lambda_u": 25.0},
}


def get_config(method="elr", recipes=METHODS):
    config = default()
    set_method(config, method, recipes)
    config.dataset.name = "cifar10"
    config.teacher.kind = "none"
    config.train.epochs = 120
    config.train.batch_size = 128
    config.train.lr = 0.02
    config.train.lr_drops = (1 / 3, 2 / 3)
    config.train.lr_drop = 0.01
    config.train.weight_decay = 1e-3
    return config
