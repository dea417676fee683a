"""Prepares everything that the stages of a run need from a config; invalid input is rejected here,
before anything is compiled or written."""

import dataclasses
from collections.abc import Callable, Container
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from rmdnet_jax.base.digest import fingerprint
from rmdnet_jax.base.errors import InputError
from rmdnet_jax.config import automatic
from rmdnet_jax.config import checking as configuration
from rmdnet_jax.data import corrected, open_set, sources, validation
from rmdnet_jax.data import labels as label_source
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels
from rmdnet_jax.data.picture_files import PictureFiles
from rmdnet_jax.encoders.classical import ClassicalEncoder
from rmdnet_jax.encoders.resnet_file import ResNetEncoder
from rmdnet_jax.losses import robust
from rmdnet_jax.machine import devices, hosts, memory
from rmdnet_jax.runs import checks, classifier, encoding, workdirs
from rmdnet_jax.runs.encoding import Encoded
from rmdnet_jax.stages import run as stage_run
from rmdnet_jax.stages.run import Run
from rmdnet_jax.teachers import registry as teachers
from rmdnet_jax.teachers.source import Recipe, Source, Trained
from rmdnet_jax.training import handover
from rmdnet_jax.training.logging import RunLog

# Chooses the unset fields of a config: returns the complete config, and the reasons by field.
Fill = Callable[[ConfigDict], tuple[ConfigDict, dict[str, str]]]


# Fields of the config's group `noise` that define which open images are added.
_OPEN = ("open_path", "open_share")


def prepare(
    config: ConfigDict,
    workdir: Path | None,
    data: Dataset | PictureFiles | None = None,
    asked: Container[str] = (),
) -> Run:
    """Checks all inputs; writes nothing.

    Args:
      config: its fields are in rmdnet_jax/config/fields.py.
      workdir: the folder of the run; None stores nothing.
      data: the data to use in place of config.dataset.
      asked: names of the fields that the user set beyond the config file; those that nothing reads
        get a warning.

    Raises:
      InputError: an input is invalid.
    """
    configuration.check(config, automatic.FIELDS)
    encoding_source = encoding.source(config)  # before pictures are decoded, which may take long
    config, chosen, whole = load(config, data, encoding_source)
    for line in configuration.unread(asked, config):
        hosts.warn(line)
    encoding_source = encoding_source or encoding.source(config)  # an automatic choice
    loss = robust.get(config.loss.name, **configuration.loss_parameters(config))
    whole, given = labelled(config, whole)
    after = corrected.all_applied(whole, given, config.dataset.corrections)
    data, labels = after.data, after.labels
    # An encoder also embeds the images that are removed: its cached embeddings then stay valid.
    begun = _begun(encoding_source, config, chosen, whole, given)
    taught = _classifier(config, whole, given, workdir)
    log = RunLog(workdir, config.tensorboard, writes=hosts.is_writer())

    def of(
        encoded: Encoded | None,
        found: classifier.Found | None,
        complete: Callable[[], Run] | None = None,
    ) -> Run:
        rows = after.train_rows, after.test_rows
        seen = encoded and encoded.take(*rows)
        known = found.trained(data, *rows) if found else None
        return _run(config, chosen, data, labels, loss, seen, known, workdir, log, complete)

    def complete() -> Run:
        encoded = encoding_source.finished(begun, whole) if encoding_source and begun else begun
        return of(encoded, taught.finished() if taught else None)

    checks.kinds(config, data, begun)
    this = of(begun, taught, complete)
    checks.sizes(config, this.seen, this.split)
    checks.report(config, data)
    checks.loss(config, loss, data.num_classes)
    source = this.source
    if source and source.method and config.teacher.path:
        handover.find(config.teacher.path, stage_run.teacher_description(this)).close()
    checks.embeddings(this)
    for stage, name in this.methods().items():
        checks.method(this, stage, name)
    return this


