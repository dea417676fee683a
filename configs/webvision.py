"""Any method, by name, on the first 50 classes of WebVision; all with the same budget.

WebVision's pictures are what a search engine found for each class.

python docs/make_manifest.py webvision webvision
python launch.py --config=configs/webvision.py --config.dataset.path=webvision/webvision.csv
python launch.py --config=configs/webvision.py:elr --config.dataset.path=webvision/webvision.csv

GSS's recipe, as in configs/clothing1m.py, which lists the departures; the paper's Table 4 has
77.35 % for GSS-SSL and 77.21 % for DivideMix. 66,000 pictures to train on, 2,500 to test on, 10 GB
of disk for decoded ones. Needs accelerators; not yet run with this code, except on a few synthetic
pictures.
"""

from configs import clothing1m

DIVISION = {"warmup": 1, "alpha": 0.5}
METHODS = {
    "dividemix": DIVISION,
    "gss_ssl": {"name": "gss", "branches": "ssl", **DIVISION},
}


def get_config(method="gss_ssl"):
    config = clothing1m.get_config(method, METHODS)
    config.checkpoint_every = 1.0
    config.train.epochs = 100
    return config
