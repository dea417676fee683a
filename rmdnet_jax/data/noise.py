"""Label noise, drawn once and up front from a transition matrix; never for the test split.

Noise that depends on the image is drawn by instance_noise.py. Human labels are not drawn: labels.py
takes them from the data set's label sets.
"""

import csv
import difflib
import numbers
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import npy
from rmdnet_jax.data.cifar100_classes import coarse_labels
from rmdnet_jax.data.dataset import NO_CLASS, check_labels, check_true_labels

KINDS = (
    "none",
    "symmetric",
    "symmetric_inclusive",
    "asymmetric",
    "asymmetric_blocks",
    "pairflip",
    "matrix",
    "instance",
    "universal",
)

CIFAR10_CLASSES: tuple[str, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

# Patrini et al. 2017, "Making Deep Neural Networks Robust to Label Noise", section 5.
_CIFAR10_PAIRS = {
    "truck": "automobile",
    "bird": "airplane",
    "deer": "horse",
    "cat": "dog",
    "dog": "cat",
}

# Classes in a block of `asymmetric_blocks`: as many as in a superclass of CIFAR-100.
_BLOCK = 5

_ROW_SUM_TOLERANCE = 1e-6

_SHOWN = 100  # characters to show of an error in a file


def transition_matrix(
    kind: str,
    rate: float,
    num_classes: int,
    dataset: str | None = None,
    *,
    mapping: Mapping[int, int] | None = None,
    matrix: np.ndarray | None = None,
) -> np.ndarray:
    """Probability of each given label for each true class.

    The kinds, and what `rate` counts:

    - none: every label stays; rate is ignored.
    - symmetric: uniformly to the other C - 1 classes; rate is the share of wrong labels, the true
      class is never drawn.
    - symmetric_inclusive: uniformly to all C classes (Li et al. 2020, DivideMix); rate counts draws
      of the true class, so the share of wrong labels is only rate (C - 1) / C.
    - asymmetric: to one similar class; rate is the share of wrong labels within each class that
      moves. CIFAR-10 (truck -> automobile, bird -> airplane, deer -> horse, cat <-> dog; Patrini
      et al. 2017): five of ten classes move, so the actual overall rate is half of `rate`.
      CIFAR-100: to the next class of the same superclass, circular by index; all classes move.
      Any data set: `mapping`; classes that it does not name stay.
    - asymmetric_blocks: to the next class in a contiguous block of five indices, circular; rate is
      the share of wrong labels. The code of many papers does this on CIFAR-100, whose indices are
      alphabetical, so that only 6 of 100 classes stay within their superclass; for comparison.
    - pairflip: class i to (i + 1) mod C; rate is the share of wrong labels.
    - matrix: `matrix` itself; rate is ignored.
    - instance: rejected; every image has its own probabilities (instance_noise.py).
    - universal: rejected; some of its images show none of the classes (open_set.py).

    Args:
      kind: one of KINDS.
      rate: in [0, 1].
      num_classes: C; at least 2, except for none and matrix.
      dataset: cifar10, cifar10_n, cifar100 or cifar100_n; only used for asymmetric without mapping.
      mapping: {true: given} for asymmetric; it overrides the data set's own pairs.
      matrix: [C, C] for matrix; rows finite, nonnegative and summing to 1 within 1e-6.

    Returns:
      float64 [C, C], T[i, j] = P(given j | true i); rows sum to 1.

    Raises:
      InputError: for anything other than the above.

    Examples:
      >>> from rmdnet_jax.data.noise import transition_matrix
      >>> print(transition_matrix("symmetric", 0.5, 3))
      [[0.5  0.25 0.25]
       [0.25 0.5  0.25]
       [0.25 0.25 0.5 ]]
      >>> print(transition_matrix("asymmetric", 0.25, 3, mapping={0: 2}))
      [[0.75 0.   0.25]
       [0.   1.   0.  ]
       [0.   0.   1.  ]]
    """
    _check_request(kind, rate, num_classes, mapping, matrix)
    if matrix is not None:
        matrix = _checked_matrix(matrix, "the transition matrix")
        if len(matrix) != num_classes:
            raise InputError(
                f"the transition matrix is for {len(matrix)} classes; expected {num_classes}"
            )
        return matrix
    identity = np.eye(num_classes)
    if kind == "symmetric":
        destinations = (1 - identity) / (num_classes - 1)
    elif kind == "symmetric_inclusive":
        destinations = np.full((num_classes, num_classes), 1 / num_classes)
    else:
        destinations = identity[_targets(kind, num_classes, dataset, mapping)]
    return (1 - rate) * identity + rate * destinations


def corrupt(
    labels: np.ndarray,
    kind: str,
    rate: float,
    num_classes: int,
    seed: int,
    dataset: str | None = None,
    *,
    mapping: Mapping[int, int] | None = None,
    matrix: np.ndarray | None = None,
    exact: bool = False,
) -> np.ndarray:
    """Draws a given label for every true label, all at once; see transition_matrix for the kinds.

    The same (seed, kind, rate) give the same labels on every machine (rates are distinguished to
    1e-6; matrix, which ignores the rate, draws from the seed alone). Sample i takes the i-th
    uniform number, so the labels of a prefix are the prefix of the labels, unless `exact`.

    Args:
      labels: integers [N] in [0, num_classes), the true labels; not modified.
      kind, rate, num_classes, dataset, mapping, matrix: as for transition_matrix.
      seed: an integer from 0.
      exact: changes exactly round(p_c n_c) labels of each class c (half to even), where n_c is the
        size of the class and p_c the off-diagonal sum of its row of the transition matrix; which
        ones, and to which of the other classes, is still drawn.

    Returns:
      int32 [N], the given labels.

    Raises:
      InputError: as transition_matrix does, and for wrong labels or a wrong seed.

    Examples:
      >>> import numpy as np
      >>> from rmdnet_jax.data.noise import corrupt
      >>> true = np.arange(1000) % 10
      >>> given = corrupt(true, "pairflip", 0.25, 10, seed=0, exact=True)
      >>> given.dtype, int((given != true).sum())  # 25 of the 100 of each class
      (dtype('int32'), 250)
      >>> sorted(set(map(int, (given - true) % 10)))  # right, or the next class
      [0, 1]
    """
    transition = transition_matrix(kind, rate, num_classes, dataset, mapping=mapping, matrix=matrix)
    labels = np.asarray(labels)
    check_labels(labels, labels.size, num_classes, "labels to corrupt")
    rng = generator(seed, kind, 0.0 if kind == "matrix" else rate)

    # Each class is drawn from `labels`, never from `given`: cat -> dog -> cat would undo itself.
    given = labels.astype(np.int32)
    uniform = rng.random((2 if exact else 1, labels.size))
    for true, row in enumerate(transition):
        members = np.flatnonzero(labels == true)
        if exact:
            given[members] = _draw_exact(row, true, uniform[:, members])
        else:
            given[members] = _inverse_cdf(row, uniform[0, members])
    return given


def realised(true: np.ndarray, given: np.ndarray, num_classes: int) -> tuple[float, np.ndarray]:
    """The actual noise: the share of wrong labels and the empirical transition matrix.

    Args:
      true: integers [N] in [0, num_classes), or dataset.NO_CLASS for an image of no class.
      given: integers [N] in [0, num_classes).
      num_classes: C.

    Returns:
      The rate in [0, 1] over all samples (0 if there are none), which counts every label of an open
      image as wrong; and float64 [C, C] with M[i, j] = share of given j among true i; the row of a
      class without samples is that of the identity.

    Raises:
      InputError: labels are not integers, out of range or not one per image.
    """
    true, given = np.asarray(true), np.asarray(given)
    check_true_labels(true, true.size, num_classes, "true labels")
    check_labels(given, true.size, num_classes, "given labels")
    is_known = true != NO_CLASS
    pairs = (true.astype(np.int64) * num_classes + given.astype(np.int64))[is_known]
    counts = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    absent = counts.sum(axis=1) == 0
    counts[absent] = np.eye(num_classes, dtype=counts.dtype)[absent]
    rate = float(np.count_nonzero(true != given) / max(true.size, 1))
    return rate, counts / counts.sum(axis=1, keepdims=True)


def flip_rate(rate: float, rho2: float) -> float:
    """The share of the images of known classes whose labels are flipped, in [0, 1], so that a share
    `rate` of all images has wrong labels, and a share `rho2` of these are open images: noise of
    kind universal (Tang et al. 2024).

    Raises:
      InputError: as `open_rate`.
    """
    return min(rate * (1 - rho2) / (1 - open_rate(rate, rho2)), 1.0)


def open_rate(rate: float, rho2: float) -> float:
    """The share of open images among all images under noise of kind universal, in [0, 1).

    Raises:
      InputError: either is not in [0, 1], or every image would be open.
    """
    for name, value in (("rate", rate), ("rho2", rho2)):
        if not 0 <= value <= 1:
            raise InputError(f"noise.{name} is {value!r}; expected a number from 0 to 1")
    if rate * rho2 == 1:
        raise InputError(
            "noise.rate = 1 with noise.rho2 = 1 would leave only open images; expected one below 1"
        )
    return rate * rho2


def load_mapping(path: str | Path) -> dict[int, int]:
    """Reads {true: given} from a CSV file of two integer columns, with or without a header.

    Raises:
      InputError: the file cannot be read, is not such a file, or names a true class twice.
    """
    rows = _csv_rows(path)
    if rows and [cell.strip() for cell in rows[0]] == ["true", "given"]:
        rows = rows[1:]
    if not rows:
        raise InputError(f"noise mapping {path} is empty; expected lines 'true,given'")
    mapping: dict[int, int] = {}
    for row in rows:
        try:
            true, given = (int(cell) for cell in row)
        except ValueError:
            raise InputError(
                f"noise mapping {path} has the line {','.join(row)[:_SHOWN]!r}; expected two "
                "integers, 'true,given', below an optional header of these words"
            ) from None
        if true in mapping:
            raise InputError(f"noise mapping {path} names true class {true} twice; expected once")
        mapping[true] = given
    return mapping


def load_matrix(path: str | Path) -> np.ndarray:
    """Reads a transition matrix, float64 [C, C], from a .npy file or a .csv file without a header.

    Raises:
      InputError: the file cannot be read, or its rows are not probabilities that sum to 1.
    """
    suffix = Path(path).suffix
    if suffix not in (".npy", ".csv"):
        raise InputError(f"transition matrix {path} ends in {suffix!r}; expected .npy or .csv")
    if suffix == ".npy":
        return _checked_matrix(npy.load(Path(path)), f"transition matrix {path}")
    rows = _csv_rows(path)
    try:
        matrix = np.array([[float(cell) for cell in row] for row in rows])
    except ValueError as error:
        raise InputError(
            f"transition matrix {path} cannot be read ({str(error)[:_SHOWN]}); expected plain "
            "numbers, [C, C]"
        ) from None
    return _checked_matrix(matrix, f"transition matrix {path}")


def check(kind: str, rate: float, num_classes: int) -> None:
    """Raises InputError for an unknown kind, a rate outside [0, 1] or too few classes."""
    if kind not in KINDS:
        nearest = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.0)[0]
        raise InputError(
            f"unknown noise kind {kind!r}; did you mean {nearest}? Kinds: {', '.join(KINDS)}"
        )
    is_number = isinstance(rate, numbers.Real) and not isinstance(rate, bool)
    if not (is_number and 0 <= rate <= 1):
        raise InputError(f"noise rate is {rate!r}; expected a number from 0 to 1")
    least = 1 if kind in ("none", "matrix") else 2
    if num_classes < least:
        raise InputError(f"{kind} noise among {num_classes} classes; expected {least} or more")


