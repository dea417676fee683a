"""model_card.md: what a user of the classifier needs to know who does not have the run."""

import html
import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.text import listed, shown
from rmdnet_jax.evaluation.label_issues import LabelIssues
from rmdnet_jax.report import page, templates, terms

NAME = "model_card.md"

_NAMED = 20  # classes

# Characters that Markdown, or a dialect of it, would not show literally.
_SPECIAL = re.compile(r"[\\`*_\[\]#|!~$]")


def write(
    path: Path,
    results: dict,
    config: dict,
    issues: LabelIssues,
    class_names: Sequence[str],
    command: str,
) -> None:
    """Writes the card of a run with a student.

    Args:
      path: the Markdown file.
      results: the content of results.json.
      config: the resolved config, JSON-able.
      issues: of the training labels.
      class_names: one per class.
      command: the command that started the run.
    """
    is_unseen = config["train"]["folds"] > 1
    are_pictures = len(results["image_shape"]) == 3
    caution = terms.of(results).caution
    card = templates.render(
        "model_card.md.j2",
        title=_plain(results["title"]),
        dataset=_plain(results["dataset"]),
        headline=[tuple(map(_plain, row)) for row in page.headline(results)],
        remarks=[_plain(text) for text in (caution, config["report"]["remark"]) if text],
        facts=[tuple(map(_plain, row)) for row in page.facts(results, config)],
        classes=_plain(listed(class_names, _NAMED)),
        flagged=f"{int(issues.is_issue.sum()):,}",
        judged=f"{len(issues.given):,}",
        certainty="scored by networks that were not trained on them"
        if is_unseen
        else "scored by the network that was trained on them",
        inputs="pictures" if are_pictures else "feature vectors",
        example=Markup('["new/picture.jpg"]' if are_pictures else "features"),
        command=_block(command),
    )
    with open_atomic(path) as file:
        file.write(card)


def _plain(text: str) -> Markup:
    """A text as one line of Markdown that shows it literally; HTML is escaped."""
    escaped = _SPECIAL.sub(lambda found: "\\" + found[0], shown(text))
    return Markup(html.escape(escaped, quote=False))


def _block(text: str) -> Markup:
    """A text as a code block, with a fence that is longer than any in the text."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}bash\n{shown(text)}\n{fence}")
