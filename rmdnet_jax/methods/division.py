"""A trained classifier's division of the labels: right, of another class, or on images of none of
the classes (MODUL, section IV-A). Computed on the host, once, and identical everywhere."""

import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax, logsumexp

from rmdnet_jax.data.label_kinds import CLEAN, CLOSED, OPEN, Division
from rmdnet_jax.losses import evidential
from rmdnet_jax.machine import hosts
from rmdnet_jax.methods import mixture

_NAMES = ("right labels", "labels of another class", "images of no class")

# MODUL's mixture: its number of components, the mean up to which a component is clean, and the mean
# from which it is of another class.
_COMPONENTS, _MOST_CLEAN, _LEAST_CLOSED = 20, 0.3, 0.9

# A part with a smaller share of the images is worth a warning.
_FEW = 0.01


def by_evidence(logits: np.ndarray, given: np.ndarray) -> Division:
    """MODUL's division: a mixture of 20 components over the subjective-logic losses of the given
    labels, scaled to [0, 1] by the smallest and the largest. Components with a mean up to 0.3 are
    clean, from 0.9 closed, in between open; each image goes to the part it most likely belongs to.

    The thresholds fit a teacher of ten classes whose logits reach about ten. With 100 classes, or
    logits of another scale, open images look like closed ones (docs/method.md).

    Args:
      logits: float [N, C], of the teacher, without augmentation.
      given: int [N].
    """
    said = jnp.asarray(logits, jnp.float32)
    losses = np.asarray(evidential.subjective_logic(said, jnp.asarray(given)), np.float64)
    width = np.ptp(losses)
    scaled = (losses - losses.min()) / (width or 1)
    fitted = mixture.fit(scaled, _COMPONENTS)
    shares = mixture.responsibilities(fitted, scaled)
    is_clean, is_closed = fitted.means <= _MOST_CLEAN, fitted.means >= _LEAST_CLOSED
    clean, closed = shares[:, is_clean].sum(axis=1), shares[:, is_closed].sum(axis=1)
    opened = shares[:, ~(is_clean | is_closed)].sum(axis=1)
    part = np.full(len(given), OPEN, np.int8)  # also if two parts are equally likely
    part[(clean > closed) & (clean > opened)] = CLEAN
    part[(closed > clean) & (closed > opened)] = CLOSED
    if width:  # neither is empty: the smallest loss is always clean, the largest never
        part[scaled == 0], part[scaled == 1] = CLEAN, CLOSED
    return _divided(part, logits, given, clean)


def by_teacher(logits: np.ndarray, given: np.ndarray) -> Division:
    """A division that depends little on the logits' scale: a label is right where the teacher
    predicts it; elsewhere it is of another class if the teacher is confident, and of none if not.
    Confident is the lower component of a mixture of two over log(1 - max p) of all images.

    Args:
      logits: float [N, C], of the teacher, without augmentation.
      given: int [N].
    """
    log_p = log_softmax(np.asarray(logits, np.float64), axis=1)
    said = log_p.argmax(axis=1)
    part = np.where(_is_sure(log_p), CLOSED, OPEN).astype(np.int8)
    part[said == given] = CLEAN
    return _divided(part, logits, given, np.exp(log_p[np.arange(len(given)), given]))


DIVISIONS = {"sl": by_evidence, "teacher": by_teacher}


def warn(division: Division) -> None:
    """Warns on stderr of parts with fewer than a hundredth of the images."""
    size = len(division.part)
    counts = np.bincount(division.part, minlength=len(_NAMES))
    few = [f"{count:,} {name}" for count, name in zip(counts, _NAMES, strict=True)
           if count < _FEW * size]  # fmt: skip
    if few:
        hosts.warn(
            f"the teacher finds {' and '.join(few)} among {size:,} images: either this is "
            "true, or its logits have another scale than modul.division expects (docs/method.md)"
        )


def _divided(
    part: np.ndarray, logits: np.ndarray, given: np.ndarray, clean: np.ndarray
) -> Division:
    label = np.where(part == CLEAN, given, np.asarray(logits).argmax(axis=1)).astype(np.int32)
    return Division(part, label, np.clip(clean, 0, 1).astype(np.float32))


def doubt(log_p: np.ndarray) -> np.ndarray:
    """log(1 - max p) of log probabilities float64 [N, C]: float64 [N] in [-708.4, 0)."""
    # Computed from max p, it would round to -inf for confident predictions.
    others = np.sort(log_p, axis=1)[:, :-1]
    return np.maximum(logsumexp(others, axis=1), np.log(np.finfo(np.float64).tiny))


def _is_sure(log_p: np.ndarray) -> np.ndarray:
    """bool [N], whether each is confident; from log probabilities float64 [N, C]."""
    doubts = doubt(log_p)
    fitted = mixture.fit(doubts)
    # Gaussians of two widths cross twice; values beyond a mean belong to its component.
    is_sure = mixture.responsibilities(fitted, doubts)[:, 0] > 0.5
    return np.where(doubts <= fitted.means[0], True, is_sure & (doubts < fitted.means[1]))
