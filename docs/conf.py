"""The web site: the Markdown of docs/ as it is, and API pages from docstrings. `make docs` builds
it into build/docs, offline, with every warning an error."""

import posixpath
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rmdnet_jax import __version__

project = "rmdnet_jax"
version = release = __version__
copyright = "the authors of rmdnet_jax, Apache-2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx-mathjax-offline",  # MathJax 3.2.2 beside the pages: they fetch nothing
]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_fence_as_directive = ["math"]  # GitHub's ```math
myst_heading_anchors = 4  # as GitHub makes them: label_issues.md#how-many-labels-are-wrong

default_role = "literal"  # docstrings write `name` for code
smartquotes_action = "D"  # dashes alone: quotes in docstrings are Python's
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say more: shapes, dtypes, ranges
autodoc_preserve_defaults = True
# Attributes are a list, as arguments are; Returns is text, in which a colon ends no type.
napoleon_custom_sections = [("Attributes", "params_style"), "Returns"]
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"rmdnet_jax {__version__}"
html_copy_source = False

# Pages that lie elsewhere in the repository, and the page of the site that includes each.
_INCLUDED = {
    "README.md": "docs/root/readme.md",
    "RESULTS.md": "docs/root/results.md",
    "CHANGELOG.md": "docs/root/changes.md",
    "SECURITY.md": "docs/root/security.md",
    "benchmarks/README.md": "docs/root/benchmarks.md",
}

# Code, which is left alone; or the end of a link or figure, ](path#heading), with the whole text of
# one that is called by its file, [own_data.md](own_data.md).
_CODE_OR_LINK = re.compile(
    r"```.*?```|`[^`]*`|(?:(?<=\[)[\w/]+\.md)?\]\((?!\w+:|#)(?P<path>[^)\s#]+)"
    r"(?P<heading>#[^)\s]*)?\)",
    re.DOTALL,
)


def _relinked(text, folder, page):
    """Text whose links lead from `folder` of the repository, so that they lead from `page`.

    A link that is called by its file is called by the page's title, or the heading's. One to what
    is no page (a script, a notebook) becomes a download; one to nothing is a warning of MyST's.
    """

    def link(found):
        if found["path"] is None:
            return found[0]
        target = posixpath.normpath(posixpath.join(folder, found["path"]))
        target = posixpath.relpath(_INCLUDED.get(target, target), posixpath.dirname(page))
        return f"]({target}{found['heading'] or ''})"

    return _CODE_OR_LINK.sub(link, text)


def _read(app, docname, source):
    page = f"docs/{docname}.md"
    source[0] = _relinked(source[0], posixpath.dirname(page), page)


def _include(app, path, parent, content):
    file = posixpath.normpath(posixpath.join("docs", path.as_posix()))
    page = f"docs/{app.env.docname}.md"
    content[0] = _relinked(content[0], posixpath.dirname(file), page)


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", _read)
    app.connect("include-read", _include)
