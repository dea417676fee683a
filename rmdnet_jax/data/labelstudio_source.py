"""Tasks from Label Studio's JSON export, with one choice per picture."""

import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
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

_RIGHT = "expected a JSON export of Label Studio, a list of tasks with data and annotations"

# Where Label Studio keeps uploads, as PROJECT/NAME; and what it puts in front of the file's name.
_UPLOADS = "/data/upload/"
_PROJECT = re.compile(r"/data/upload/(\d+/)?")
_UPLOADED = re.compile(r"[0-9a-f]{8}-")

# How to get from a task's path to a file's: what to report about it ("" is not reported), and how.
_Way = tuple[str, Callable[[str], str]]


def _name(upload: str) -> str:
    return _PROJECT.sub("", upload, count=1)


# Paths as in Label Studio's media folder, in its other exports, and as the owner has them.
_OF_UPLOADS: list[_Way] = [
    ("", lambda path: path.lstrip("/")),
    ("", lambda path: path.removeprefix("/data/")),
    ("by their names", _name),
    ("by their names", lambda path: f"images/{_name(path)}"),
    ("by their names before they were uploaded", lambda path: _UPLOADED.sub("", _name(path))),
]


def find(path: str, test_fraction: float = 0.2, root: str = "") -> PictureFiles:
    """The picture files of a list of tasks, none of which is opened.

    The label of a task is the choice of its last annotation that was not cancelled; a task without
    one is skipped. The picture is data.image, or else the first entry of data that is a picture by
    its extension: a path, one in Label Studio's local storage (/data/local-files/?d=PATH), or an
    uploaded file (/data/upload/PROJECT/NAME). data.split, if present, is the split.

    If no task's path exists as a file in `root`, leading folders that all paths have in common are
    removed, the same ones from each, until one does; uploads, whose folders are Label Studio's, are
    searched by their names instead. Such changes are reported in `changes`.

    Args:
      path: the file.
      test_fraction: share of each class in (0, 1).
      root: what paths are relative to; empty is the file's folder.

    Raises:
      InputError: it is not such a list; or a task's picture is not a file, or it has several
        choices.
    """
    place = Path(os.path.expanduser(path))
    folder = Path(os.path.expanduser(root)) if root else place.parent
    if not os.path.isdir(folder):
        raise InputError(f"no folder {root!r} (dataset.root); expected the one that paths are in")
    tasks = list(_rows(place))
    files, changes = _files([row["path"] for _, row in tasks], folder)
    rows, skipped = [], []
    for where, row in tasks:
        row["path"] = files[row["path"]]
        if row["label"]:
            rows.append((where, row))
        else:
            skipped.append(SkippedFile(shown(row["path"]), "its task has no annotation", False))
    found = manifest_source.of_rows(rows, place, folder, test_fraction)
    return dataclasses.replace(found, skipped=(*found.skipped, *skipped), changes=changes)


def _rows(place: Path) -> Iterator[Row]:
    try:
        tasks = json.loads(place.read_text("utf-8-sig"))
    except (ValueError, RecursionError, OSError) as error:
        raise InputError(f"{cut(place)} cannot be read as JSON; {_RIGHT}") from error
    if not isinstance(tasks, list):
        raise InputError(f"{cut(place)} is not a list; {_RIGHT}")
    for number, task in enumerate(tasks, 1):
        where = f"{place}, task {number}"
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict):
            raise InputError(f"{where} has no data; {_RIGHT}")
        row = {"path": _path(_image(data, where), where), "label": _choice(task, where)}
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


def _path(image: str, where: str) -> str:
    """The path of a task's picture, as the task has it."""
    try:
        url = urlsplit(image)
    except ValueError:
        url = urlsplit("")
    if url.scheme and url.netloc:
        raise InputError(
            f"{where}: the picture is {brief(image)}; expected the path of a file in data.image"
        )
    if image.startswith("/data/local-files/"):
        return parse_qs(url.query).get("d", [""])[0]
    return unquote(url.path) if image.startswith(_UPLOADS) else image


def _files(paths: Sequence[str], folder: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The path in `folder` of each of the tasks' paths, and what was done to them, a line each."""
    uploads = [path for path in paths if path.startswith(_UPLOADS)]
    others = [path for path in paths if not path.startswith(_UPLOADS)]
    found: dict[str, str] = {}
    changes = []
    for some, ways in ((uploads, _OF_UPLOADS), (others, _shorter(others))):
        remark, way = next(
            (one for one in ways if any(_is_file(folder, one[1](path)) for path in some)), ways[0]
        )
        found |= {path: way(path) for path in some}
        if remark:
            count = sum(_is_file(folder, way(path)) for path in some)
            changes.append(
                f"{count:,} of {len(some):,} pictures of tasks were found {remark}, none by the "
                "full path in its task"
            )
    return found, tuple(changes)


def _shorter(paths: Sequence[str]) -> list[_Way]:
    """Paths as they are, then without the first, the first two, ... of the leading folders that all
    of them have in common."""
    parts = [[part for part in path.split("/") if part][:-1] for path in paths]
    shared = os.path.commonprefix(parts)  # type: ignore[type-var]

    def without(count: int) -> Callable[[str], str]:
        return lambda path: "/".join([part for part in path.split("/") if part][count:])

    return [("", lambda path: path)] + [
        (f"without {cut('/'.join(shared[:count]))}/", without(count))
        for count in range(len(shared) + 1)
    ]


def _is_file(folder: Path, path: str) -> bool:
    return "\0" not in path and os.path.isfile(folder / path)


def _choice(task: dict[str, Any], where: str) -> str:
    """The class that was chosen; "" if none was."""
    annotations = task.get("annotations") or []
    if not isinstance(annotations, list):
        raise InputError(f"{where}: the annotations are not a list; {_RIGHT}")
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
            raise InputError(f"{where} has {len(choices)} choices; expected one class per picture")
        if choices:
            return choices[0].strip()
    return ""


def _chosen(value: Any) -> list[str]:
    choices = value.get("choices") if isinstance(value, dict) else None
    return [one for one in choices if isinstance(one, str)] if isinstance(choices, list) else []
