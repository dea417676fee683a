"""The paper's Tables 1 to 5, cell by cell, beside the paper's numbers; any part of them by filters.

python launch.py --config=configs/paper_tables.py:table1 --config.scale=small --config.only.loss=ce

At full scale every cell is the paper's recipe (240 epochs of 50,000 images) and needs a GPU or a
TPU; "small" is configs/cifar10_small.py's size, "tiny" shows in minutes that everything works.
docs/reproducing.md has the commands. Not run to its end with this code yet.
"""

from ml_collections import ConfigDict

from configs import rgrl_cifar10, rgrl_cifar100

SMALL = {
    "dataset": {"train_size": 10000},
    "model": {"stem": "imagenet", "width": 16},
    "augment": {"pad": 0},
    "rm": {"epochs": 200},
    "train": {"epochs": 40, "lr": 0.02},
    "checkpoint_every": 10.0,
}
TINY = {
    "dataset": {"train_size": 2000, "test_size": 1000},
    "model": {"stem": "imagenet", "width": 4},
    "augment": {"pad": 0},
    "rm": {"epochs": 2},
    "train": {"epochs": 2, "lr": 0.02},
}


def get_config(table="table1"):
    config = ConfigDict()
    config.table = table
    config.scale = "full"  # small, tiny
    config.seeds = "0"  # of student and noise; "0,1,2" is three runs a cell
    # What is run, "" for all: dataset=cifar10, loss=ce,gce, rate=0.2,0.4, k=0 (the loss alone).
    config.only = ConfigDict(dict.fromkeys(("dataset", "loss", "noise", "rate", "k"), ""))
    # The experiment that cells start from, by data set; cifar10.dataset.path=FILE.npz, say.
    config.cifar10 = rgrl_cifar10.get_config()
    config.cifar100 = rgrl_cifar100.get_config()
    # Each loss's parameters and its K where a table prints none.
    config.losses = ConfigDict({"cifar10": rgrl_cifar10.LOSSES, "cifar100": rgrl_cifar100.LOSSES})
    # What a scale changes; it has the last word over cifar10 and cifar100.
    config.scales = ConfigDict({"full": {}, "small": SMALL, "tiny": TINY})
    return config
