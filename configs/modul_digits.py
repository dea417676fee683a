"""MODUL on scikit-learn's digits: a classifier of 0 to 7 teaches a network of half its width.

Half of the digits' labels are wrong, a quarter of all because the image is an 8 or a 9.

python launch.py --config=configs/modul_digits.py:teacher
python launch.py --config=configs/modul_digits.py:modul
python launch.py --config=configs/modul_digits.py:kd       (and vkd, dfnd, robust: same budget)

The teacher learns from 305 digits with correct labels. The student learns from none of these but
from 849 others, of which a third are relabelled, and 283 eights and nines under labels from 0 to 7.
Both together take under two minutes on two CPU cores. RESULTS.md has each method's accuracy.
"""

from configs import demo
from rmdnet_jax.config import set_method

METHODS = {
    "modul": {"rotations": 1},  # a quarter of the cost of all four
    "vkd": {"name": "kd", "weight": 0.1},
}

_OF_THE_TEACHER = 305  # digits; the rest then need 283 eights and nines, which is all of them


def get_config(method="modul"):
    config = demo.get_config()
    config.dataset.open_classes = (8, 9)
    config.report.remark = ""
    config.method.baseline = ""
    config.rgrl.k = 0.0
    if method == "teacher":
        config.teacher.kind = "none"
        config.noise.kind = "none"
        config.dataset.train_size = _OF_THE_TEACHER
        return config
    set_method(config, method, METHODS)
    config.teacher.kind = "supervised"
    config.teacher.path = "runs/modul_digits-teacher"
    config.noise.kind = "universal"
    config.noise.rate = 0.5
    config.noise.rho2 = 0.5
    config.dataset.skip = _OF_THE_TEACHER
    config.model.width = 6
    return config
