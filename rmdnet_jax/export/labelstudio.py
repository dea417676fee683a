"""Label issues as tasks of Label Studio, the suggested class of each picture as a prediction; and
the labelling interface that the tasks need."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, shown
from rmdnet_jax.data import label_kinds
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.evaluation.label_issues import LabelIssues

# In the interface and in every prediction.
_CHOICE, _IMAGE = "class", "image"

# What an interface of ours is known by.
_BEGINS = f"""<View>
  <Image name="{_IMAGE}" value="$image"/>
  <Header value="labelled as $given_label"/>
"""

# Where Label Studio serves files of its own disk from, with LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
_LOCAL = "/data/local-files/?d="


def interface_of(path: Path) -> Path:
    """Where the labelling interface of these tasks goes: beside them, as an .xml."""
    return path.with_suffix(".xml")


def check_interface(path: Path) -> None:
    """Raises InputError for tasks whose interface would take the place of another file than such an
    interface."""
    place = interface_of(path)
    if not os.path.lexists(place):
        return
    is_ours = False
    if os.path.isfile(place):
        with open(place, "rb") as found:
            is_ours = found.read(len(_BEGINS)) == _BEGINS.encode()
    if not is_ours:
        raise InputError(
            f"{cut(place)} is there and no labelling interface of ours, which goes to it; expected "
            "another --out, or to move that file away"
        )


def write(path: Path, issues: LabelIssues, classes: Sequence[object], files: Sequence[str]) -> None:
    """Writes a task a picture, the most suspicious label first, and the labelling interface to
    `interface_of` the path, where `check_interface` finds nothing that is somebody's own.

    A task's data has the picture in Label Studio's local storage, its path, given_label, score,
    is_issue and kind; its prediction is the suggested class, with the same score: how suspicious
    the given label is.

    Args:
      path: the JSON file.
      issues: of N pictures.
      classes: what each is called.
      files: the path of each picture in the folder of them.

    Raises:
      OSError: a file cannot be written.
    """
    names = [shown(str(name)) for name in classes]
    tasks = []
    for place in label_issues.ranking(issues).tolist():
        score = round(float(issues.score[place]), 6)
        chosen = {"choices": [names[issues.suggested[place]]]}
        result = {"from_name": _CHOICE, "to_name": _IMAGE, "type": "choices", "value": chosen}
        data = {
            "image": _LOCAL + quote(files[place]),
            "path": files[place],
            "given_label": names[issues.given[place]],
            "score": score,
            "is_issue": bool(issues.is_issue[place]),
            "kind": label_kinds.KINDS[issues.kind[place]],
        }
        predictions = [{"model_version": "rmdnet_jax", "score": score, "result": [result]}]
        tasks.append({"data": data, "predictions": predictions})
    with open_atomic(interface_of(path)) as text:
        text.write(_interface(names))
    with open_atomic(path) as text:
        json.dump(tasks, text)


def _interface(names: Sequence[str]) -> str:
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in names)
    choosing = f'name="{_CHOICE}" toName="{_IMAGE}" choice="single" showInline="true"'
    return f"""{_BEGINS}  <Choices {choosing}>
{choices}
  </Choices>
</View>
"""
