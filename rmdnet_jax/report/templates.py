"""The package's HTML templates, filled in.

What they show may be anything: names of files and classes are somebody else's.
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
    """The text of a template, "page.html.j2", with all the values that it names."""
    return _ENVIRONMENT.get_template(template).render(values)
