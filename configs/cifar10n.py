"""RMDNet on CIFAR-10N, human labels (Wei et al. 2022); the recipe of rgrl_cifar10.py.

python launch.py --config=configs/cifar10n.py:gce --config.noise.field=worse_label

Other fields: aggre_label, random_label1, random_label2, random_label3. Needs a GPU or a TPU; not
yet run to completion with this code.
"""

from configs import rgrl_cifar10


def get_config(loss="ce"):
    config = rgrl_cifar10.get_config(loss)
    config.dataset.name = "cifar10_n"
    config.noise.kind = "human"
    config.noise.field = "worse_label"
    return config
