"""The package's HTML templates, filled in.

Their values are untrusted: the names of files and classes come from outside.
"""

import jinja2

from rmdnet_jax.base.text import cell, shown
from rmdnet_jax.report import names

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("rmdnet_jax.report", "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"cell": cell, "shown": shown, "short": names.short}


def render(template: str, **values: object) -> str:
    """The text of a template, such as "page.html.j2", with the values that it uses."""
    return _ENVIRONMENT.get_template(template).render(values)
