"""Applies corrections to data and labels: labels are kept or changed, images left out. Nothing on
disk is changed."""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import brief, cut, listed
from rmdnet_jax.data import lazy_images, noise
from rmdnet_jax.data.corrections import KEEP, REMOVE, UNSURE, Correction, files, read
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.data.labels import Labels, Review
from rmdnet_jax.data.lazy_images import Images

# Stands for a verdict that leaves the image out, in place of a class number.
_OUT = -1

_SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class Applied:
    """Data and labels after corrections.

    Attributes:
      data: without the images that are left out, with the corrected test labels.
      labels: of its training images, with what was reviewed.
      train_rows, test_rows: int64 [n], ascending, the positions of these images in the data before.
      verdicts: number of images by verdict.
      pairs: number of changed labels, by the names of the class before and after.
    """

    data: Dataset
    labels: Labels
    train_rows: np.ndarray
    test_rows: np.ndarray
    verdicts: Mapping[str, int]
    pairs: Mapping[tuple[str, str], int]

    def then(self, corrections: Sequence[Correction]) -> "Applied":
        """With further corrections, applied to what these have left.

        Raises:
          InputError: as `applied`.
        """
        after = applied(self.data, self.labels, corrections)
        return Applied(
            after.data,
            after.labels,
            self.train_rows[after.train_rows],
            self.test_rows[after.test_rows],
            Counter(self.verdicts) + Counter(after.verdicts),
            Counter(self.pairs) + Counter(after.pairs),
        )


def applied(data: Dataset, labels: Labels, corrections: Sequence[Correction]) -> Applied:
    """The data and labels to train on, corrected.

    A row applies to the image of its path, in training or test, or to the training image of its
    index; where both splits are one list, to any image of its index. keep, suggestion and class set
    the label and mark it as reviewed; remove leaves the image out; unsure does nothing. True labels
    are unchanged, and the rate is measured again.

    Args:
      data: with no image taken out since its images got their index.
      labels: of all its training images, int32 [N].
      corrections: of one file.

    Raises:
      InputError: a row names an image or a class that does not exist, or a given class other than
        the label's; two rows for one image differ; or a class or the test split is left empty.
    """
    verdicts = _verdicts(data, labels, corrections)
    given = {"train": labels.given.copy(), "test": data.test_labels.copy()}
    review = labels.review or Review.none(len(given["train"]), len(given["test"]))
    reviewed = {"train": review.train.copy(), "test": review.test.copy()}
    kept = {split: np.ones(len(given[split]), bool) for split in _SPLITS}
    pairs: Counter[tuple[str, str]] = Counter()
    for (split, row), (label, correction) in verdicts.items():
        if correction.verdict == UNSURE:
            continue
        if label == _OUT:
            kept[split][row] = False
            continue
        if label != (before := int(given[split][row])):
            pairs[data.class_names[before], data.class_names[label]] += 1
        given[split][row], reviewed[split][row] = label, True
    counts = Counter(correction.verdict for _, correction in verdicts.values())
    rows = {split: np.flatnonzero(kept[split]) for split in _SPLITS}
    after = _taken(dataclasses.replace(data, test_labels=given["test"]), rows)
    if not len(after.test_labels):
        raise InputError(f"all test images of {data.name} are removed; keep at least one")
    after.check_training_labels(given["train"][rows["train"]], "corrected labels")
    rate, transition = labels.rate_realised, labels.transition
    true = None if labels.true is None else labels.true[rows["train"]]
    if true is not None:
        rate, transition = noise.realised(true, given["train"][rows["train"]], data.num_classes)
    review = Review(
        reviewed["train"][rows["train"]],
        reviewed["test"][rows["test"]],
        review.corrected + pairs.total(),
        review.removed + counts[REMOVE],
    )
    corrected = dataclasses.replace(
        labels, given=given["train"][rows["train"]], true=true, rate_realised=rate,
        transition=transition, review=review,
    )  # fmt: skip
    return Applied(after, corrected, rows["train"], rows["test"], counts, pairs)


def all_applied(data: Dataset, labels: Labels, names: str) -> Applied:
    """The data and labels after the corrections of each named file, in turn; unchanged if there are
    none.

    Raises:
      InputError: as `corrections.read` and `applied`.
    """
    train, test = (np.arange(len(part)) for part in (data.train_images, data.test_images))
    found = Applied(data, labels, train, test, Counter(), Counter())
    for file in files(names):
        found = found.then(read(file))
    return found