def generator(seed: int, kind: str, rate: float, stream: int | None = None) -> np.random.Generator:
    """The random generator of a noise; each `stream` is independent of the others and of None.

    Raises:
      InputError: the seed is not an integer from 0.
    """
    if not _is_integer(seed) or seed < 0:
        raise InputError(f"noise seed is {seed!r}; expected an integer from 0")
    entropy = [int(seed), zlib.crc32(kind.encode()), round(float(rate) * 1e6)]
    sequence = np.random.SeedSequence(entropy, spawn_key=() if stream is None else (stream,))
    # PCG64 by name: default_rng may change its bit generator with the NumPy version.
    return np.random.Generator(np.random.PCG64(sequence))


def _check_request(
    kind: str,
    rate: float,
    num_classes: int,
    mapping: Mapping[int, int] | None,
    matrix: np.ndarray | None,
) -> None:
    check(kind, rate, num_classes)
    if kind == "universal":
        raise InputError(
            "universal noise has images of no class and so no single transition matrix; use "
            "rmdnet_jax.data.open_set.added(data, ...), then rmdnet_jax.data.labels.give"
        )
    if kind == "instance":
        raise InputError(
            "instance noise needs the images and has no single transition matrix; use "
            "rmdnet_jax.data.instance_noise.corrupt(images, labels, ...)"
        )
    if mapping is not None and kind != "asymmetric":
        raise InputError(f"a mapping is given with noise kind {kind}; expected kind asymmetric")
    if matrix is not None and kind != "matrix":
        raise InputError(f"a matrix is given with noise kind {kind}; expected kind matrix")
    if matrix is None and kind == "matrix":
        raise InputError("noise kind matrix has no matrix; expected [C, C] probabilities")


