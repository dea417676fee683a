"""What all stages of a run share: config, data, labels, keys, and the place of checkpoints."""

import dataclasses
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax.base import by_name
from rmdnet_jax.base.digest import fingerprint
from rmdnet_jax.data import validation
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.encoders.interface import Encoder
from rmdnet_jax.losses.robust import Loss
from rmdnet_jax.machine import devices
from rmdnet_jax.teachers.judged import Judged
from rmdnet_jax.teachers.source import Source
from rmdnet_jax.training.checkpoints import Checkpoints, NoCheckpoints
from rmdnet_jax.training.logging import RunLog


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage of a run needs; runs/preparation.py makes it.

    Attributes:
      config: every field has its value.
      chosen: the reasons for the values of fields that were left open.
      data, labels: those of all training images.
      seen: the data as learners see it: itself, or an encoder's features of its images.
      split: of `seen`, into what learners learn from and what is held out.
      loss: the config's.
      source: of the teacher; None if nothing reads one.
      encoder: the config's, if it names a network.
      encoder_story: a line that describes an encoder's embeddings; "" without one.
      workdir: where checkpoints are; None: none are kept.
      log: the log of all stages.
      complete: makes the run with the encoder's embeddings, if zeros are in their place here; None:
        they are here.
    """

    config: ConfigDict
    chosen: dict[str, str]
    data: Dataset
    labels: Labels
    seen: Dataset
    split: validation.Split
    loss: Loss
    source: Source | None
    encoder: Encoder | None
    encoder_story: str
    workdir: Path | None
    log: RunLog
    complete: Callable[[], "Run"] | None = None

    def key(self, purpose: str) -> jax.Array:
        """The random key of a purpose: a function of the seed and the purpose's name."""
        return jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(purpose.encode()))

    def methods(self) -> dict[str, str]:
        """The method of every learner by its stage, in order of training."""
        wanted = {"baseline": self.config.method.baseline, "student": self.config.method.name}
        return {stage: name for stage, name in wanted.items() if name and self.config.train.epochs}


def checkpoints(this: Run, stage: str, teacher: Judged | None = None) -> Checkpoints:
    """The checkpoints of a stage of this run; a student's record the teacher that guided it."""
    if this.workdir is None:
        return NoCheckpoints()
    if stage == "teacher":
        recipe = this.config.rm.to_dict() | {"flip": this.config.augment.flip}
        for probe in ("knn_every", "knn_k", "on_collapse"):  # they only observe training
            del recipe[probe]
        description = teacher_description(this) | {"recipe": recipe, "seed": this.config.seed}
    else:
        labels = hashlib.sha256(this.split.labels.given.tobytes())
        if len(this.split.held_out_given):
            labels.update(this.split.index.tobytes())
        description = {"images": this.seen.images_fingerprint(), "labels": labels.hexdigest()}
        # The best epoch refers to one test set. Without corrections, the config defines it.
        description |= {"test labels": _tested_on(this.data)} if this.labels.review else {}
        description |= {"teacher": fingerprint(teacher.teacher.frozen)} if teacher else {}
        description |= _own_code(this.methods()[stage], this.config.loss.name)
    return Checkpoints(this.workdir / stage, description)


def _tested_on(data: Dataset) -> str:
    """SHA-256 of the test labels, and of which test images are left."""
    digest = hashlib.sha256(data.test_labels.astype(np.int32).tobytes())
    digest.update(data.test_places.astype(np.int64).tobytes())
    return digest.hexdigest()


def _own_code(*names: str) -> dict[str, str]:
    """Hashes of the user's own code among what a config names."""
    found = (by_name.code_of(name) for name in names if ":" in name)
    return {f"code of {name}": digest for one in found for name, digest in one.items()}


def teacher_description(this: Run) -> dict:
    """The training data and architecture that a teacher must have to serve this run."""
    model, teacher = this.config.model, this.config.teacher
    width = teacher.width or model.width
    network = {"width": width, "stem": model.stem, "blocks": list(model.blocks)}
    network |= {} if model.block == "basic" else {"block": model.block}
    return {"images": this.data.images_fingerprint()} | network


def convolution_dtype(precision: str) -> jnp.dtype:
    """bfloat16 or float32; "auto" is the faster one on this device."""
    return devices.fast_dtype() if precision == "auto" else jnp.dtype(precision)
