"""Parquet files with the pictures inside, as downloaded from the Hugging Face hub. The pictures are
extracted once, unchanged, into files in the cache."""

import contextlib
import csv
import dataclasses
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rmdnet_jax.base.atomic import folder_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cut, listed, one_line
from rmdnet_jax.data import hub_layout, manifest_source, split_names
from rmdnet_jax.data.dataset import SkippedFile
from rmdnet_jax.data.picture_files import PictureFiles
from rmdnet_jax.data.picture_reader import progress
from rmdnet_jax.machine import memory

# To be increased when the same Parquet files give other files than before.
_VERSION = 1

_FOLDER = "parquet"  # in the cache
_LIST = "pictures.csv"  # of the extracted files

# Rows unpacked at a time: a page with one picture may stand for thousands of rows.
_BATCH = 1

_IMAGES = ("image", "img")  # preferred if there are several columns of pictures

# How files of the supported formats begin; others are extracted too, and reported as broken.
_BEGINS = {b"\xff\xd8": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp"}

# Files per folder: larger folders are slow to list.
_TOGETHER = 10_000

_SHARE = 0.9  # of the free space on the disk

# Memory that a row group takes, as a multiple of its size (measured: 3.2 for a group of 400 MB),
# and the share of the machine's memory that it may take.
_TIMES, _MEMORY_SHARE = 3.5, 1 / 2

_RIGHT = (
    "expected a column of pictures (a struct of bytes and path, or bytes) and one of "
    f"{', '.join(hub_layout.LABELS)}"
)


def is_one(path: str) -> bool:
    """Whether a file is Parquet with pictures inside, or a folder has such files, directly or in
    one of its subfolders.

    Raises:
      InputError: several folders have such files.
    """
    return bool(_files(Path(os.path.expanduser(path))))


def find(path: str, test_fraction: float, cache: str) -> PictureFiles:
    """The pictures of Parquet files, extracted from them.

    Labels are text, or numbers with names from the file's ClassLabel; the column is the first
    available of label, labels, fine_label and class. The files of a folder are assigned to splits
    by the start of their names: train, and test, validation or val, of which the first available is
    tested on. A single file, or a folder without a split to test on, gives `test_fraction` of each
    class. A picture's file is named after its split and its position there, from 0.

    Args:
      path: the file or folder.
      test_fraction: share of each class in (0, 1).
      cache: the folder in which pictures are kept while the Parquet files are unchanged.

    Raises:
      InputError: a file is not such a Parquet file; a row is wrong; there is no cache, or it cannot
        be written.
    """
    place = Path(os.path.expanduser(path))
    files = _files(place)
    splits, skipped = _splits(files) if os.path.isdir(place) else ({"train": files}, ())
    folder = _taken_out(place, splits, cache)
    found = manifest_source.find(str(folder / _LIST), test_fraction)
    name = place.resolve().name if os.path.isdir(place) else place.stem
    return dataclasses.replace(found, name=name, place=place, skipped=skipped)


def _files(place: Path) -> list[Path]:
    """The Parquet files with pictures at a path, by name; empty if there are none."""
    if os.path.isfile(place):
        return _with_pictures([place])
    found = _with_pictures(_listed(place))
    if found:
        return found
    folders = [folder for folder in _listed(place) if os.path.isdir(folder)]
    deeper = {folder: files for folder in folders if (files := _with_pictures(_listed(folder)))}
    if len(deeper) > 1:
        names = listed(folder.name for folder in deeper)
        raise InputError(
            f"{cut(place)} has Parquet files in {names}; expected one of these as dataset.path"
        )
    return next(iter(deeper.values()), [])


def _with_pictures(files: Sequence[Path]) -> list[Path]:
    """The Parquet files among these, if the first has pictures inside."""
    found = [file for file in files if file.suffix.lower() == ".parquet" and os.path.isfile(file)]
    try:
        return found if found and _image_column(found[0]) else []
    except InputError:  # reported when it is read as a list
        return []


def _listed(folder: Path) -> list[Path]:
    """The entries of a folder, by name, except those that begin with a dot; empty for a folder that
    cannot be read, which the next reader reports."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
    except OSError:
        return []


def _splits(files: Sequence[Path]) -> tuple[dict[str, list[Path]], tuple[SkippedFile, ...]]:
    """The files of a folder by split, and those that are not used."""
    found: dict[str, list[Path]] = {}
    for file in files:
        split = re.split(r"[^a-z]", file.stem.lower())[0]
        found.setdefault(split, []).append(file)
    if "train" not in found:
        raise InputError(
            f"no Parquet file in {cut(files[0].parent)} has a name that starts with train "
            f"({listed(file.name for file in files)}); expected train-*.parquet and, to test on, "
            f"{', '.join(split_names.TESTS[:-1])} or {split_names.TESTS[-1]}; or a single file"
        )
    used = split_names.used(found)
    skipped = tuple(
        split_names.unused(file.name, used)
        for split, others in found.items()
        if split not in used
        for file in others
    )
    return {split: found[split] for split in used}, skipped


def _taken_out(place: Path, splits: dict[str, list[Path]], cache: str) -> Path:
    """The folder with the pictures of these files, and with the list of them."""
    if not cache:
        raise InputError(
            f"{cut(place)} has pictures inside, which are extracted into the cache, but there is "
            "none; expected --config.dataset.cache=FOLDER"
        )
    own = hashlib.sha256(os.fsencode(place.resolve())).hexdigest()[:12]
    state = hashlib.sha256(str(_VERSION).encode())
    for split, files in splits.items():
        for file in files:
            stat = os.stat(file)
            state.update(b"%s %s\0" % (split.encode(), os.fsencode(file.name)))
            state.update(b"%d %d %d\n" % (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    folder = Path(os.path.expanduser(cache)) / _FOLDER / f"{own}-{state.hexdigest()[:20]}"
    if not os.path.isfile(folder / _LIST):
        try:
            with _locked(folder.parent, own):
                if not os.path.isfile(folder / _LIST):  # perhaps made by the process with the lock
                    for old in [*folder.parent.glob(f"{own}-*"), *folder.parent.glob(f".{own}-*")]:
                        shutil.rmtree(old)
                    _take_out(splits, folder)
        except OSError as error:
            raise InputError(
                f"cannot write the pictures of {cut(place)} into {cut(folder.parent)} "
                f"({error.strerror or error}); expected another --config.dataset.cache=FOLDER"
            ) from error
    return folder


@contextlib.contextmanager
def _locked(folder: Path, own: str) -> Iterator[None]:
    """Lets one process at a time extract pictures from these files."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{own}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting  for another process that reads the same Parquet files", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _take_out(splits: dict[str, list[Path]], folder: Path) -> None:
    """Makes `folder`, completely or not at all: every picture's bytes as a file, and _LIST."""
    columns = ("path", "label", "split") if len(splits) > 1 else ("path", "label")
    with (
        folder_atomic(folder) as beside,
        open(beside / _LIST, "w", encoding="utf-8", newline="") as text,
    ):
        room = _SHARE * shutil.disk_usage(beside).free
        writer = csv.writer(text)
        writer.writerow(columns)
        for split, files in splits.items():
            for number, (label, content) in enumerate(_pictures(split, files)):
                room -= len(content)
                if room < 0:  # a small file can contain one picture very many times
                    raise InputError(
                        f"the pictures of {cut(files[0].parent)} do not fit on the disk of "
                        f"{cut(folder.parent)}; expected another --config.dataset.cache=FOLDER"
                    )
                suffix = next((s for b, s in _BEGINS.items() if content.startswith(b)), "")
                path = f"{split}/{number // _TOGETHER:03}/{number:07}{suffix}"
                if number % _TOGETHER == 0:
                    (beside / path).parent.mkdir(parents=True)
                (beside / path).write_bytes(content)
                writer.writerow((path, label, split)[: len(columns)])


def _pictures(split: str, files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """The label and the encoded bytes of every row."""
    import pyarrow.parquet

    for file in progress(files, f"extracting pictures of {split}", len(files)):
        image, label, names = _columns(file)
        count = 0
        try:
            with pyarrow.parquet.ParquetFile(file, buffer_size=1 << 20) as opened:
                for batch in _batches(file, opened, [image, label]):
                    for row in batch.to_pylist():
                        count += 1
                        where = f"{file}, row {count}"
                        yield _label(row[label], names, where), _bytes(row[image], where)
        except InputError:
            raise
        except Exception as error:  # whatever an arbitrary file makes the readers raise
            raise _unreadable(file, error) from error


def _batches(file: Path, opened: Any, columns: list[str]) -> Iterator[Any]:
    """All rows, a few at a time, one row group after the other: what has been read of a group stays
    in memory until its end."""
    for group in range(opened.metadata.num_row_groups):
        needed = _TIMES * opened.metadata.row_group(group).total_byte_size
        if needed > _MEMORY_SHARE * memory.host_bytes():
            raise InputError(
                f"{cut(file)} has {opened.metadata.row_group(group).num_rows:,} rows in a row "
                f"group, which take {needed / 1e9:,.1f} GB of memory to read; expected groups of "
                "100, pyarrow.parquet.write_table(table, FILE, row_group_size=100)"
            )
        yield from opened.iter_batches(_BATCH, columns=columns, row_groups=[group])


def _label(value: Any, names: list[str] | None, where: str) -> str:
    label = hub_layout.label_text(value, names, where)
    if not label.strip():
        raise InputError(f"{where}: the label is missing; expected one for every picture")
    return label


def _bytes(value: Any, where: str) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise InputError(
            f"{where} has no picture inside, only the path of one; expected a file with the bytes "
            "of every picture, as on the hub"
        )
    return content


def _columns(file: Path) -> tuple[str, str, list[str] | None]:
    """The columns of pictures and of labels, and the class names in ClassLabel."""
    schema = _schema(file)
    image, label = _image_column(file), hub_layout.label_column(schema.names)
    if image is None or label is None:
        raise InputError(f"{cut(file)} has the columns {listed(schema.names, 10)}; {_RIGHT}")
    metadata = (schema.metadata or {}).get(b"huggingface")
    try:
        feature = json.loads(metadata)["info"]["features"][label] if metadata else {}
        names = feature.get("names")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        names = None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return image, label, names if is_list and names else None


def _image_column(file: Path) -> str | None:
    import pyarrow

    def is_bytes(kind: pyarrow.DataType) -> bool:
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    def is_image(kind: pyarrow.DataType) -> bool:
        if not pyarrow.types.is_struct(kind):
            return is_bytes(kind)
        return any(field.name == "bytes" and is_bytes(field.type) for field in kind)

    found = [field.name for field in _schema(file) if is_image(field.type)]
    named = [name for name in _IMAGES if name in found]
    return next(iter(named or found), None)


def _schema(file: Path) -> Any:
    # Imported here: it takes half a second that other data sources need not pay.
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_schema(file)
    except Exception as error:  # whatever an arbitrary file makes the readers raise
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> InputError:
    return InputError(f"{cut(file)} cannot be read as Parquet ({one_line(error)}); {_RIGHT}")
