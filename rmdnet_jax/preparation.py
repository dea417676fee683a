"""From a config to what every stage of a run needs; whatever cannot be run is refused here, before
anything is compiled or written."""

import dataclasses
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax import automatic, recipes, teachers
from rmdnet_jax import config as configuration
from rmdnet_jax.data import labels as label_source
from rmdnet_jax.data import sources, validation
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.data.picture_files import PictureFiles
from rmdnet_jax.errors import InputError
from rmdnet_jax.losses import robust
from rmdnet_jax.training import devices, hosts
from rmdnet_jax.training.logging import RunLog

# Chooses what a config leaves open: the whole config, and the reasons by field.
Fill = Callable[[ConfigDict], tuple[ConfigDict, dict[str, str]]]


# Fields that may have other values on other hosts.
_OF_THE_HOST = (
    "dataset.cache", "dataset.memory_budget", "dataset.workers", "report.", "tensorboard",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage of a run needs; `chosen` is why open fields have the values they have."""

    config: ConfigDict
    chosen: dict[str, str]
    data: Dataset
    images_fingerprint: str
    labels: Labels
    split: validation.Split  # what stage RGRL learns from, and what is held out of it
    loss: recipes.Loss
    workdir: Path
    log: RunLog

    def key(self, purpose: str) -> jax.Array:
        """The random key of a purpose: a function of the seed and the purpose's name."""
        return jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(purpose.encode()))

    def facts(self) -> dict[str, object]:
        """What several processes that run this together must have in common, by name."""
        fields = configuration.flat(self.config.to_dict())
        facts = {
            f"config.{name}": value
            for name, value in fields.items()
            if not name.startswith(_OF_THE_HOST)
        }
        return facts | {
            "their pictures": (self.images_fingerprint, self.data.test_images.shape),
            "their labels": (self.labels.given.tobytes(), self.data.test_labels.tobytes()),
            "whether the pictures are in memory or on disk": self.data.is_on_disk,
            "their version of JAX": jax.__version__,
        }


def prepare(config: ConfigDict, workdir: Path, data: Dataset | None = None) -> Run:
    """Checks everything that was given; writes nothing.

    Args:
      config: rmdnet_jax/config.py says what is in it.
      workdir: the folder of the run.
      data: what to run on instead of what config.dataset names.

    Raises:
      InputError: something given cannot be used.
    """
    config, chosen, data = load(config, data)
    loss = robust.get(config.rgrl.loss.name, **configuration.loss_parameters(config))
    labels = label_source.give(data, **config.noise)
    split = validation.split(data, labels, config.dataset.validation, config.seed)
    _check_sizes(config, data, split)
    _check_report(config, data)
    _check_loss(config, loss, data.num_classes)
    log = RunLog(workdir, config.tensorboard, writes=hosts.is_writer())
    this = Run(config, chosen, data, data.images_fingerprint(), labels, split, loss, workdir, log)
    if config.teacher.path:
        teachers.find(config.teacher.path, teacher_description(this)).close()
    return this


def load(
    config: ConfigDict, data: Dataset | None = None
) -> tuple[ConfigDict, dict[str, str], Dataset]:
    """The config with what it leaves open chosen for its data, the reasons by field, and the data.

    Args:
      config: not changed.
      data: instead of what config.dataset names.

    Raises:
      InputError: a value of the config cannot be right, or the data cannot be used.
    """
    configuration.check(config, automatic.FIELDS)
    devices.check()
    given = config.dataset
    found = data.check() if data else _find(config)
    config, chosen = _filling(found, given.train_size)(config)
    configuration.check(config)
    # Before pictures are decoded, which may take long.
    robust.get(config.rgrl.loss.name, **configuration.loss_parameters(config))
    data = data or sources.read(
        found, given.train_size, given.test_size, config.dataset.image_size, given.max_broken,
        given.memory_budget,
    )  # fmt: skip
    return config, chosen, data


def filling(config: ConfigDict) -> Fill:
    """What chooses for this config's data: for it, or others that differ from it elsewhere than in
    `dataset`. No data is kept.

    Raises:
      InputError: as `load`, as far as that can be known without decoding pictures.
    """
    configuration.check(config, automatic.FIELDS)
    devices.check()
    return _filling(_find(config), config.dataset.train_size)


def _find(config: ConfigDict) -> Dataset | PictureFiles:
    given = config.dataset
    return sources.find(
        given.name, given.path, given.image_size, given.held_out, given.max_broken, given.cache
    )


def _filling(found: Dataset | PictureFiles, train_size: int) -> Fill:
    if isinstance(found, PictureFiles):
        size, sides = len(found.train), found.short_sides
    else:
        size, sides = len(found.train_images), np.array([min(found.image_shape[:2])])
    return partial(
        automatic.fill,
        num_train=min(size, train_size or size),
        num_classes=len(found.class_names),
        short_sides=sides,
        backend=jax.default_backend(),
        resizable=isinstance(found, PictureFiles),
        devices=jax.device_count(),
    )


def teacher_description(run: Run) -> dict:
    """What a teacher must have been trained on and be built like to serve this run."""
    return {
        "images": run.images_fingerprint,
        "width": recipes.teacher_width(run.config),
        "stem": run.config.model.stem,
    }


def _check_sizes(config: ConfigDict, data: Dataset, split: validation.Split) -> None:
    """Raises InputError for a batch that the data or the devices cannot fill, or a border that is
    wider than the images."""
    trains_teacher = recipes.wants_teacher(config) and config.teacher.kind == "simsiam"
    runs = {"rm": trains_teacher and not config.teacher.path, "rgrl": config.rgrl.epochs > 0}
    for field in (field for field, is_run in runs.items() if is_run):
        size = config[field].batch_size
        images = len((data if field == "rm" else split.data).train_images)
        if size > images:
            raise InputError(
                f"config.{field}.batch_size is {size} but {data.name} has only "
                f"{images} training images; give a smaller batch"
            )
        if size % jax.device_count():
            raise InputError(
                f"config.{field}.batch_size is {size}; right is a multiple of the "
                f"{jax.device_count()} devices"
            )
    if config.augment.pad >= min(data.image_shape[:2]):
        raise InputError(
            f"config.augment.pad is {config.augment.pad} but the images of {data.name} have "
            "{}x{} pixels; right is less than their side".format(*data.image_shape)
        )


def _check_report(config: ConfigDict, data: Dataset) -> None:
    """Raises InputError for classes to draw that the data does not have."""
    classes = config.report.tsne_classes
    if not all(-data.num_classes <= c < data.num_classes for c in classes):
        raise InputError(
            f"config.report.tsne_classes is {tuple(classes)} but {data.name} has "
            f"{data.num_classes} classes; right is 0 to {data.num_classes - 1}, or from the end -1"
        )


def _check_loss(config: ConfigDict, loss: recipes.Loss, num_classes: int) -> None:
    """Raises InputError for a user's own loss that does not take logits [B, C] and labels [B]."""
    logits = jax.ShapeDtypeStruct((2, num_classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((2,), jnp.int32)
    try:
        jax.eval_shape(loss, logits, labels)
    except InputError:
        raise
    except Exception as error:  # whatever somebody else's function may raise
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"config.rgrl.loss.name: {config.rgrl.loss.name} fails on logits [2, {num_classes}] "
            f"and labels [2] ({type(error).__name__}: {reason})"
        ) from error
