"""Label issues as labels.json of a FiftyOneImageClassificationDataset; the images stay in place and
are passed to FiftyOne as data_path."""

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
    """Writes the given label of every image, with its issue as attributes: suggested (a class),
    score, is_issue and kind.

    Args:
      path: the JSON file.
      issues: of N images.
      classes: the class names.
      files: the path of each image in their folder.

    Raises:
      InputError: the names of two images differ only in the extension, which FiftyOne ignores.
      OSError: the file cannot be written.
    """
    names = [shown(str(name)) for name in classes]
    labels: dict[str, dict] = {}
    for place, file in enumerate(files):
        name = os.path.normpath(os.path.splitext(file)[0])
        if name in labels:
            raise InputError(
                f"two pictures are named {cut(name)} with different extensions, and FiftyOne has "
                "one label for both; expected names that also differ without the extension"
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
