"""Any method on scikit-learn's digits under 40 % symmetric noise, beside CE with the same budget.

python launch.py --config=configs/digits.py:elr
python launch.py --config=configs/digits.py:coteaching

The demo's data and budget (configs/demo.py says why there is no augmentation), and no teacher:
--config.teacher.kind=simsiam adds RMDNet's relation term to a method with one network. One to two
minutes on two CPU cores; RESULTS.md has what each reaches.
"""

from configs import demo
from rmdnet_jax.methods import registry


def get_config(method="elr"):
    registry.get(method)  # refuses a name that there is not
    config = demo.get_config()
    config.teacher.kind = "none"
    config.method.name = method
    config.method.baseline = "" if method == "robust" else "robust"
    config.report.remark = ""
    return config
