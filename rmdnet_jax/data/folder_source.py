"""A folder of pictures as a source: one subfolder per class.

Either DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/*, from which a share is held out to
test on.
"""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import shown
from rmdnet_jax.data import class_names, picture_files, pictures, split_names
from rmdnet_jax.data.class_order import in_order
from rmdnet_jax.data.dataset import SkippedFile
from rmdnet_jax.data.picture_files import PictureFiles, Split
from rmdnet_jax.machine import hosts

_LAYOUT = (
    "expected DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/*, with JPEG, PNG and WebP files"
)
_SUFFIXES = ", ".join(pictures.SUFFIXES)
_LISTS = (".csv", ".parquet")  # what a manifest may be

# The pictures of each class, as paths in the root folder.
_Tree = dict[str, list[str]]


def find(path: str, test_fraction: float = 0.2) -> PictureFiles:
    """The picture files of a folder, none of which is opened.

    Classes are the folders' names, sorted by class_order.py. Images come in turns: the first file
    of every class, then the second of every class, and so on, so that the first n cover all
    classes. With DIR/CLASS/* each class gives `test_fraction` of its files to the test split,
    chosen by a hash of their names: the same files wherever the folder is. Files and folders whose
    name begins with a dot are ignored; other files that are not pictures by their name, and folders
    next to train and test, are skipped and reported.

    Args:
      path: the folder.
      test_fraction: the test fraction, in (0, 1).

    Raises:
      InputError: there is no such folder, or it has another layout, or something in it leads out of
        it or cannot be read.
    """
    root = Path(os.path.expanduser(path))
    if not path or not os.path.isdir(root):
        raise InputError(f"no folder {path!r} (dataset.path); {_LAYOUT}")
    top = _entries(root, root)
    folders = [entry.name for entry in top if entry.is_folder]
    if not folders:
        raise _no_classes(root, top)
    skipped: list[SkippedFile] = []
    if "train" in folders and any(entry.is_folder for entry in _entries(root, root / "train")):
        trees = _given_splits(root, top, skipped)
    else:
        _check_no_splits(root, folders)
        trees = _held_out(_tree(root, root, skipped), test_fraction)
    classes = in_order(trees[0])
    if warning := class_names.warning({name: len(trees[0][name]) for name in classes}):
        hosts.warn(warning)
    train, test = (_split({name: tree.get(name, []) for name in classes}) for tree in trees)
    return PictureFiles(
        root.resolve().name, root, root, tuple(classes), train, test, tuple(skipped)
    )


class _Entry(NamedTuple):
    """An entry of a folder."""

    name: str
    path: str
    is_folder: bool


def _entries(root: Path, folder: Path) -> list[_Entry]:
    """The entries of a folder, by name, except those that begin with a dot.

    Raises:
      InputError: the folder or a link in it cannot be read, or a link leads out of `root`.
    """
    try:
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(error, folder) from error
    inside, found = os.path.realpath(root), []
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_symlink() and not Path(os.path.realpath(entry.path)).is_relative_to(inside):
            raise InputError(
                f"{entry.path} is a link that leads out of {root}; expected a copy of its target"
            )
        try:
            found.append(_Entry(entry.name, entry.path, entry.is_dir()))
        except OSError as error:  # a link that is circular, or to a place without permission
            raise _unreadable(error, entry.path) from error
    return found


def _unreadable(error: OSError, path: str | Path) -> InputError:
    return InputError(
        f"{path} cannot be read ({error.strerror}); make it readable, or move it out of the data "
        "set's folder"
    )


def _no_classes(root: Path, top: list[_Entry]) -> InputError:
    """The error for a folder without subfolders: what it contains, and which list in it may be
    meant."""
    lists = [entry.name for entry in top if entry.name.lower().endswith(_LISTS)]
    instead = ""
    if lists:
        instead = (
            f"; or, if {lists[0]} lists the pictures, dataset.path={root / lists[0]} (one file: "
            "join the Parquet files of a data set first)"
        )
    return InputError(f"no class folders in {root}{_only(top)}; {_LAYOUT}{instead}")


def _check_no_splits(root: Path, folders: list[str]) -> None:
    """Raises InputError for a folder that would be a class, but has the name of a split."""
    named = [name for name in folders if name.lower() in split_names.NAMES]
    if not named:
        return
    if len(named) == len(folders):
        raise InputError(
            f"{root} has {', '.join(named)}, but no class folders in a folder train; {_LAYOUT}"
        )
    other = next(name for name in folders if name not in named)
    raise InputError(
        f"{root / named[0]} is next to the class folder {other!r}, and would be a class itself; "
        f"move it out of {root} (a share of the rest is then held out to test on), or use "
        "DIR/train/CLASS/* and DIR/test/CLASS/*; if it is a class, use these or a manifest"
    )