def _targets(
    kind: str, num_classes: int, dataset: str | None, mapping: Mapping[int, int] | None
) -> np.ndarray:
    """The one class that each class is confused with, itself if it stays: int [C]."""
    if kind == "none":
        return np.arange(num_classes)
    if kind == "pairflip":
        return _next_within(np.zeros(num_classes))
    if kind == "asymmetric_blocks":
        if num_classes % _BLOCK:
            raise InputError(
                f"{kind} noise among {num_classes} classes; expected a multiple of {_BLOCK}"
            )
        return _next_within(np.arange(num_classes) // _BLOCK)
    if mapping is not None:
        return _mapping_targets(mapping, num_classes)
    return _dataset_targets(dataset, num_classes)


def _dataset_targets(dataset: str | None, num_classes: int) -> np.ndarray:
    if dataset in ("cifar10", "cifar10_n"):
        index = CIFAR10_CLASSES.index
        pairs = {index(true): index(given) for true, given in _CIFAR10_PAIRS.items()}
        targets = _mapping_targets(pairs, len(CIFAR10_CLASSES))
    elif dataset in ("cifar100", "cifar100_n"):
        targets = _next_within(coarse_labels())
    else:
        raise InputError(
            f"asymmetric noise has no list of similar classes for data set {dataset!r}; expected "
            "cifar10, cifar10_n, cifar100 or cifar100_n, or your own mapping from true to given "
            "classes"
        )
    if num_classes != len(targets):
        raise InputError(
            f"asymmetric noise for {dataset} among {num_classes} classes; expected {len(targets)}, "
            "or your own mapping from true to given classes"
        )
    return targets


def _mapping_targets(mapping: Mapping[int, int], num_classes: int) -> np.ndarray:
    if not mapping:
        raise InputError("the noise mapping is empty; expected at least one {true: given}")
    targets = np.arange(num_classes)
    for true, given in mapping.items():
        for label in (true, given):
            if not _is_integer(label) or not 0 <= label < num_classes:
                raise InputError(
                    f"the noise mapping has {true!r} -> {given!r}; "
                    f"expected integers from 0 to {num_classes - 1} ({num_classes} classes)"
                )
        targets[true] = given
    return targets


def _next_within(groups: np.ndarray) -> np.ndarray:
    """The next class of the same group, by index and circular: groups [C] -> int [C]."""
    targets = np.arange(len(groups))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        targets[members] = np.roll(members, -1)
    return targets


def _checked_matrix(matrix: np.ndarray, where: str) -> np.ndarray:
    """The user's matrix as float64 [C, C] with rows that sum to 1, or InputError."""
    matrix = np.asarray(matrix)
    if matrix.dtype.kind not in "fiu":
        raise InputError(f"{where} has dtype {matrix.dtype}; expected real numbers")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise InputError(f"{where} has shape {matrix.shape}; expected [C, C] for C classes")
    matrix = matrix.astype(np.float64)
    # NaN fails both comparisons; only rows within range are summed, so nothing overflows.
    bad = ~((matrix >= 0) & (matrix <= 1 + _ROW_SUM_TOLERANCE)).all(axis=1)
    if not bad.any():
        bad = np.abs(matrix.sum(axis=1) - 1) > _ROW_SUM_TOLERANCE
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"{where} is wrong in row {row}; expected probabilities that sum to 1")
    return matrix / matrix.sum(axis=1, keepdims=True)


