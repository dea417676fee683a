"""Results for labels from several annotators: annotators.csv and consensus.csv."""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rmdnet_jax.base.atomic import open_atomic
from rmdnet_jax.base.text import cell, shown
from rmdnet_jax.data import annotators
from rmdnet_jax.data.annotators import Annotators, Consensus
from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.data.labels import Labels

# In the workdir.
ANNOTATORS, CONSENSUS = "annotators.csv", "consensus.csv"


def found(data: Dataset, labels: Labels, belief: np.ndarray) -> Consensus | None:
    """The consensus of a model and the annotators of the training images; None where there are no
    annotators, or the noise was synthetic. A reviewed label overrides the consensus: its quality
    is 1.

    Args:
      data: its label sets are the annotators'.
      labels: the labels that the model was trained on.
      belief: float [N, C], the model's probabilities of the training images.
    """
    people = annotators.of(data.label_sets)
    if people is None or labels.kind not in ("human", "none"):
        return None
    said = annotators.consensus(people.labels, data.num_classes, belief)
    stands = _reviewed(labels)
    return dataclasses.replace(
        said,
        labels=np.where(stands, labels.given, said.labels),
        quality=np.where(stands, 1.0, said.quality),
    )


def summarise(consensus: Consensus, labels: Labels) -> dict[str, float]:
    """The number of annotators and of labels that differ from the consensus; with true labels also
    the shares of wrong labels, in [0, 1], among images that show one of the classes."""
    summary: dict[str, float] = {
        "annotators": len(consensus.given),
        "consensus_differs": int((consensus.labels != labels.given).sum()),
    }
    if labels.true is not None:
        known = labels.true != NO_CLASS
        for name, said in (("majority", consensus.majority), ("consensus", consensus.labels)):
            summary[f"{name}_wrong"] = float((said != labels.true)[known].mean())
    return summary


def write(workdir: Path, consensus: Consensus, data: Dataset, labels: Labels) -> None:
    """Writes both files. Names and paths are as text.cell makes them.

    annotators.csv, in their order: annotator, labels (how many), agreement and quality, empty if
    not measurable. consensus.csv, the least certain first: index, path (where images have one),
    given_class, majority, consensus, quality, labels (how many the image has), ask_again (the
    rank); and verdict and class, so that it also serves as a corrections.csv that applies the
    consensus. Images whose label has been reviewed come last and keep that label.

    Args:
      workdir: the run's.
      consensus: of all training images, from `found`.
      data: the run's.
      labels: the labels that were trained on.
    """
    people = annotators.of(data.label_sets)
    assert people
    _write_annotators(workdir / ANNOTATORS, people, consensus)
    names = [cell(name) for name in data.class_names]
    given = labels.given
    differs = consensus.labels != given
    order = np.lexsort((consensus.ask_again, _reviewed(labels)))
    columns: dict[str, Sequence] = {"index": data.train_places.tolist()}
    if data.train_files is not None:
        columns["path"] = [cell(file) for file in data.train_files]
    columns |= {
        "given_class": [names[label] for label in given],
        "majority": [names[label] for label in consensus.majority],
        "consensus": [names[label] for label in consensus.labels],
        "quality": [f"{quality:.6f}" for quality in consensus.quality],
        "labels": consensus.counts.tolist(),
        "ask_again": (np.argsort(order) + 1).tolist(),
        "verdict": ["suggestion" if differ else "unsure" for differ in differs],
        "class": [
            names[label] if differ else ""
            for label, differ in zip(consensus.labels, differs, strict=True)
        ],
    }
    with open_atomic(workdir / CONSENSUS) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        rows = list(zip(*columns.values(), strict=True))
        writer.writerows(rows[row] for row in order)


def _reviewed(labels: Labels) -> np.ndarray:
    """bool [N], the training images whose label a reviewer has confirmed or corrected."""
    return labels.review.train if labels.review else np.zeros(len(labels.given), bool)


def _write_annotators(path: Path, people: Annotators, consensus: Consensus) -> None:
    with open_atomic(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("annotator", "labels", "agreement", "quality"))
        for name, given, *shares in zip(
            people.names, consensus.given, consensus.agreement, consensus.annotator_quality,
            strict=True,
        ):  # fmt: skip
            cells = ("" if np.isnan(share) else f"{share:.6f}" for share in shares)
            writer.writerow((cell(shown(name)), given, *cells))
