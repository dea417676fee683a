"""Any method, by name, on scikit-learn's digits with 40 % symmetric noise, beside CE.

python launch.py --config=configs/digits.py:elr
python launch.py --config=configs/digits.py:coteaching
python launch.py --config=configs/digits.py:gss_ssl     (GSS inside DivideMix)

The demo's data and budget, also for CE (configs/demo.py says why there is no augmentation), and no
teacher: --config.teacher.kind=simsiam adds RMDNet's relation term to a method with one network. One
to two minutes on two CPU cores; RESULTS.md has each method's accuracy.
"""

from configs import demo
from rmdnet_jax.config import set_method

METHODS = {"gss_ssl": {"name": "gss", "branches": "ssl"}}


def get_config(method="elr"):
    config = demo.get_config()
    set_method(config, method, METHODS)
    config.teacher.kind = "none"
    config.method.baseline = "" if method == "robust" else "robust"
    config.report.remark = ""
    return config
