"""Images per second from disk, by source and number of worker processes, compared with the same
batches gathered from memory in the same run. The start of the workers is not measured.

python benchmarks/streaming.py --images=1000 --side=96 --size=64 --workers 0 1
"""

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rmdnet_jax.data import lazy_images, sources, streaming, tfds_source
from rmdnet_jax.data.dataset import Dataset

CLASSES = ("even", "odd")


def photos(count: int, side: int):
    """Images that compress about as well as photographs: smooth, with some noise."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
        noisy = image + rng.normal(0, 4, image.shape)
        yield Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def write_folder(root: Path, suffix: str, count: int, side: int) -> None:
    """ROOT/CLASS/*.SUFFIX."""
    for i, image in enumerate(photos(count, side)):
        file = root / CLASSES[i % 2] / f"{i:06}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file, quality=90)


def write_tfds(root: Path, count: int, side: int) -> str:
    """An array_record set of JPEGs; returns its name."""
    import tensorflow_datasets as tfds

    class BenchmarkPhotos(tfds.core.GeneratorBasedBuilder):
        """Made-up photographs."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(side, side, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=list(CLASSES)),
            }
            features = tfds.features.FeaturesDict(features)
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(count), "test": self._generate_examples(2)}

        def _generate_examples(self, size):
            for i, image in enumerate(photos(size, side)):
                file = io.BytesIO()
                image.save(file, "JPEG", quality=90)
                file.seek(0)
                yield i, {"image": file, "label": i % 2}

    tfds.disable_progress_bar()
    BenchmarkPhotos(data_dir=root, file_format="array_record").download_and_prepare()
    return "benchmark_photos"


def speed(images, labels: np.ndarray, order: np.ndarray, workers: int) -> float:
    """Images per second after the first batch."""
    with streaming.batches(images, labels, order, workers=workers) as batches:
        next(batches)
        started = time.perf_counter()
        taken = sum(len(batch.index) for batch in batches)
        ended = time.perf_counter()
    return taken / (ended - started)


def gather_speed(images: np.ndarray, labels: np.ndarray, order: np.ndarray) -> float:
    """Images per second of plain NumPy on the host, for the same batches."""
    started = time.perf_counter()
    for row in order:
        images[row], labels[row]
    return order.size / (time.perf_counter() - started)


def folder(path: Path, size: int) -> Dataset:
    """A folder's pictures, decoded each time they are read."""
    return sources.load("folder", str(path), image_size=size, memory_budget=1e-9)


def main() -> None:
    """Prints one line per source and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=96, help="of the pictures on disk")
    parser.add_argument("--size", type=int, default=64, help="to which the pictures are resized")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    count, side, size = options.images, options.side, options.size
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for suffix in ("jpg", "png"):
            write_folder(root / suffix, suffix, count, side)
        name = write_tfds(root / "tfds", count, side)
        sets = {
            "folder of JPEG": folder(root / "jpg", size),
            "folder of PNG": folder(root / "png", size),
            "TFDS, JPEG": tfds_source.load(name, str(root / "tfds"), size),
        }
        for source, data in sets.items():
            images, labels = data.train_images, data.train_labels
            rng = np.random.default_rng(0)
            steps = len(images) // options.batch
            order = rng.permutation(len(images)).astype(np.int32)[: steps * options.batch]
            order = order.reshape(steps, options.batch)
            in_memory = gather_speed(lazy_images.decoded(images), labels, order)
            print(f"{source:16} in memory   {in_memory:10,.0f} img/s")
            for workers in options.workers:
                found = speed(images, labels, order, workers)
                print(
                    f"{source:16} {workers:2} workers  {found:10,.0f} img/s   "
                    f"{in_memory / found:,.0f} x slower than from memory",
                    flush=True,
                )


if __name__ == "__main__":
    main()
