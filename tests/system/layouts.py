"""Folders of all kinds, drawn by Hypothesis: pictures, notes, folders in folders, links to
anywhere, and folders that may not be read. What is lost of one without a word is a bug."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st
from PIL import Image

FOLDERS = (
    "ant",
    "bee",
    "train",
    "test",
    "val",
    "Test",
    "gr\u00f6\u00dfe",
    "gro\u0308\u00dfe",
    ".store",
)
FILES = ("0.png", "1.PNG", "2.jpg", "3.bmp", "notes.txt", "Thumbs.db", ".hidden.png", "list.csv")
TARGETS = ("..", ".", "../..", "ant", "../ant", "../bee", "0.png", "nothing", "link", ".store",
           "../.store", "/", "/nowhere")  # fmt: skip


def _png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return file.getvalue()


PICTURE = _png()

# Path and what is there: a file's bytes, or a link's target; and whether its folder may be read.
Entry = tuple[tuple[str, ...], str, bytes | str, bool]

_entries = st.tuples(
    st.lists(st.sampled_from(FOLDERS), max_size=2).map(tuple),
    st.sampled_from(FILES) | st.sampled_from(("link", "link.png", *FOLDERS)),
    st.sampled_from((PICTURE,) * 12 + (b"no picture",) * 4 + TARGETS),
    st.sampled_from((True,) * 20 + (False,)),
)
# Often what is right, and something else beside it.
_RIGHT = {
    "classes": [((name,), f"{i}.png", PICTURE, True) for name in ("ant", "bee") for i in range(3)],
    "splits": [
        ((split, name), f"{i}.png", PICTURE, True)
        for split in ("train", "test")
        for name in ("ant", "bee")
        for i in range(3)
    ],
    "nothing": [],
}
layouts = st.tuples(
    st.sampled_from(sorted(_RIGHT)).map(_RIGHT.get), st.lists(_entries, max_size=6)
).map(lambda parts: [*parts[0], *parts[1]])


@contextlib.contextmanager
def built(root: Path, layout: list[Entry]) -> Iterator[set[str]]:
    """Makes the folder; yields the folders in it that may not be read in the block."""
    root.mkdir()
    locked = set()
    for folders, name, content, may_read in layout:
        place = root.joinpath(*folders)
        parents = [place, *place.parents]
        if any(part.is_symlink() or part.is_file() for part in parents[: len(folders)]):
            continue
        place.mkdir(parents=True, exist_ok=True)
        if not may_read and folders:
            locked.add(str(place))
        if os.path.lexists(place / name):
            continue
        if isinstance(content, str):
            (place / name).symlink_to(content)
        else:
            (place / name).write_bytes(content)
    scandir, real = os.scandir, {os.path.realpath(place) for place in locked}

    def scanned(folder="."):
        if os.path.realpath(folder) in real:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    with mock.patch.object(os, "scandir", scanned):
        yield locked


def real_files(root: Path) -> set[str]:
    """The files that are there and not hidden, by path, links not followed; to be asked outside of
    `built`'s block, where every folder may be read."""
    found = set()
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found |= {
            os.path.relpath(os.path.join(place, name), root)
            for name in files
            if not name.startswith(".") and not os.path.islink(os.path.join(place, name))
        }
    return found
