"""Planted faults in real images: how many our audit finds, compared with cleanlab's Datalab and
CleanVision, all in one run.

python benchmarks/audit.py PICTURES.npz ENCODER.onnx [--images=3000] [--planted=60] (needs cleanlab
and cleanvision, both with their extras for images)

PICTURES.npz has x_train, uint8 [N, H, W, 3]. Every kind of fault is planted --planted times,
outliers a fifth as often, each on a different image. A duplicate counts as found if it is in a
group with its original; an image that is reported but not planted counts against a tool's
precision, though it may be a real fault. All tools that use embeddings get the encoder's. Times are
CPU seconds, of both cores.
"""

import argparse
import contextlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ours
import stopwatch
from cleanlab import Datalab
from cleanvision import Imagelab
from PIL import Image, ImageEnhance, ImageFilter

from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.encoders import opening
from rmdnet_jax.encoders.interface import Asked
from rmdnet_jax.evaluation.audit import audit

# Reported images by issue.
Report = dict[str, set[int]]


def _jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=50)
    return Image.open(file).convert("RGB")


def _crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    box = (0.03 * width, 0.05 * height, 0.95 * width, 0.97 * height)
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


def _resized(image: Image.Image) -> Image.Image:
    small = image.resize((image.width * 2 // 3, image.height * 2 // 3), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _pattern(image: Image.Image) -> Image.Image:
    """Not a photo: lines, rings, a gradient, a uniform patch or a board, chosen by the image."""
    rng = np.random.default_rng(int(np.asarray(image).sum()))
    y, x = np.mgrid[: image.height, : image.width]
    turned = x * np.cos(angle := rng.uniform(0, 3)) + y * np.sin(angle)
    step = rng.uniform(3, 10)
    kinds = [
        255 * ((y % 5 > 2) | (rng.random(x.shape) < 0.4)), 127 + 127 * np.sin(turned / step * 6),
        turned / turned.max() * 255, 255 * ((x - 9) ** 2 + (y - 9) ** 2 < 9 * step),
        255 * ((x // step + y // step) % 2), np.hypot(x - 16, y - 16) % step / step * 255,
    ]  # fmt: skip
    grey = np.clip(kinds[rng.integers(len(kinds))], 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "same pixels": lambda image: image,
    "JPEG, quality 50": _jpeg,
    "crop to 92 %": _crop,
    "resized to 2/3 and back": _resized,
    "brighter by 1.3": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}
FAULTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.12),
    "bright": lambda image: Image.blend(image, Image.new("RGB", image.size, "white"), 0.93),
    "blank": lambda image: Image.new("RGB", image.size, image.getpixel((0, 0))),
    "blurry": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 40)),
    "outlier": _pattern,
}


