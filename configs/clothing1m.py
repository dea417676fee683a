"""Any method, by name, on Clothing1M; all with the same budget.

Clothing1M is a million pictures of clothes, labelled from the text that shops wrote beside them.

python docs/make_manifest.py clothing1m clothing1m
python launch.py --config=configs/clothing1m.py --config.dataset.path=clothing1m/clothing1m.csv
python launch.py --config=configs/clothing1m.py:elr --config.dataset.path=clothing1m/clothing1m.csv

GSS's recipe (Yu et al., CVPR 2023: ResNet-50, batches of 128, weight decay 5e-4, cosine schedule),
whose Table 4 has 74.88 % for GSS-SSL and 74.59 % for DivideMix; the parameters of each method are
its authors'. The paper starts from pretrained weights, with a learning rate of 0.001, and does not
state the number of epochs. Here the weights are random: docs/web_data.md says what can start from
pretrained ones, and what cannot. Needs accelerators, and 150 GB of disk for decoded pictures; not
yet run with this code, except on a few synthetic pictures.
"""

from rmdnet_jax.config import default, set_method

DIVISION = {"warmup": 1, "alpha": 0.5, "confidence": 1.0}
KNOWN = {"rate": 0.385, "ramp": 3}  # 61.54 % of the labels are right (Xiao et al. 2015)
METHODS = {
    "coteaching": KNOWN,
    "dividemix": DIVISION,
    "gss_ssl": {"name": "gss", "branches": "ssl", **DIVISION},
    "jocor": KNOWN,
}


def get_config(method="gss_ssl", recipes=METHODS):
    config = default()
    set_method(config, method, recipes)
    config.checkpoint_every = 0.1  # 100,000 pictures
    config.dataset.name = "own"
    config.dataset.image_size = 224
    config.noise.kind = "none"  # the labels are noisy already
    config.teacher.kind = "none"
    config.model.blocks = (3, 4, 6, 3)
    config.model.block = "bottleneck"
    config.model.stem = "imagenet"
    config.augment.pad = 16  # shifts a view as far as a crop of 224 from 256
    config.train.epochs = 10
    config.train.batch_size = 128
    config.train.lr = 0.02
    config.train.lr_decay = "cosine"
    return config
