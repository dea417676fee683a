"""Tasks of Label Studio, as its JSON export has them, with one choice a picture."""

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut, shown
from rmdnet_jax.data import manifest_source, pictures
from rmdnet_jax.data.dataset import SkippedFile
from rmdnet_jax.data.manifest_source import Row
from rmdnet_jax.data.picture_files import PictureFiles

SUFFIX = ".json"

_RIGHT = "right is a JSON export of Label Studio, a list of tasks with data and annotations"

# Before the name of a file that was uploaded, and so not of one that its owner has.
_UPLOADED = re.compile(r"[0-9a-f]{8}-")


def find(path: str, held_out: float = 0.2, root: str = "") -> PictureFiles:
    """The picture files of a list of tasks, none of which is opened.

    The label of a task is the choice of its last annotation that was not cancelled; a task without
    one is skipped. The picture is data.image, or else what in data is a picture by its ending: a
    path, one in Label Studio's local storage (/data/local-files/?d=PATH), or an uploaded file
    (/data/upload/PROJECT/NAME). Where that is no file in `root`, its last parts that are one are
    taken. data.split, where it is, is the split.

    Args:
      path: the file.
      held_out: share of each class in (0, 1).
      root: what paths are relative to; empty is the file's folder.

    Raises:
      InputError: it is no such list; or a task has a picture that is no file, or several choices.
    """
    place = Path(os.path.expanduser(path))
    folder = Path(os.path.expanduser(root)) if root else place.parent
    if not os.path.isdir(folder):
        raise InputError(f"no folder {root!r} (dataset.root); right is the one that paths are in")
    rows, skipped = [], []
    for where, row in _rows(place, folder):
        if row["label"]:
            rows.append((where, row))
        else:
            skipped.append(SkippedFile(shown(row["path"]), "its task has no annotation", False))
    found = manifest_source.of_rows(rows, place, folder, held_out)
    return dataclasses.replace(found, skipped=tuple(skipped))


def _rows(place: Path, folder: Path) -> Iterator[Row]:
    try:
        tasks = json.loads(place.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{cut(place)} cannot be read as JSON; {_RIGHT}") from error
    if not isinstance(tasks, list):
        raise InputError(f"{cut(place)} is no list; {_RIGHT}")
    for number, task in enumerate(tasks, 1):
        where = f"{place}, task {number}"
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict):
            raise InputError(f"{where} has no data; {_RIGHT}")
        row = {"path": _file(_image(data, where), folder, where), "label": _choice(task, where)}
        if isinstance(data.get("split"), str):
            row["split"] = data["split"]
        yield where, row


def _image(data: dict[str, Any], where: str) -> str:
    texts = {name: value for name, value in data.items() if isinstance(value, str)}
    found = [value for value in texts.values() if pictures.is_picture(value)]
    image = texts.get("image") or next(iter(found), None)
    if not image:
        raise InputError(f"{where} has no picture in data; {_RIGHT}")
    return image


def _file(image: str, folder: Path, where: str) -> str:
    """The path in `folder` that a task's picture means."""
    try:
        url = urlsplit(image)
    except ValueError:
        url = urlsplit("")
    if url.scheme and url.netloc:
        raise InputError(
            f"{where}: the picture is {brief(image)}; right is a file, its path in data.image"
        )
    if image.startswith("/data/local-files/"):
        image = parse_qs(url.query).get("d", [""])[0]
    elif image.startswith("/data/upload/"):
        image = unquote(url.path)
    parts = [part for part in image.split("/") if part]
    tails = ["/".join(parts[start:]) for start in range(len(parts))] or [image]
    uploaded = _UPLOADED.sub("", tails[-1], count=1)
    candidates = [image, *tails, f"images/{tails[-1]}", uploaded]
    return next((path for path in candidates if _is_file(folder, path)), tails[0])


def _is_file(folder: Path, path: str) -> bool:
    return "\0" not in path and os.path.isfile(folder / path)


def _choice(task: dict[str, Any], where: str) -> str:
    """The class that was chosen; "" where nobody chose."""
    annotations = task.get("annotations") or []
    if not isinstance(annotations, list):
        raise InputError(f"{where}: the annotations are no list; {_RIGHT}")
    for annotation in reversed(annotations):
        if not isinstance(annotation, dict) or annotation.get("was_cancelled"):
            continue
        results = annotation.get("result")
        choices = [
            choice
            for result in (results if isinstance(results, list) else [])
            if isinstance(result, dict) and result.get("type") == "choices"
            for choice in _chosen(result.get("value"))
        ]
        if len(choices) > 1:
            raise InputError(f"{where} has {len(choices)} choices; right is one class a picture")
        if choices:
            return choices[0].strip()
    return ""


def _chosen(value: Any) -> list[str]:
    choices = value.get("choices") if isinstance(value, dict) else None
    return [one for one in choices if isinstance(one, str)] if isinstance(choices, list) else []