def planted(
    pictures: np.ndarray, count: int
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[int, int]]:
    """The images with faults, uint8 [N, H, W, 3], the rows of each kind, and the original of each
    copy."""
    places = iter(np.random.default_rng(0).permutation(len(pictures)).tolist())
    changed, where, originals = [*pictures], {}, {}
    for fault, change in FAULTS.items():
        # Many outliers of one kind would not be outliers.
        wanted = max(1, count // 5) if fault == "outlier" else count
        where[fault] = np.array([next(places) for _ in range(wanted)])
        for i in where[fault]:
            changed[i] = np.asarray(change(Image.fromarray(pictures[i])))
    for copy, change in COPIES.items():
        where[copy] = len(changed) + np.arange(count)
        for _ in range(count):
            original = next(places)
            originals[len(changed)] = original
            changed.append(np.asarray(change(Image.fromarray(pictures[original]))))
    return np.stack(changed), where, originals


def ours_of(pictures: np.ndarray, embeddings: np.ndarray) -> tuple[Report, list[set[int]]]:
    """The report of our audit, and its groups of duplicates."""
    labels = np.zeros(len(pictures), np.int32)
    data = Dataset("planted", pictures[1:], labels[1:], pictures[:1], labels[:1], {}, ("a",))
    found = audit(data, labels[1:], (embeddings[1:], embeddings[:1]))
    report: Report = {}
    groups: dict[int, set[int]] = {}
    for one in found.findings:
        place = one.row + 1 if one.split == "train" else one.row
        report.setdefault(one.issue, set()).add(place)
        if one.issue.endswith("duplicate") and one.group is not None:
            groups.setdefault(one.group, set()).add(place)
    return report, list(groups.values())


def cleanvisions(folder: Path) -> tuple[Report, list[set[int]]]:
    """The report of CleanVision, with its defaults."""
    lab = Imagelab(data_path=str(folder))
    lab.find_issues(n_jobs=1)
    names = {"low_information": "blank", "light": "bright"}
    number = {path: int(Path(path).stem) for path in lab.issues.index}
    report: Report = {}
    for column in lab.issues.columns:
        if column.startswith("is_"):
            issue = column.removeprefix("is_").removesuffix("_issue")
            flagged = lab.issues.index[lab.issues[column]]
            report[names.get(issue, issue)] = {number[path] for path in flagged}
    sets = (lab.info[kind]["sets"] for kind in ("exact_duplicates", "near_duplicates"))
    return report, [{number[path] for path in one} for kind in sets for one in kind]


def datalabs(embeddings: np.ndarray) -> tuple[Report, list[set[int]]]:
    """The report of Datalab on embeddings, with its defaults."""
    lab = Datalab({"label": [str(i % 2) for i in range(len(embeddings))]}, label_name="label")
    lab.find_issues(features=embeddings, issue_types={"outlier": {}, "near_duplicate": {}})
    report: Report = {}
    for issue in ("outlier", "near_duplicate"):
        report[issue] = set(np.flatnonzero(lab.get_issues(issue)[f"is_{issue}_issue"]).tolist())
    sets = lab.get_info("near_duplicate")["near_duplicate_sets"]
    return report, [{i, *map(int, one)} for i, one in enumerate(sets) if len(one)]


def rates(
    found_by: tuple[Report, list[set[int]]], where: dict[str, np.ndarray], originals: dict[int, int]
) -> dict[str, str]:
    """By kind: the recall of copies; precision and recall of faults; and for all duplicates
    together the precision, counted in images."""
    report, groups = found_by
    cells = {}
    for copy in COPIES:
        found = [any({i, originals[i]} <= one for one in groups) for i in where[copy].tolist()]
        cells[copy] = f"{np.mean(found):.2f}" if groups else "-"
    named = set().union(*groups) if groups else set()
    real = set(originals) | set(originals.values()) | set(where["blank"].tolist())
    cells["reported duplicates that are planted"] = (
        f"{len(named & real) / len(named):.2f}" if named else "-"
    )
    for fault in FAULTS:
        if fault not in report:
            cells[fault] = "-"
            continue
        hits = report[fault] & set(where[fault].tolist())
        precision = f"{len(hits) / len(report[fault]):.2f}" if report[fault] else "-"
        cells[fault] = f"{precision} / {len(hits) / len(where[fault]):.2f}"
    return cells


def main() -> None:
    """Prints a table: one row per fault, one column per tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--planted", type=int, default=60)
    options = parser.parse_args()
    print(stopwatch.heading("numpy", "cleanlab", "cleanvision"))
    with np.load(options.pictures) as held:
        pictures, where, originals = planted(held["x_train"][: options.images], options.planted)
    encoder = opening.read(options.encoder, Asked())
    side = encoder.side
    enlarged = (
        np.stack([np.asarray(Image.fromarray(one).resize((side, side))) for one in block])
        for block in np.array_split(pictures, -(-len(pictures) // 100))
    )
    embeddings = np.concatenate([encoder.embed(block) for block in enlarged]).astype(np.float32)
    columns, seconds = {}, {}
    with TemporaryDirectory() as folder:
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(Path(folder) / f"{i}.png")
        tools: dict[str, Callable[[], tuple[Report, list[set[int]]]]] = {
            "ours": lambda: ours_of(pictures, embeddings),
            "CleanVision": lambda: cleanvisions(Path(folder)),
            "Datalab": lambda: datalabs(embeddings),
        }
        for tool, work in tools.items():
            started = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                result = work()
            seconds[tool] = f"{time.process_time() - started:.1f} s"
            columns[tool] = rates(result, where, originals)
    rows = [[kind, *(column[kind] for column in columns.values())] for kind in columns["ours"]]
    print(stopwatch.table(["", *columns], [*rows, ["CPU time", *seconds.values()]]))


if __name__ == "__main__":
    ours.set_up()
    ours.run(main)
