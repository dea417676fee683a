"""A folder of pictures as a source: a folder a class.

Either DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/* of which a share is held out to test.
"""

import os
from pathlib import Path

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import shown
from rmdnet_jax.data import picture_files, pictures
from rmdnet_jax.data.dataset import SkippedFile
from rmdnet_jax.data.picture_files import PictureFiles, Split

_LAYOUT = (
    "right is DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/*, with JPEG, PNG and WebP files"
)
_TEST_FOLDERS = ("test", "validation", "val")


def find(path: str, held_out: float = 0.2) -> PictureFiles:
    """The picture files of a folder, none of which is opened.

    Classes are the folders' names in order. Images come in turns, the first file of every class,
    then the second, and so on, so that the first n are of all classes. Of DIR/CLASS/* each class
    gives `held_out` of its files to the test split, chosen by a hash of their names: the same files
    wherever the folder lies. Files and folders whose name begins with a dot are passed over; other
    files that are no pictures by their name are skipped and named.

    Args:
      path: the folder.
      held_out: share of each class in (0, 1).

    Raises:
      InputError: there is no such folder, or it is laid out otherwise, or something in it leads out
        of it.
    """
    root = Path(os.path.expanduser(path))
    if not path or not os.path.isdir(root):
        raise InputError(f"no folder {path!r} (dataset.path); {_LAYOUT}")
    top = _folders(root, root)
    test = next((name for name in _TEST_FOLDERS if name in top), None)
    skipped: list[SkippedFile] = []
    if "train" in top and _folders(root, root / "train"):
        if test is None:
            raise InputError(
                f"{root} has a folder train and none named {', '.join(_TEST_FOLDERS)}; right is "
                f"both, or {root / 'train'} as dataset.path to hold a share of it out"
            )
        trees = {split: _tree(root, root / split, skipped) for split in ("train", test)}
        classes = sorted(trees["train"])
        if unknown := sorted(trees[test].keys() - trees["train"].keys()):
            raise InputError(
                f"{root / test} has a class {unknown[0]!r} that {root / 'train'} has not; "
                "right is the same classes in both"
            )
        chosen = [
            {name: tree.get(name, []) for name in classes} for tree in (trees["train"], trees[test])
        ]
    else:
        tree = _tree(root, root, skipped)
        classes = sorted(tree)
        chosen = [{}, {}]
        for name in classes:
            held = picture_files.held_out(tree[name], held_out)
            chosen[0][name] = [file for file in tree[name] if file not in held]
            chosen[1][name] = sorted(held)
    if not classes:
        raise InputError(f"no folders of classes in {root}; {_LAYOUT}")
    train, test_split = map(_split, chosen)
    return PictureFiles(
        root.resolve().name, root, root, tuple(classes), train, test_split, tuple(skipped)
    )


def _split(files: dict[str, list[str]]) -> Split:
    turns = picture_files.in_turns(files)
    return Split([file for _, file in turns], np.array([label for label, _ in turns], np.int32))


def _entries(root: Path, folder: Path) -> list[os.DirEntry]:
    """What lies in a folder, by name; InputError for a link that leads out of `root`."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    inside = root.resolve()
    for entry in entries:
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
            raise InputError(
                f"{entry.path} is a link that leads out of {root}; right is a copy of what it "
                "leads to"
            )
    return entries


def _folders(root: Path, folder: Path) -> list[str]:
    return [entry.name for entry in _entries(root, folder) if entry.is_dir()]


def _tree(root: Path, folder: Path, skipped: list[SkippedFile]) -> dict[str, list[str]]:
    """The pictures of each class of a folder, as paths in `root`; what is none goes to `skipped`.

    Raises:
      InputError: a picture stands beside the folders of the classes, or a folder in one of them.
    """
    tree = {}
    for entry in _entries(root, folder):
        if not entry.is_dir():
            if _is_picture(entry):
                raise InputError(
                    f"{entry.path} stands beside the folders of the classes; {_LAYOUT}"
                )
            skipped.append(_no_picture(root, entry))
            continue
        files = []
        for file in _entries(root, Path(entry.path)):
            if file.is_dir():
                raise InputError(f"{file.path} is a folder in the folder of a class; {_LAYOUT}")
            if _is_picture(file):
                files.append(os.path.relpath(file.path, root))
            else:
                skipped.append(_no_picture(root, file))
        if not files:
            raise InputError(f"no pictures in {entry.path}; right is at least one a class")
        tree[entry.name] = files
    return tree


def _is_picture(entry: os.DirEntry) -> bool:
    """Whether a file is a picture by its name."""
    return entry.name.lower().endswith(pictures.SUFFIXES)


def _no_picture(root: Path, entry: os.DirEntry) -> SkippedFile:
    return SkippedFile(
        shown(os.path.relpath(entry.path, root)),
        f"its name does not end in {', '.join(pictures.SUFFIXES)}",
    )
