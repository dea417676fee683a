"""The stage of the teacher: trained here, by an earlier run or elsewhere; frozen and judged."""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from rmdnet_jax.base.digest import fingerprint, text_digest
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.evaluation import worth
from rmdnet_jax.machine import hosts
from rmdnet_jax.methods.interface import Prediction, State, Task
from rmdnet_jax.stages.run import Run, checkpoints, convolution_dtype, teacher_description
from rmdnet_jax.teachers.judged import Judged, Verdict
from rmdnet_jax.teachers.source import Source
from rmdnet_jax.training import handover
from rmdnet_jax.training.fit import fit


def teaching(this: Run) -> Judged:
    """The teacher, trained here, by an earlier run or not at all, and its quality."""
    config, data, source = this.config, this.data, this.source
    assert source
    fresh = source.fresh(this.key("teacher"), jnp.asarray(data.train_images[:1]))
    labels, k = this.labels.reference, config.rm.knn_k

    def evaluate(state: State, epoch: int, metrics: dict[str, float]) -> dict[str, float]:
        source.watch(metrics, epoch, this.log.history("teacher"))
        every, last = config.rm.knn_every, epoch == config.rm.epochs
        if not every or (epoch % every and not last):
            return {}
        return {
            "knn_accuracy": worth.knn_accuracy(embeddings(source, state, data), labels, data, k)
        }

    state, folder = fresh, this.workdir and this.workdir / "teacher"
    if source.method and config.teacher.path:
        assert fresh
        folder = handover.folder_of(config.teacher.path)
        with handover.find(config.teacher.path, teacher_description(this)) as saved:
            trees = {"params": fresh.params, "batch_stats": fresh.batch_stats}
            state = dataclasses.replace(fresh, **saved.restore(trees))
    elif source.method:
        assert fresh
        unread = np.zeros(len(data.train_images), np.int32)
        task = Task(
            unread, data.num_classes, config.rm.batch_size, config.rm.epochs,
            image_shape=data.image_shape,
        )  # fmt: skip
        state = fit(
            source.method, fresh, data.train_images, task, key=this.key("teacher epochs"),
            checkpoints=checkpoints(this, "teacher"), log=this.log.stage("teacher"),
            evaluate=evaluate, learning_rate=source.learning_rate,
            checkpoint_every=config.checkpoint_every, workers=config.dataset.workers,
        ).state  # fmt: skip
    return judging(this, state, fresh, folder)


def judging(this: Run, state: State | None, fresh: State | None, folder: Path | None) -> Judged:
    """The frozen teacher of a trained state, and its quality compared with the `fresh` one. Its
    outputs for all images and its verdict are kept in `folder`, for all runs of this teacher."""
    config, data, source = this.config, this.data, this.source
    assert source
    labels, k = this.labels.reference, config.rm.knn_k
    teacher = source.teacher(state)
    # An existing table is not stored again, and a run without a workdir stores nothing.
    keeps = source.is_network and this.workdir is not None
    dtype = str(convolution_dtype(config.model.precision))
    of_images = text_digest(fingerprint(teacher.frozen), data.fingerprint_of_all(), dtype)
    most = source.most_tested
    tested = None
    if most and most < len(data.test_images):
        tested = np.linspace(0, len(data.test_images) - 1, most).astype(int)
    asked = (
        fingerprint((labels, data.test_labels)),
        fingerprint(fresh),
        str(data.is_on_disk),
        str(k),
    )
    of_labels = text_digest(of_images, *asked)

    def ask() -> dict[str, np.ndarray]:
        train, test = source.predictions(state, data)
        asked = {"train": train.embedding, "test": test.embedding}
        asked |= {"train_logits": train.logits, "test_logits": test.logits}
        _check(config.teacher.kind, data, train, test)
        return {name: array for name, array in asked.items() if array is not None}

    def judge() -> dict[str, np.ndarray]:
        untrained = None if fresh is None else lambda: embeddings(source, fresh, data)
        verdict = worth.judge((train, test), untrained, labels, data, k, tested)
        measured = dataclasses.asdict(verdict)
        return {name: np.asarray(x) for name, x in measured.items() if x is not None}

    folder = folder if keeps else None
    seen = handover.kept(folder, f"embeddings-{of_images}", ask)
    train, test = (
        Prediction(seen.get(f"{part}_logits"), seen.get(part)) for part in ("train", "test")
    )
    found = handover.kept(folder, f"verdict-{of_labels}", judge)
    judged = Judged(
        config.teacher.kind, source, teacher, train.embedding, test.embedding,
        Verdict(**{name: float(accuracy) for name, accuracy in found.items()}),
        len(data.test_images) if tested is None else len(tested), train.logits, test.logits,
    )  # fmt: skip
    if warning := judged.warning():
        hosts.warn(warning)
    return judged


def _check(kind: str, data: Dataset, train: Prediction, test: Prediction) -> None:
    """Raises InputError unless what a kind of teacher says of the images is finite, float [N, D]
    and [M, D]; None is nothing."""
    sets = ("training", train, data.train_images), ("test", test, data.test_images)
    for part, said, images in sets:
        for name, array in said._asdict().items():
            if array is None:
                continue
            first = getattr(train, name)
            right = (len(images), *np.shape(array if first is None else first)[1:])
            is_float = jnp.issubdtype(array.dtype, jnp.floating)
            what = f"teacher {kind!r}: {name} of the {part} images"
            if array.ndim != 2 or array.shape != right or not is_float:
                raise InputError(
                    f"{what} is {array.dtype} {array.shape}; expected float [{len(images)}, D], a "
                    "row for each image and the same D for all"
                )
            if array.size and not np.isfinite([array.min(), array.max()]).all():
                raise InputError(f"{what} has values that are not finite; expected finite numbers")


def embeddings(source: Source, state: State, data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the training and the test images, by a teacher that has them."""
    train, test = source.predictions(state, data)
    return train.embedding, test.embedding