def _run(
    config: ConfigDict,
    chosen: dict[str, str],
    data: Dataset,
    labels: Labels,
    loss: robust.Loss,
    encoded: Encoded | None,
    known: Trained | None,
    workdir: Path | None,
    log: RunLog,
    complete: Callable[[], Run] | None,
) -> Run:
    """A run on its data, or on the embeddings of an encoder."""
    seen, source = data, None
    if config.model.kind == "mlp" and encoded and data.are_pictures:
        seen = data.with_features(encoded.train, encoded.test)
    split = validation.split(seen, labels, config.dataset.validation_fraction, config.seed)
    encoder = encoded.encoder if encoded else None
    pretrained = encoder.pretrained if isinstance(encoder, ResNetEncoder) else None
    if config.rgrl.init_from_teacher and config.teacher.kind == "encoder":
        checks.start(config, pretrained)
    if configuration.wants_teacher(config):
        rgrl, teacher, model = config.rgrl, config.teacher, config.model
        recipe = Recipe(
            teacher.path, teacher.width or model.width, model.stem, tuple(model.blocks),
            stage_run.convolution_dtype(model.precision), config.augment.flip,
            rgrl.teacher_embedding == "projector", config.rm.to_dict(),
            (encoded.train, encoded.test) if encoded else None, pretrained, model.block, known,
            isinstance(encoder, ClassicalEncoder),
        )  # fmt: skip
        source = teachers.get(teacher.kind).build(recipe, data)
    story = encoded.story if encoded and data.are_pictures else ""
    return Run(
        config, chosen, data, labels, seen, split, loss, source, encoder, story, workdir, log,
        complete,
    )  # fmt: skip


def _begun(
    source: encoding.Source | None,
    config: ConfigDict,
    chosen: dict[str, str],
    data: Dataset,
    labels: Labels,
) -> Encoded | None:
    """The encoder's embeddings of the data, as far as known; feature vectors are their own. An
    automatic choice is added to `config` and `chosen`."""
    if not data.are_pictures:
        if source:
            raise InputError(
                f"config.encoder.path is {config.encoder.path}, but {data.name} already has "
                "feature vectors; leave it out"
            )
        train, test = data.train_images, data.test_images
        assert isinstance(train, np.ndarray)
        assert isinstance(test, np.ndarray)
        return Encoded(None, train, test, f"{data.name}: {train.shape[1]} features")
    if source is None:
        return None
    begun, reason = source.begun(data, labels.given)
    if reason and begun.encoder:
        config.encoder.normalisation = begun.encoder.normalised
        chosen["encoder.normalisation"] = reason
    return begun


def _classifier(
    config: ConfigDict, data: Dataset, labels: Labels, workdir: Path | None
) -> classifier.Found | None:
    """The trained classifier that is the teacher, if one is used."""
    wants = configuration.wants_teacher(config) and teachers.get(config.teacher.kind).has_classifier
    return classifier.find(config, data, labels.given, workdir) if wants else None


def facts(this: Run) -> dict[str, object]:
    """What must be the same in all processes that run this together, by name."""
    fields = configuration.flat(this.config.to_dict())
    shared = {
        f"config.{name}": value
        for name, value in fields.items()
        if not name.startswith(workdirs.OF_THE_HOST)
    }
    return shared | {
        "their pictures": (this.data.images_fingerprint(), this.data.test_images.shape),
        "their encoder": this.encoder.digest if this.encoder else this.seen.images_fingerprint(),
        "their labels": (this.labels.given.tobytes(), this.data.test_labels.tobytes()),
        "their teacher": _of_elsewhere(this.source),
        "whether the pictures are in memory or on disk": this.data.is_on_disk,
        "their version of JAX": jax.__version__,
    }


def _of_elsewhere(source: Source | None) -> str | None:
    """A hash of a teacher that is not trained here, such as a table."""
    if source is None or source.has_network:
        return None
    if source.known:
        return source.known.digest
    return fingerprint(source.teacher(None).frozen)


