"""A folder of pictures as a data set: a folder a class, read when needed.

Either DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/* of which a share is held out to test.
"""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rmdnet_jax.data import pictures
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.lazy_images import LazyImages
from rmdnet_jax.errors import InputError

_LAYOUT = (
    "right is DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/*, with JPEG, PNG and WebP files"
)
_TEST_FOLDERS = ("test", "validation", "val")

# Files whose heads are read at the same time: on a network's disk each waits.
_READERS = 16


@dataclasses.dataclass(frozen=True)
class Split:
    """The pictures of one split: their paths in the folder, and their labels int32 [N]."""

    files: list[str]
    labels: np.ndarray


def load(path: str, image_size: int = 0, held_out: float = 0.2) -> Dataset:
    """The data set of a folder; its pictures are looked at but not decoded.

    Classes are the folders' names in order. Images come in turns, the first file of every class,
    then the second, and so on, so that the first n are of all classes. Of DIR/CLASS/* each class
    gives `held_out` of its files to the test split, chosen by a hash of their names: the same files
    wherever the folder lies. Files and folders whose name begins with a dot are passed over.

    Args:
      path: the folder.
      image_size: every picture becomes a square of so many pixels, as `pictures.decode` says; 0
        leaves them as they are, and all must have one size.
      held_out: share of each class in (0, 1).

    Raises:
      InputError: there is no such folder, or something in it is no picture, or leads out of it.
    """
    root = Path(path).expanduser()
    if not path or not root.is_dir():
        raise InputError(f"no folder {path!r} (dataset.path); {_LAYOUT}")
    top = _folders(root, root)
    test = next((name for name in _TEST_FOLDERS if name in top), None)
    if "train" in top and _folders(root, root / "train"):
        if test is None:
            raise InputError(
                f"{root} has a folder train and none named {', '.join(_TEST_FOLDERS)}; right is "
                f"both, or {root / 'train'} as dataset.path to hold a share of it out"
            )
        trees = {split: _tree(root, root / split) for split in ("train", test)}
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
        tree = _tree(root, root)
        classes = sorted(tree)
        chosen = [{}, {}]
        for name in classes:
            held = _held_out(tree[name], held_out)
            chosen[0][name] = [file for file in tree[name] if file not in held]
            chosen[1][name] = sorted(held)
    if not classes:
        raise InputError(f"no folders of classes in {root}; {_LAYOUT}")
    splits = [_in_turns(files) for files in chosen]
    shape, sizes = _look(root, [split.files for split in splits], image_size)
    train_images, test_images = (
        LazyImages(
            FolderReader(str(root), split.files, shape, bool(image_size)),
            np.arange(len(split.files)),
            shape,
        )
        for split in splits
    )
    return Dataset(
        name=root.resolve().name,
        train_images=train_images,
        train_labels=splits[0].labels,
        test_images=test_images,
        test_labels=splits[1].labels,
        label_sets={},
        class_names=tuple(classes),
        train_digests=_digests(splits[0].files, sizes),
        train_files=tuple(splits[0].files),
    )


@dataclasses.dataclass(frozen=True)
class FolderReader:
    """Decodes the pictures at given positions of a list of files; can be pickled."""

    root: str
    files: list[str]
    shape: tuple[int, int, int]
    resize: bool

    def __call__(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The pictures of `rows` int [n], one by one: uint8 [H, W, 3]."""
        for row in rows:
            file = os.path.join(self.root, self.files[row])
            yield pictures.decode(file, file, self.shape, self.resize)


def _entries(root: Path, folder: Path) -> list[os.DirEntry]:
    """What lies in a folder, by name; InputError for a link that leads out of `root`."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    for entry in entries:
        inside = root.resolve()
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
            raise InputError(
                f"{entry.path} is a link that leads out of {root}; right is a copy of what it "
                "leads to"
            )
    return entries


def _folders(root: Path, folder: Path) -> list[str]:
    return [entry.name for entry in _entries(root, folder) if entry.is_dir()]


def _tree(root: Path, folder: Path) -> dict[str, list[str]]:
    """The files of each class of a folder, as paths in `root`.

    Raises:
      InputError: something is neither the folder of a class nor, in one, a picture by its name.
    """
    tree = {}
    for entry in _entries(root, folder):
        if not entry.is_dir():
            raise InputError(f"{entry.path} stands beside the folders of the classes; {_LAYOUT}")
        inside = Path(entry.path)
        files = _entries(root, inside)
        for file in files:
            if not (file.is_file() and file.name.lower().endswith(pictures.SUFFIXES)):
                raise InputError(
                    f"{file.path} is no picture; right are files ending in "
                    + ", ".join(pictures.SUFFIXES)
                )
        if not files:
            raise InputError(f"no pictures in {entry.path}; right is at least one a class")
        tree[entry.name] = [os.path.relpath(file.path, root) for file in files]
    return tree


def _held_out(files: list[str], share: float) -> set[str]:
    """The files of a class to test on: the nearest number to the share, but not all."""
    by_hash = sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file)).digest())
    return set(by_hash[: min(round(share * len(files)), len(files) - 1)])


def _in_turns(files: dict[str, list[str]]) -> Split:
    """The first file of every class, then the second of every class, and so on."""
    turns = sorted(
        (turn, label, file)
        for label, of_class in enumerate(files.values())
        for turn, file in enumerate(of_class)
    )
    return Split([file for *_, file in turns], np.array([label for _, label, _ in turns], np.int32))


def _look(
    root: Path, splits: list[list[str]], image_size: int
) -> tuple[tuple[int, int, int], dict[str, int]]:
    """The shape that the images will have, and the bytes of each file.

    Raises:
      InputError: a file does not begin as a picture does, or the pictures are of several sizes and
        no `image_size` is given.
    """

    def look(file: str) -> tuple[tuple[int, int], int]:
        path = str(root / file)
        return pictures.size(path, path), os.path.getsize(path)

    files = [file for split in splits for file in split]
    with ThreadPoolExecutor(_READERS) as pool:
        looked = dict(zip(files, pool.map(look, files), strict=True))
    shapes = Counter(shape for shape, _ in looked.values())
    if len(shapes) > 1 and not image_size:
        (height, width), _ = shapes.most_common(1)[0]
        other = next(file for file in files if looked[file][0] != (height, width))
        raise InputError(
            f"{root / other} has {looked[other][0][0]}x{looked[other][0][1]} pixels, others have "
            f"{height}x{width}; right is --config.dataset.image_size=SIDE for pictures of several "
            "sizes"
        )
    height, width = (image_size, image_size) if image_size else next(iter(shapes))
    return (height, width, 3), {file: size for file, (_, size) in looked.items()}


def _digests(files: list[str], sizes: dict[str, int]) -> np.ndarray:
    """What tells each file from others without reading it, its name and size: uint8 [N, 16]."""
    digests = (
        hashlib.blake2b(os.fsencode(file) + b"\0%d" % sizes[file], digest_size=16).digest()
        for file in files
    )
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
