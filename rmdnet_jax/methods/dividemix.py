"""DivideMix: before every epoch, each network divides the images for the other one, into those with
a small loss, which keep their label, and the rest, which are treated as unlabelled (Li et al. 2020,
arXiv 2002.07394)."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.ranges import SHARE, number, whole
from rmdnet_jax.losses import soft
from rmdnet_jax.machine import hosts
from rmdnet_jax.methods import averages, mixture, select, targets
from rmdnet_jax.methods.interface import Batch, Look, Metrics, S, State, Task, Weights
from rmdnet_jax.methods.learner import LearnerMethod
from rmdnet_jax.methods.mixup import mixup

# A row of `order` cycles through these parts: labelled and unlabelled images of the first network,
# then of the second. So every device gets its share of each.
_PARTS = 4


@flax.struct.dataclass
class DivideMixState(State):
    """Adds `division`, decided before this epoch.

    clean, float32 [2, N], and labelled, bool [2, N], are for network 1 and 2, from the losses of
    the *other*: the probability that each label is right, and which labels are used; all of them
    before the first division. epoch, int32, is this epoch's number; fewest, int32, the smallest
    number of images on either side, a batch; told, bool, whether the warning about fewer was
    printed.
    """

    division: dict[str, jax.Array]


class Lesson(NamedTuple):
    """What a network learns in a step, from two views each of B labelled and B unlabelled images.

    Attributes:
      labelled, unlabelled: the images, [B].
      views: two of the labelled, then two of the unlabelled images: [B, ...] each.
      other: two float32 [B, C], the other network's predictions for the unlabelled views.
      x: float32 [4B, ...], normalised.
      target: float32 [4B, C].
      given: int32 [4B], the given labels.
      agreement: float32 [4B], 1 where the network, before the step, predicts the given label.
    """

    labelled: Batch
    unlabelled: Batch
    views: Sequence[jax.Array]
    other: Sequence[jax.Array]
    x: jax.Array
    target: jax.Array
    given: jax.Array
    agreement: jax.Array


@dataclasses.dataclass(frozen=True)
class Division(LearnerMethod[S]):
    """Fields of a method that divides the images into labelled and unlabelled ones."""

    warmup: Annotated[
        int, whole(1, 10**6), "epochs on all labels before the first division, each image twice"
    ] = 5
    threshold: Annotated[float, SHARE, "probability of being right above which a label is used"] = (
        0.5
    )
    temperature: Annotated[float, number(0.01, 1), "temperature of sharpening, the paper's T"] = 0.5
    alpha: Annotated[float, number(0.01, 1000), "parameter of MixUp's Beta(alpha, alpha)"] = 4.0
    lambda_u: Annotated[float, number(0, 1000), "weight of the unlabelled images' loss"] = 0.0
    ramp: Annotated[int, whole(1, 10**6), "epochs over which lambda_u rises"] = 16
    confidence: Annotated[
        float, number(0, 1000), "confidence penalty in warm-up; the paper: 1 for asymmetric noise"
    ] = 0.0


@dataclasses.dataclass(frozen=True)
class DivideMix(Division[DivideMixState]):
    """Two networks, each trained on the other's division: cross entropy to refined labels on the
    labelled images, squared error to both networks' predictions on the others, all mixed by MixUp,
    and a penalty for predicting a single class for all (equations 3 to 12).

    Before that, for `warmup` epochs, they learn all given labels with the learner's loss.

    Feature vectors have no augmented views: both views are the vector itself.
    """

    learners: ClassVar[int] = 2
    # The config group that holds its fields.
    group: ClassVar[str] = "dividemix"

    @property
    def title(self) -> str:
        """The paper's name."""
        return "DivideMix"

    def check(self, task: Task) -> None:
        """Raises InputError if training ends before a division, or for too few images."""
        if task.epochs <= self.warmup:
            raise InputError(
                f"{self.title} divides no images in the first {self.warmup} of {task.epochs} "
                f"epochs (train.epochs); expected more, or a smaller {self.group}.warmup"
            )
        if task.num_images < 2 * task.batch_size:
            raise InputError(
                f"{self.title} draws a labelled and an unlabelled batch from {task.num_images} "
                f"images and train.batch_size is {task.batch_size}; expected at most half of the "
                "images"
            )

    def init(self, key: jax.Array, example: jax.Array, task: Task) -> DivideMixState:
        """Two fresh networks, each from its own key; all images are labelled."""
        state = self.learner.init(key, example, networks=2)
        division = {
            "clean": jnp.ones((2, task.num_images), jnp.float32),
            "labelled": jnp.ones((2, task.num_images), bool),
            "epoch": jnp.zeros((), jnp.int32),
            "fewest": jnp.full((), task.batch_size, jnp.int32),
            "told": jnp.zeros((), bool),
        }
        return DivideMixState(state.params, state.batch_stats, state.opt_state, division)

    def between_epochs(self, state: DivideMixState, epoch: int, look: Look) -> DivideMixState:
        """After the warm-up, computes the division."""
        division = state.division | {"epoch": jnp.full((), epoch, jnp.int32)}
        if epoch >= self.warmup:
            division |= self._divided(division, look)
        return dataclasses.replace(state, division=division)

    def order(self, state: DivideMixState, key: jax.Array, task: Task) -> jax.Array:
        """int32 [task.steps, 4 * batch size], an image of each part in turn; a part with fewer
        images than an epoch needs is repeated from its start."""
        keys = jax.random.split(key, _PARTS)
        labelled = state.division["labelled"]
        parts = (labelled[0], ~labelled[0], labelled[1], ~labelled[1])
        drawn = [
            select.cycled(one, part, task.steps * task.batch_size)
            for one, part in zip(keys, parts, strict=True)
        ]
        return jnp.stack(drawn, axis=1).reshape(task.steps, -1)

    def step(
        self, state: DivideMixState, batch: Batch, key: jax.Array, frozen: Any
    ) -> tuple[DivideMixState, Metrics, None]:
        """One update of both. Metrics: labelled_loss, unlabelled_loss (unweighted) and
        prior_penalty, means of both networks; labelled, the share of labelled images;
        train_accuracy, from each network's predictions with running statistics. Returns no
        probabilities for the memory: an image may occur twice in a step.

        In the warm-up, the given labels are learned on the same images and views.
        """
        weights, keys = self.networks(state), jax.random.split(key, self.learners)
        lessons = [
            self._lesson(state, batch, number, weights, one) for number, one in enumerate(keys)
        ]

        def objective(logits):
            pairs = zip(logits, lessons, strict=True)
            parts = [self._losses(*pair, state.division) for pair in pairs]
            loss, metrics = jax.tree.map(jnp.add, *parts)
            return loss, jax.tree.map(lambda total: total / self.learners, metrics)

        views = {name: one.x for name, one in zip(sorted(state.params), lessons, strict=True)}
        after, metrics, _ = self.learner.update_each(state, views, objective)
        labelled = state.division["labelled"].astype(jnp.float32).mean(axis=1)
        metrics |= {"labelled": labelled.mean(), "train_accuracy": _agreement(lessons, labelled)}
        return self.kept(after, lessons, weights), metrics, None

    def label(
        self, state: Any, number: int, part: Batch, given: jax.Array, key: jax.Array
    ) -> jax.Array:
        """The labels of labelled images, float32 [B, C]: `given`.

        Args:
          state: a DivideMixState or a subclass, before the step.
          number: of the network that learns them, 0 or 1.
          part: the images.
          given: float32 [B, C], their given labels, one-hot.
          key: for random draws.
        """
        return given

    def guessed(
        self, state: Any, number: int, part: Batch, both: jax.Array, key: jax.Array
    ) -> jax.Array:
        """The targets of unlabelled images, float32 [B, C]: the sharpened mean prediction of `both`
        networks, float32 [B, C]. The other arguments are those of `label`."""
        return targets.sharpen(both, self.temperature)

    def kept(
        self, state: Any, lessons: Sequence[Lesson], before: Sequence[Weights]
    ) -> DivideMixState:
        """The state after a step, with whatever else is kept from its lessons; `before`: the
        networks' weights before the step."""
        return state

    def _divided(self, division: dict[str, jax.Array], look: Look) -> dict[str, jax.Array]:
        """The division by the networks' current losses, each for the other; warns once if a side
        has less than a batch."""
        clean = np.stack([clean_shares(x.logits, look.given) for x in look.predictions()][::-1])
        fewest, warned = int(division["fewest"]), bool(division["told"])
        counts = (clean > self.threshold).sum(axis=1)
        taken = np.clip(counts, fewest, clean.shape[1] - fewest)
        if not warned and (counts != taken).any():
            warned = True
            hosts.warn(f"{self.title} {_told(counts, taken, clean.shape[1])}")
        labelled = [select.surest(w, count) for w, count in zip(clean, taken, strict=True)]
        return {
            "clean": jnp.asarray(clean, jnp.float32),
            "labelled": jnp.asarray(np.stack(labelled)),
            "told": jnp.asarray(warned),
        }

    def _lesson(
        self,
        state: DivideMixState,
        batch: Batch,
        number: int,
        weights: Sequence[Weights],
        key: jax.Array,
    ) -> Lesson:
        """The lesson of network 0 or 1, from both networks' weights before the step."""
        *view_keys, mix_key = jax.random.split(key, 5)
        parts = jax.tree.map(lambda x: x.reshape(-1, _PARTS, *x.shape[1:]), batch)
        labelled, unlabelled = (
            jax.tree.map(lambda x, n=n: x[:, n], parts) for n in (2 * number, 2 * number + 1)
        )
        images = [labelled.image] * 2 + [unlabelled.image] * 2
        views = [self.learner.augmented(*pair) for pair in zip(view_keys, images, strict=True)]
        own = self.said(weights[number], views)
        other = self.said(weights[1 - number], views[2:])

        division, classes = state.division, own[0].shape[1]
        given = jnp.concatenate([labelled.label] * 2 + [unlabelled.label] * 2)
        one_hot = jax.nn.one_hot(given, classes, dtype=jnp.float32)
        trusted = division["clean"][number][labelled.index]
        label = self.label(state, number, labelled, one_hot[: len(trusted)], key)
        refined = targets.refine(label, trusted, targets.guess(own[:2]))
        refined = targets.sharpen(refined, self.temperature)
        both = targets.guess([*own[2:], *other])
        guessed = self.guessed(state, number, unlabelled, both, key)
        x = self.learner.as_input(jnp.concatenate(views))
        target = jnp.concatenate([refined] * 2 + [guessed] * 2)
        mixed = mixup(mix_key, x, target, self.alpha, at_least_half=True)

        is_warm = division["epoch"] < self.warmup
        agreement = (jnp.concatenate(own).argmax(axis=1) == given).astype(jnp.float32)
        return Lesson(
            labelled, unlabelled, views, other, jnp.where(is_warm, x, mixed.x),
            jnp.where(is_warm, one_hot, mixed.y), given, agreement,
        )  # fmt: skip

    def said(self, weights: Weights, views: Sequence[jax.Array]) -> list[jax.Array]:
        """Probabilities float32 [B, C] of each view, with the running batch statistics."""
        logits = self.network.predict(weights, jnp.concatenate(views)).logits
        return jnp.split(jax.nn.softmax(logits), len(views))

    def _losses(
        self, logits: jax.Array, lesson: Lesson, division: dict[str, jax.Array]
    ) -> tuple[jax.Array, Metrics]:
        """A network's loss, and its parts for the log."""
        half = len(logits) // 2
        parts = {
            "labelled_loss": soft.soft_cross_entropy(logits[:half], lesson.target[:half]).mean(),
            "unlabelled_loss": soft.brier(logits[half:], lesson.target[half:]).mean(),
            "prior_penalty": soft.prior_penalty(logits),
        }
        done = (division["epoch"] - self.warmup).astype(jnp.float32)
        weight = self.lambda_u * averages.linear_ramp(done / self.ramp)
        divided = parts["labelled_loss"] + weight * parts["unlabelled_loss"]
        warm = self.learner.loss(logits, lesson.given).mean()
        warm += self.confidence * soft.negative_entropy(logits).mean()
        is_warm = division["epoch"] < self.warmup
        return jnp.where(is_warm, warm, divided + parts["prior_penalty"]), parts


