"""A folder as exported by FiftyOne for image classification: labels.json, and pictures in data."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut, shown
from rmdnet_jax.data import hub_layout, manifest_source, pictures
from rmdnet_jax.data.dataset import SkippedFile
from rmdnet_jax.data.manifest_source import Row
from rmdnet_jax.data.picture_files import PictureFiles

_LIST, _DATA = "labels.json", "data"
_RIGHT = 'expected {"classes": [...], "labels": {NAME: CLASS}} as FiftyOne writes it'


def is_one(path: str) -> bool:
    """Whether a folder has this layout."""
    place = Path(os.path.expanduser(path))
    return os.path.isfile(place / _LIST) and os.path.isdir(place / _DATA)


def find(path: str, test_fraction: float = 0.2) -> PictureFiles:
    """The picture files of a folder that `is_one`, none of which is opened.

    The key of a label is the path of its picture in data without the extension; the label is an
    index into "classes", a name, or an object with one of these as "label". A picture without a
    label is skipped.

    Args:
      path: the folder.
      test_fraction: the test fraction, the share of each class to test on, in (0, 1).

    Raises:
      InputError: labels.json is malformed; or two pictures differ only in their extension.
    """
    root = Path(os.path.expanduser(path))
    place = root / _LIST
    classes, labels = _read(place)
    files = _by_name(root)
    unlabelled = [name for name, target in labels.items() if _label(target) is None]
    skipped = [files.get(name, f"{_DATA}/{name}") for name in unlabelled]
    skipped += [file for name, file in files.items() if name not in labels]
    rows = _rows(place, classes, labels, files)
    found = manifest_source.of_rows(rows, place, root, test_fraction)
    left_out = tuple(SkippedFile(shown(file), "it has no label", False) for file in sorted(skipped))
    return dataclasses.replace(found, name=root.resolve().name, skipped=left_out)


def _read(place: Path) -> tuple[list[str] | None, dict[str, Any]]:
    try:
        content = json.loads(place.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{cut(place)} cannot be read as JSON; {_RIGHT}") from error
    classes = content.get("classes") if isinstance(content, dict) else None
    labels = content.get("labels") if isinstance(content, dict) else None
    is_right = classes is None or (
        isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    )
    if not is_right or not isinstance(labels, dict):
        raise InputError(f"{cut(place)} is not FiftyOne's; {_RIGHT}")
    return classes or None, labels


def _rows(
    place: Path, classes: list[str] | None, labels: dict[str, Any], files: dict[str, str]
) -> Iterator[Row]:
    for name, target in labels.items():
        label = _label(target)
        if label is not None:
            where = f"{place}, {brief(name)}"
            text = hub_layout.label_text(label, classes, where).strip()
            yield where, {"path": files.get(name, f"{_DATA}/{name}"), "label": text}


def _label(target: Any) -> Any:
    return target.get("label") if isinstance(target, dict) else target


def _by_name(root: Path) -> dict[str, str]:
    """The pictures in data by their paths without extension, as paths in `root`."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{cut(error.filename)} cannot be read ({error.strerror})") from error

    found: dict[str, str] = {}
    for folder, _, names in os.walk(root / _DATA, onerror=refuse):
        for name in sorted(filter(pictures.is_picture, names)):
            file = os.path.relpath(os.path.join(folder, name), root / _DATA)
            key = os.path.splitext(file)[0]
            if key in found:
                raise InputError(
                    f"{cut(root / _DATA)} has two pictures {cut(key)} with different extensions, "
                    "so that a label may be for either; expected names that differ in more"
                )
            found[key] = f"{_DATA}/{file}"
    return found
