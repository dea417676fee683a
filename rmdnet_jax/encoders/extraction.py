"""The embeddings of all images, each computed once and kept on disk, block by block, so that a
stopped extraction resumes."""

import contextlib
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import lazy_images, npy
from rmdnet_jax.data.lazy_images import Images
from rmdnet_jax.data.picture_reader import progress
from rmdnet_jax.encoders.interface import Encoder

# Images per call, and per file: seconds of work on a laptop.
_BATCH, _BLOCK = 32, 512

_CONSTANT = 1e-6  # a spread that is due to rounding, relative to the values' size


def embeddings(
    encoder: Encoder, pictures: Images, folder: Path | None, name: str = "pictures"
) -> np.ndarray:
    """Embeddings float32 [N, D].

    Args:
      encoder: what computes them.
      pictures: uint8 [N, side, side, 3] of the encoder's side, in memory or on disk.
      folder: where finished blocks of these images and this encoder are kept; None: nowhere. It is
        no error if it cannot be written.
      name: what to call the images in the progress line.

    Raises:
      InputError: an embedding is not finite, or all of them are equal and the images are not.
    """
    found = np.empty((len(pictures), encoder.size), np.float32)
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(found), _BLOCK)]
    missing = []
    for number, block in enumerate(blocks):
        kept = None if folder is None else _kept(folder / f"{number:06d}.npy", found[block].shape)
        if kept is None:
            missing.append(number)
        else:
            found[block] = kept
    places = [np.arange(len(found))[blocks[number]] for number in missing]
    if places:
        left = lazy_images.subset(pictures, np.concatenate(places))
        with contextlib.closing(_embedded(encoder, left, name)) as parts:
            for number in missing:
                rows, filled = found[blocks[number]], 0
                while filled < len(rows):
                    part = next(parts)
                    rows[filled : filled + len(part)] = part
                    filled += len(part)
                _keep(folder, number, rows)
    _check(found, pictures, encoder, name)
    return found


def _embedded(encoder: Encoder, pictures: Images, name: str) -> Generator[np.ndarray, None, None]:
    """Batch by batch; _BLOCK is a multiple of _BATCH, so that no batch belongs to two blocks."""
    if len(pictures) > _BLOCK and not sys.stdout.isatty():  # which shows a progress bar instead
        print(f"encoder: embedding {len(pictures):,} {name}", flush=True)
    batches = lazy_images.blocks(pictures, _BATCH)
    count = -(-len(pictures) // _BATCH)
    for batch in progress(batches, f"embedding {name}", count):
        yield encoder.embed(batch)


def _keep(folder: Path | None, number: int, block: np.ndarray) -> None:
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with open_atomic(folder / f"{number:06d}.npy", "wb") as file:
            np.save(file, block)  # type: ignore[arg-type]


def _kept(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The block in a file; None if there is none, or it is damaged."""
    try:
        block = npy.load(file)
    except InputError:
        return None
    return block if block.shape == shape and block.dtype == np.float32 else None


def _check(found: np.ndarray, pictures: Images, encoder: Encoder, name: str) -> None:
    is_finite = np.isfinite(found).all(axis=1)
    if not is_finite.all():
        raise InputError(
            f"{encoder.story}: {np.sum(~is_finite):,} of {len(found):,} embeddings of {name} are "
            f"not finite, first that of picture {int(is_finite.argmin())}; expected finite "
            "numbers, perhaps from another encoder"
        )
    is_constant = len(found) > 1 and np.ptp(found, axis=0).max() <= _CONSTANT * np.abs(found).max()
    if is_constant and _differ(pictures):
        raise InputError(
            f"{encoder.story}: all embeddings of {name} are equal; expected different ones, "
            "perhaps from another output (encoder.output) or encoder"
        )


def _differ(pictures: Images) -> bool:
    first = pictures[:1]
    return any((block != first).any() for block in lazy_images.blocks(pictures))
