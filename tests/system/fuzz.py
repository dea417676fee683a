"""Damages valid files at random and reads them, for a bounded time: a reader gives a result or an
InputError, soon and in little memory, whatever the bytes.

python tests/system/fuzz.py READER --seconds=60 --seed=0 --keep=FOLDER

The last line is JSON: how many inputs were tried, how many were refused, and what else happened.
With --keep the inputs that made it happen stay in a folder.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"

import numpy as np
from PIL import ExifTags, Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import manifest_source, noise, pictures, sources
from rmdnet_jax.evaluation import label_issues

HANG = 5.0  # seconds

# Bytes that the process may grow by: pixels of the largest picture that is let in, some times over.
MEMORY = 1_500_000_000

# A valid file, and what may put right what guards it after it was damaged, a checksum say.
Seed = tuple[bytes, Callable[[bytes], bytes]]


class HangError(BaseException):
    """A reader took longer than HANG; no reader may catch it."""


def as_is(content: bytes) -> bytes:
    """The same."""
    return content


# Pictures


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_checksums(png: bytes) -> bytes:
    """A PNG with the checksum of every chunk put right, so that damage reaches the decoder."""
    parts, place = [png[:8]], 8
    while place + 12 <= len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        chunk = png[place + 4 : place + 8 + size]
        if len(chunk) < size + 4:
            break
        parts += [png[place : place + 4], chunk, struct.pack(">I", zlib.crc32(chunk))]
        place += size + 12
    return b"".join([*parts, png[place:]])


def picture_seeds() -> list[Seed]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    image, exif = Image.fromarray(pixels), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    grey16 = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    jpegs = [
        encoded(image, "JPEG", exif=exif),
        encoded(image, "JPEG", progressive=True),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image.convert("L"), "JPEG"),
    ]
    pngs = [
        encoded(image, "PNG", exif=exif),
        encoded(image.quantize(16), "PNG", transparency=3),
        encoded(grey16, "PNG"),
        encoded(image.convert("RGBA"), "PNG"),
    ]
    webps = [
        encoded(image, "WEBP", exif=exif),
        encoded(image, "WEBP", lossless=True),
        encoded(image, "WEBP", save_all=True, append_images=[image.rotate(90)] * 2),
    ]
    plain = [(file, as_is) for file in jpegs + pngs + webps]
    return plain + [(file, with_checksums) for file in pngs]


def read_picture(content: bytes, path: Path) -> None:
    with contextlib.suppress(pictures.BrokenPicture):
        pictures.size(content, "it")
    path.write_bytes(content)
    pictures.decode(str(path), "it", (16, 16, 3), resize=True)


# Arrays


def zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz_members() -> dict[str, bytes]:
    labels = np.arange(12) % 3
    arrays = {
        "x_train": np.zeros((12, 8, 8, 3), np.uint8),
        "y_train": labels[:, None],
        "x_test": np.zeros((3, 8, 8), np.uint8)[..., None].repeat(3, -1),
        "y_test": labels[:3].astype(np.int8),
        "class_names": np.array(["ant", "bee", "große Kuh"]),
        "human": labels,
    }
    return {name: npy(array) for name, array in arrays.items()}


def npz_seeds() -> list[Seed]:
    members = npz_members()
    named = [(f"{name}.npy", content) for name, content in members.items()]
    whole = [
        zipped(named, compression) for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    ]

    def rewrapped(name: str) -> Callable[[bytes], bytes]:
        """The damage is inside a member, and the zip around it is sound."""
        return lambda content: zipped(
            [(f"{n}.npy", content if n == name else whole) for n, whole in members.items()]
        )

    return [(file, as_is) for file in whole] + [
        (content, rewrapped(name)) for name, content in members.items()
    ]


def read_npz(content: bytes, path: Path) -> None:
    path = path.with_suffix(".npz")
    path.write_bytes(content)
    sources.load("npz", str(path))


def matrix_seeds() -> list[Seed]:
    return [(npy(np.eye(3)), as_is), (npy(np.eye(4, dtype=np.int8)), as_is)]


def read_matrix(content: bytes, path: Path) -> None:
    path = path.with_suffix(".npy")
    path.write_bytes(content)
    noise.load_matrix(path)


# Tables

MANIFEST = (
    "path,label,split,true_label\r\n"
    + "".join(f'{i}.png,"cat, {i % 2}",{"train" if i % 3 else "val"},cat\r\n' for i in range(9))
).encode()


def csv_seeds() -> list[Seed]:
    short = b"\xef\xbb\xbfpath,label\n0.png,1\nin/1.png,-2\n\n2.png,10\n"
    return [(MANIFEST, as_is), (short, as_is)]


def read_csv_manifest(content: bytes, path: Path) -> None:
    path = path.with_suffix(".csv")
    path.write_bytes(content)
    manifest_source.find(str(path))


def parquet_seeds() -> list[Seed]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"path": [f"{i}.png" for i in range(40)], "label": [i % 3 for i in range(40)]}
    found = []
    for compression in ("none", "snappy", "zstd"):
        for split in ([], ["train", "val"] * 20):
            table = pa.table(columns | ({"split": split} if split else {}))
            file = io.BytesIO()
            pq.write_table(table, file, compression=compression, row_group_size=16)
            found.append((file.getvalue(), as_is))
    return found


def read_parquet_manifest(content: bytes, path: Path) -> None:
    path = path.with_suffix(".parquet")
    path.write_bytes(content)
    manifest_source.find(str(path))


def issue_seeds() -> list[Seed]:
    chances = np.random.default_rng(0).dirichlet([1, 1, 1], 6)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for neighbours, files in ((chances, tuple("abcdef")), (None, None)):
            issues = label_issues.score(chances, neighbours, np.arange(6) % 3, 0.4)
            label_issues.write_csv(Path(folder) / "i.csv", issues, ("=a", "b", "c"), files)
            found.append(((Path(folder) / "i.csv").read_bytes(), as_is))
    return found


def read_issues(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    label_issues.read_csv(path)


def noise_seeds() -> list[Seed]:
    return [(b"1,0\n0,1\n", as_is), (b"0.5,0.5,0\n0,1,0\n0.1,0.2,0.7\n", as_is)]


def read_noise(content: bytes, path: Path) -> None:
    path = path.with_suffix(".csv")
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        noise.load_mapping(path)
    noise.load_matrix(path)


# Models


def model_seeds() -> list[Seed]:
    """The description of a saved model; read_model puts it where it belongs."""
    import jax

    from rmdnet_jax import model as models
    from rmdnet_jax.methods.network import Classifier
    from rmdnet_jax.models.heads import Linear
    from rmdnet_jax.models.resnet import ResNet

    mean = np.full(3, 0.5, np.float32)
    network = Classifier(ResNet(1), Linear(2), mean, mean)
    weights = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), models._shapes(network, (8, 8, 3)))
    saved = models.Model(network, (weights,), (8, 8, 3), ("ant", "bee"))
    saved.save(MODEL)
    return [(next(MODEL.glob("model/*/meta/metadata")).read_bytes(), as_is)]


MODEL = Path(tempfile.gettempdir()) / f"rmdnet-fuzz-{os.getpid()}"


def read_model(content: bytes, path: Path) -> None:
    from rmdnet_jax.model import Model
    from rmdnet_jax.training import checksums

    next(MODEL.glob("model/*/meta/metadata")).write_bytes(content)
    # Who makes a model up can make its checksums up too.
    checksums.write(MODEL / "model" / "0", ("_CHECKPOINT_METADATA", "commit_success.txt"))
    Model.load(MODEL)


READERS = {
    "pictures": (picture_seeds, read_picture),
    "npz": (npz_seeds, read_npz),
    "matrices": (matrix_seeds, read_matrix),
    "csv_manifests": (csv_seeds, read_csv_manifest),
    "parquet_manifests": (parquet_seeds, read_parquet_manifest),
    "label_issues": (issue_seeds, read_issues),
    "noise_csv": (noise_seeds, read_noise),
    "models": (model_seeds, read_model),
}

# What readers of formats stumble over.
NUMBERS = (0, 1, -1, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
TOKENS = [
    b"NaN", b"-1", b"1e999", b"9" * 20, b"9" * 5000, b"\0", b"\xff\xfe", b"\xed\xa0\x80", b'"',
    b",", b"\r", b"\n", b"../", b"/etc/passwd", b"{", b"}", b"[" * 200, b"(" * 200, b"null",
    b"true", b"1e6", b"10000000000000000000000", b"'|O'", b"__import__('os')", b"=1+1", b"\x1b[2J",
]  # fmt: skip


def damaged(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The same with one to eight places changed."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        place = rng.randrange(len(found) + 1)
        end = min(len(found), place + rng.choice((1, 2, 4, 8, 32, 500)))
        kind = rng.randrange(9)
        if kind == 0 and place < len(found):
            found[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < len(found):
            found[place] = rng.randrange(256)
        elif kind == 2:
            code = rng.choice("bhiq")
            number = rng.choice(NUMBERS) & ((1 << 8 * struct.calcsize(code)) - 1)
            raw = number.to_bytes(struct.calcsize(code), rng.choice(("little", "big")))
            found[place : place + len(raw)] = raw
        elif kind == 3:
            del found[place:]
        elif kind == 4:
            del found[place:end]
        elif kind == 5:
            found[place:place] = found[place:end] * rng.choice((1, 2, 50))
        elif kind == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            found[place:end] = other[start : start + rng.choice((1, 8, 64, 1000))]
        elif kind == 7:
            found[place : rng.choice((place, end))] = rng.choice(TOKENS)
        else:
            found[place:place] = rng.randbytes(end - place)
    return bytes(found)


def fuzz(reader: str, seconds: float, seed: int, keep: Path | None) -> dict:
    """Reads damaged files for so long; returns what happened, JSON-able."""
    rng, started = random.Random(seed), time.monotonic()
    make_seeds, read = READERS[reader]
    seeds = make_seeds()
    tried, refused, slowest = 0, 0, 0.0
    failures: dict[str, int] = {}

    def hang(*_) -> None:
        raise HangError(f"more than {HANG:g} s")

    signal.signal(signal.SIGALRM, hang)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "input"
        for content, whole in seeds:  # what is valid is read
            read(whole(content), path)
        before = peak_memory()
        while time.monotonic() - started < seconds:
            content, whole = rng.choice(seeds)
            content = whole(damaged(content, [content for content, _ in seeds], rng))
            begun = time.monotonic()
            failure = None
            signal.setitimer(signal.ITIMER_REAL, HANG)
            try:
                read(content, path)
            except InputError as error:
                refused += 1
                if "\n" in str(error) or isinstance(error.__cause__, MemoryError):
                    failure = f"no line, or no memory: {error!r}"[:200]
            except (Exception, HangError) as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                failure = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            tried += 1
            slowest = max(slowest, time.monotonic() - begun)
            if peak_memory() > before + MEMORY:
                failure, before = "more memory than its bound", peak_memory()
            if failure:
                failures[failure] = failures.get(failure, 0) + 1
                if keep and failures[failure] == 1:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{reader}-{len(failures)}").write_bytes(content)
    shutil.rmtree(MODEL, ignore_errors=True)
    return {"reader": reader, "seed": seed, "tried": tried, "refused": refused,
            "slowest_seconds": round(slowest, 3), "failures": failures}  # fmt: skip


def peak_memory() -> int:
    """Bytes that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    told = fuzz(given.reader, given.seconds, given.seed, given.keep)
    print(json.dumps(told))
    sys.exit(bool(told["failures"]))