def clean_shares(logits: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The probability that each label is right, float64 [N]: that its cross entropy belongs to the
    low-loss component of a two-component mixture (section 3.1).

    Args:
      logits: float [N, C], a network's outputs without augmentation.
      given: int [N].
    """
    losses = -log_softmax(np.asarray(logits, np.float64), axis=1)[np.arange(len(given)), given]
    width = np.ptp(losses)
    scaled = (losses - losses.min()) / (width or 1)
    return mixture.responsibilities(mixture.fit(scaled), scaled)[:, 0]


def _agreement(lessons: Sequence[Lesson], labelled: jax.Array) -> jax.Array:
    """The share of all given labels that the networks predict, float32 scalar; labelled and other
    images are weighted by the labelled shares, float32 [2]."""
    both = jnp.stack([one.agreement.reshape(2, -1).mean(axis=1) for one in lessons])
    return (labelled * both[:, 0] + (1 - labelled) * both[:, 1]).mean()


def _told(counts: np.ndarray, taken: np.ndarray, size: int) -> str:
    return (
        f"takes {counts[0]:,} and {counts[1]:,} of {size:,} labels to be right, by the losses of "
        f"the two networks; it continues with the most certain {taken[0]:,} and {taken[1]:,}, so "
        "that each side has a batch (reported once)"
    )


METHOD = DivideMix