def _draw_exact(row: np.ndarray, true: int, uniform: np.ndarray) -> np.ndarray:
    """Given labels [n] for one class, from `uniform` [2, n]: which are wrong, and what they are."""
    wrong = row.copy()
    wrong[true] = 0
    share = wrong.sum()
    given = np.full(uniform.shape[1], true)
    # Rounded twice, so that 0.45 of 10 is 4.5 for every kind, whatever the last bits of the sum.
    count = round(round(float(share) * given.size, 9))
    if count:
        flipped = np.argsort(uniform[0], kind="stable")[:count]
        given[flipped] = _inverse_cdf(wrong / share, uniform[1, flipped])
    return given


def _inverse_cdf(row: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Classes [n] drawn from probabilities `row` [C] by numbers [n] in [0, 1)."""
    cdf = np.cumsum(row)
    # Rounding may leave the sum below 1; the rest belongs to the last class that can occur.
    cdf[np.flatnonzero(row)[-1] :] = 1
    return np.searchsorted(cdf, uniform, side="right")


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _csv_rows(path: str | Path) -> list[list[str]]:
    """The cells of the lines that are not blank; the byte-order mark of spreadsheets is dropped."""
    if not os.path.isfile(path):  # a pipe is not: reading it might block forever
        raise InputError(f"{path} cannot be read (no such file); expected a CSV file")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); expected a CSV file") from None