def _given_splits(root: Path, top: list[_Entry], skipped: list[SkippedFile]) -> tuple[_Tree, _Tree]:
    """The pictures of DIR/train and of DIR/test; what is next to them goes to `skipped`."""
    folders = [entry.name for entry in top if entry.is_folder]
    test = split_names.tested(folders)
    if test is None:
        raise InputError(
            f"{root} has a folder train but none named {', '.join(split_names.TESTS)}; expected "
            f"both, or dataset.path={root / 'train'} to hold out a share of it"
        )
    for entry in top:
        if not entry.is_folder:
            skipped.append(_no_picture(root, entry))
        elif entry.name not in ("train", test):
            count = _count(Path(entry.path))
            reason = f"a folder next to train and {test}: its {count:,} pictures are not used"
            skipped.append(SkippedFile(shown(entry.name), reason, is_picture=False))
    train, tested = (_tree(root, root / split, skipped) for split in ("train", test))
    if unknown := in_order(tested.keys() - train.keys()):
        raise InputError(
            f"{root / test} has a class {unknown[0]!r} that {root / 'train'} does not have; "
            "expected the same classes in both"
        )
    return train, tested


def _held_out(tree: _Tree, share: float) -> tuple[_Tree, _Tree]:
    """The pictures to train on, and those to test on."""
    held = {name: picture_files.held_out(files, share) for name, files in tree.items()}
    train = {name: [file for file in tree[name] if file not in held[name]] for name in tree}
    return train, {name: sorted(files) for name, files in held.items()}


def _split(files: _Tree) -> Split:
    turns = picture_files.in_turns(files)
    return Split([file for _, file in turns], np.array([label for label, _ in turns], np.int32))


def _tree(root: Path, folder: Path, skipped: list[SkippedFile]) -> _Tree:
    """The pictures of each class of a folder, as paths in `root`; other files go to `skipped`.

    Raises:
      InputError: a picture is next to the class folders, or a folder is in one of them, or one of
        them has no pictures.
    """
    tree: _Tree = {}
    for entry in _entries(root, folder):
        if not entry.is_folder:
            skipped.append(_no_picture(root, entry))
            continue
        # Two computers may write one name with different characters, for example train and test.
        name = unicodedata.normalize("NFC", entry.name)
        if name in tree:
            raise InputError(f"{folder} has two folders {name!r}, in different characters that "
                             "look the same; expected one per class")  # fmt: skip
        tree[name] = _class_files(root, entry, skipped)
    return tree


def _class_files(root: Path, folder: _Entry, skipped: list[SkippedFile]) -> list[str]:
    entries = _entries(root, Path(folder.path))
    if deeper := [entry for entry in entries if entry.is_folder]:
        raise InputError(f"{deeper[0].path} is a folder in a class folder; {_LAYOUT}")
    files = [entry for entry in entries if pictures.is_picture(entry.name)]
    others = [entry for entry in entries if not pictures.is_picture(entry.name)]
    if not files:
        raise InputError(
            f"no pictures in {folder.path}{_only(others)}; expected at least one per class, "
            f"ending in {_SUFFIXES}"
        )
    skipped.extend(_skipped(root, file) for file in others)
    return [os.path.relpath(file.path, root) for file in files]


def _only(files: Iterable[_Entry]) -> str:
    names = [file.name for file in files]
    return f", only files that end in {pictures.endings(names)}" if names else ""


def _no_picture(root: Path, entry: _Entry) -> SkippedFile:
    """A file next to the class folders.

    Raises:
      InputError: it is a picture, or a broken link, which may have led to a class folder.
    """
    if pictures.is_picture(entry.name):
        raise InputError(f"{entry.path} is next to the class folders; {_LAYOUT}")
    if not os.path.exists(entry.path):
        raise InputError(
            f"{entry.path} is a broken link, perhaps to a class folder; fix or remove it"
        )
    return _skipped(root, entry)


def _skipped(root: Path, entry: _Entry) -> SkippedFile:
    return SkippedFile(
        shown(os.path.relpath(entry.path, root)),
        f"its name does not end in {_SUFFIXES}",
        pictures.is_other_picture(entry.name),
    )


def _count(folder: Path) -> int:
    """How many pictures are below a folder; links to folders are not followed."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error, error.filename) from error

    return sum(
        pictures.is_picture(name) and not name.startswith(".")
        for _, _, files in os.walk(folder, onerror=refuse)
        for name in files
    )
