"""Label issues as tasks of Label Studio, with the suggested class of each image as a prediction;
and the labelling interface that the tasks need."""

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

# An interface of ours is recognised by this beginning.
_BEGINS = f"""<View>
  <Image name="{_IMAGE}" value="$image"/>
  <Header value="labelled as $given_label"/>
"""

# The address of local files in Label Studio, below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
_LOCAL = "/data/local-files/?d="


def interface_of(path: Path) -> Path:
    """The path of the labelling interface of these tasks: beside them, with the suffix .xml."""
    return path.with_suffix(".xml")


def check_interface(path: Path) -> None:
    """Raises InputError if the interface of these tasks would overwrite a file that is not such an
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
            f"{cut(place)} exists, and the labelling interface would overwrite it; give another "
            "--out, or move that file"
        )


def write(path: Path, issues: LabelIssues, classes: Sequence[object], files: Sequence[str]) -> None:
    """Writes one task per image, the most suspicious label first, and the labelling interface to
    `interface_of` the path; `check_interface` protects a file of the user there.

    A task's data has the image in Label Studio's local storage, its path, given_label, score,
    is_issue and kind; its prediction is the suggested class, with the same score: how suspicious
    the given label is.

    Args:
      path: the JSON file.
      issues: of N images.
      classes: the class names.
      files: the path of each image in their folder.

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
