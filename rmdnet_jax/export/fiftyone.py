"""Label issues as labels.json of a FiftyOneImageClassificationDataset; the pictures stay where they
are and are given to FiftyOne as data_path."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, shown
from rmdnet_jax.data import label_kinds
from rmdnet_jax.evaluation.label_issues import LabelIssues


def write(path: Path, issues: LabelIssues, classes: Sequence[object], files: Sequence[str]) -> None:
    """Writes the given label of every picture, with what is suspected of it as attributes:
    suggested (a class), score, is_issue and kind.

    Args:
      path: the JSON file.
      issues: of N pictures.
      classes: what each is called.
      files: the path of each picture in the folder of them.

    Raises:
      InputError: two pictures differ in their endings alone, by which FiftyOne does not tell them
        apart.
      OSError: the file cannot be written.
    """
    names = [shown(str(name)) for name in classes]
    labels: dict[str, dict] = {}
    for place, file in enumerate(files):
        name = os.path.normpath(os.path.splitext(file)[0])
        if name in labels:
            raise InputError(
                f"two pictures are {cut(name)} with different endings, and FiftyOne has one label "
                "for both; expected names that differ in more"
            )
        labels[name] = {
            "label": int(issues.given[place]),
            "attributes": {
                "suggested": names[issues.suggested[place]],
                "score": round(float(issues.score[place]), 6),
                "is_issue": bool(issues.is_issue[place]),
                "kind": label_kinds.KINDS[issues.kind[place]],
            },
        }
    with open_atomic(path) as text:
        json.dump({"classes": names, "labels": labels}, text)