def load(
    config: ConfigDict,
    data: Dataset | PictureFiles | None = None,
    source: encoding.Source | None = None,
) -> tuple[ConfigDict, dict[str, str], Dataset]:
    """The config with its unset fields chosen for its data, the reasons by field, and the data,
    without the open images that `labelled` adds.

    Args:
      config: not changed.
      data: used in place of config.dataset, except that dataset.open_classes are removed if they
        have not been yet; pictures are decoded here.
      source: the encoder of config.encoder.

    Raises:
      InputError: a value of the config is invalid, or the data cannot be used.
    """
    configuration.check(config, automatic.FIELDS)
    devices.check()
    given = config.dataset
    found = data or find(config)
    source = source or encoding.source(config)
    if isinstance(found, Dataset):
        found.check()
    config, chosen = _filling(found, config, source)(config)
    configuration.check(config)
    # Before pictures are decoded, which may take long.
    robust.get(config.loss.name, **configuration.loss_parameters(config))
    read = data if isinstance(data, Dataset) else sources.read(
        found, image_size=config.dataset.image_size, max_broken=given.max_broken,
        memory_budget=given.memory_budget,
    )  # fmt: skip
    if classes := _to_leave(read, config):
        read = open_set.without_classes(read, classes).check()
    if data is None and given.skip:
        change = f"without the first {given.skip:,} training images"
        read = dataclasses.replace(read, changes=(*read.changes, change))
    return config, chosen, read


def labelled(config: ConfigDict, data: Dataset) -> tuple[Dataset, Labels]:
    """The data of a config with the open images that its noise adds, and the drawn or given labels
    of all of it.

    Raises:
      InputError: the noise does not fit this data.
    """
    noise = config.noise.to_dict()
    open_pictures = {name: noise.pop(name) for name in _OPEN}
    nominal = {name: noise[name] for name in ("kind", "rate", "seed", "rho2")}
    max_broken = config.dataset.max_broken
    data = open_set.added(data, **nominal, **open_pictures, max_broken=max_broken).check()
    if data.is_on_disk and data.nbytes <= memory.budget(config.dataset.memory_budget):
        data = data.in_memory()
    return data, label_source.give(data, **noise)


def filling(config: ConfigDict) -> Fill:
    """A function that chooses unset fields for this config's data: for it, or for configs with the
    same `dataset` and open images of `noise`. No data is stored.

    Raises:
      InputError: as `load`, as far as this can be checked without decoding pictures.
    """
    configuration.check(config, automatic.FIELDS)
    devices.check()
    return _filling(find(config), config, encoding.source(config))


def find(config: ConfigDict) -> Dataset | PictureFiles:
    """The data of config.dataset, from sources.find, with the configured number of images and still
    with those of dataset.open_classes."""
    given = config.dataset
    found = sources.find(
        given.name, given.path, given.image_size, given.test_fraction, given.max_broken,
        given.cache, given.root,
    )  # fmt: skip
    if isinstance(found, Dataset):
        found.check()
    classes = tuple(given.open_classes)
    return open_set.chosen(found, classes, given.skip, given.train_size, given.test_size)


def _to_leave(found: Dataset | PictureFiles, config: ConfigDict) -> tuple[int, ...]:
    """The classes of dataset.open_classes, if they have not been removed from the data yet."""
    is_done = isinstance(found, Dataset) and found.pool is not None
    return () if is_done else tuple(config.dataset.open_classes)


def _filling(
    found: Dataset | PictureFiles, config: ConfigDict, source: encoding.Source | None
) -> Fill:
    features = source.size if source else 0
    if isinstance(found, PictureFiles):
        sides = found.short_sides
    else:
        sides = np.array([min(found.image_shape[:2])])
        features = features if found.are_pictures else found.image_shape[0]
    classes, noise = _to_leave(found, config), config.noise
    known = open_set.known_images(found, classes)
    share = open_set.share(noise.kind, noise.rate, noise.rho2, noise.open_share)
    return partial(
        automatic.fill,
        num_train=known + open_set.count(known, share),
        num_classes=len(found.class_names) - len(classes),
        short_sides=sides,
        backend=jax.default_backend(),
        resizable=isinstance(found, PictureFiles),
        devices=jax.device_count(),
        num_features=features,
    )