def _verdicts(
    data: Dataset, labels: Labels, corrections: Sequence[Correction]
) -> dict[tuple[str, int], tuple[int, Correction]]:
    """For (split, row) of every image that is mentioned: the class for its label, or _OUT, and the
    correction that says so; for unsure, its present class."""
    names = (unicodedata.normalize("NFC", name) for name in data.class_names)
    number = {name: i for i, name in enumerate(names)}
    given = {"train": labels.given, "test": data.test_labels}
    find = _Places(data)
    found: dict[tuple[str, int], tuple[int, Correction]] = {}
    for one in corrections:
        split, row = place = find(one)
        before = int(given[split][row])
        for name in (one.given_class, one.class_name):
            if name and name not in number:
                raise InputError(
                    f"{one.where}: {data.name} has no class {brief(name)}; expected one of "
                    f"{listed(data.class_names)}"
                )
        if one.given_class and number[one.given_class] != before:
            raise InputError(
                f"{one.where}: the given_class is {brief(one.given_class)}, but the label is "
                f"{brief(data.class_names[before])}; expected a row that was written for these "
                "labels, and is applied once"
            )
        label = number[one.class_name] if one.class_name else before
        if one.verdict == KEEP and label != before:
            raise InputError(
                f"{one.where}: keep with the class {brief(one.class_name)}, but the label is "
                f"{brief(data.class_names[before])}; expected the same, or another verdict"
            )
        label = _OUT if one.verdict == REMOVE else label
        if place in found:
            other, first = found[place]
            if other != label or (first.verdict == UNSURE) != (one.verdict == UNSURE):
                raise InputError(
                    f"{one.where}: {one.verdict} {one.class_name}".rstrip()
                    + f" disagrees with {first.where}: {first.verdict} {first.class_name}".rstrip()
                    + ", for the same image; expected one row per image"
                )
            continue
        found[place] = label, one
    return found


class _Places:
    """Finds the images that rows refer to."""

    def __init__(self, data: Dataset):
        self._name = data.name
        self._has_files = data.train_files is not None
        self._by_path: dict[str, list[tuple[str, int]]] = {}
        for split, paths in zip(_SPLITS, (data.train_files, data.test_files), strict=True):
            for row, path in enumerate(paths or ()):
                self._by_path.setdefault(path, []).append((split, row))
        self._name_of = "image" if data.in_one_list else "training image"
        self._index = {"train": data.train_places}
        if data.in_one_list:
            self._index["test"] = data.test_places

    def __call__(self, one: Correction) -> tuple[str, int]:
        """The split, and the row in it; InputError if no image or more than one matches."""
        if not one.path:
            return self._of_index(one)
        if not self._has_files:
            raise InputError(
                f"{one.where}: the path is {cut(one.path)}, but images of {self._name} have none; "
                "expected only the index"
            )
        places = self._by_path.get(one.path, [])
        if len(places) > 1 and one.index is not None:  # names that are equal once escaped
            places = [place for place in places if place == self._of_index(one)]
        if len(places) != 1:
            many = f"{len(places)} pictures of {self._name} are" if places else "no picture is"
            raise InputError(
                f"{one.where}: {many} called {cut(one.path)}; expected a path as in the "
                f"label_issues.csv of {self._name}"
            )
        return places[0]

    def _of_index(self, one: Correction) -> tuple[str, int]:
        assert one.index is not None
        for split, index in self._index.items():
            row = int(np.searchsorted(index, one.index))
            if row < len(index) and index[row] == one.index:
                return split, row
        first = min(int(index[0]) for index in self._index.values())
        last = max(int(index[-1]) for index in self._index.values())
        raise InputError(
            f"{one.where}: no {self._name_of} of {self._name} has the index {one.index}; "
            f"expected {first} to {last}, as in label_issues.csv"
        )


def _taken(data: Dataset, rows: Mapping[str, np.ndarray]) -> Dataset:
    """The data with these images of each split, including their original pictures if it has
    them."""
    taken = data
    if len(rows["train"]) < len(data.train_labels):
        taken = taken.take(rows["train"])
    if len(rows["test"]) < len(data.test_labels):
        taken = taken.take_test(rows["test"])
    originals = data.originals
    if originals is None:
        return taken

    def squares(side: int) -> tuple[Images, Images]:
        train, test = originals(side)
        return lazy_images.subset(train, rows["train"]), lazy_images.subset(test, rows["test"])

    return dataclasses.replace(taken, originals=squares)
