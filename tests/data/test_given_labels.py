"""Labels mean the same in whatever holds them; what is missing, or is no label, is refused in a
line that says where."""

import datetime
import decimal
import enum
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import class_names, given_labels, validation

NAN = math.nan


class NAType:
    """As pandas.NA: what it is compared with is as unknown."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("ambiguous")


class Tensor:
    """As PyTorch's, on a GPU and with gradients: NumPy reads it only when it was taken off both."""

    def __init__(self, values, is_free=False):
        self.values, self.is_free = values, is_free

    def __len__(self):
        return len(self.values)

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self.values, True)

    def __array__(self, dtype=None, copy=None):
        if not self.is_free:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return np.asarray(self.values, dtype)


class Series:
    """As pandas', with an index of its own."""

    def __init__(self, values):
        self.values = values

    def __getitem__(self, index):
        raise KeyError(index)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.values)


class Number(enum.IntEnum):
    ONE, TWO = 1, 2


class Name(str, enum.Enum):  # noqa: UP042, for it is the older one
    CAT = "cat"


LABELS = {
    "texts": (["cat", "dog"], ["cat", "dog"]),
    "a tuple": (("cat", "dog"), ["cat", "dog"]),
    "text like numbers": (["0", "10"], ["0", "10"]),
    "objects that are text": (np.array(["cat", "dog"], object), ["cat", "dog"]),
    "NumPy's variable text": (np.array(["a", "b"], np.dtypes.StringDType()), ["a", "b"]),
    "NumPy's text one by one": ([np.str_("cat"), "dog"], ["cat", "dog"]),
    "names of an enumeration": ([Name.CAT, "dog"], ["cat", "dog"]),
    "objects that are integers": (np.array([3, -5], object), [3, -5]),
    "NumPy's integers one by one": ([np.int64(3), np.uint8(5)], [3, 5]),
    "numbers of an enumeration": ([Number.TWO, Number.ONE], [2, 1]),
    "a range": (range(3), [0, 1, 2]),
    "small integers": (np.array([200, 5], np.uint8), [200, 5]),
    "big endian": (np.array([200, 5], ">i2"), [200, 5]),
    "the ends of int64": ([2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
    "unsigned": (np.array([2**63 - 1], np.uint64), [2**63 - 1]),
    "a column": (np.array([[3], [5]]), [3, 5]),
    "a column of text": ([["cat"], ["dog"]], ["cat", "dog"]),
    "a masked array without a mask": (np.ma.array([3, 5]), [3, 5]),
    "JAX": (jnp.array([3, 5]), [3, 5]),
    "JAX's numbers one by one": ([jnp.int32(3), jnp.int32(5)], [3, 5]),
    "PyTorch": (Tensor([3, 5]), [3, 5]),
    "a series": (Series(["cat", "dog"]), ["cat", "dog"]),
}


@pytest.mark.parametrize(("labels", "expected"), LABELS.values(), ids=LABELS)
def test_labels_are_the_same_in_whatever_holds_them(labels, expected):
    found = given_labels.read(labels)
    assert found.tolist() == expected
    assert found.dtype == np.int64 or found.dtype.kind == "U"


MISSING = {
    "NaN among texts": (["cat", "dog", NAN], "1 of 3", 2),
    "NaN among integers": ([1, NAN, NAN], "2 of 3", 1),
    "NumPy's NaN": ([1, np.float32("nan")], "1 of 2", 1),
    "floats of pandas": (np.array([NAN, 1, 2]), "1 of 3", 0),
    "None": (["cat", None], "1 of 2", 1),
    "objects": (np.array(["cat", NAN], object), "1 of 2", 1),
    "NA of pandas": ([NAType(), "cat"], "1 of 2", 0),
    "no time": (np.array(["2020-01-01", "NaT"], "M8[D]"), "1 of 2", 1),
    "no time in a list": ([1, np.datetime64("NaT", "ns")], "1 of 2", 1),
    "a mask": (np.ma.array([1, 2, 3], mask=[0, 1, 1]), "2 of 3", 1),
    "a mask over text": (np.ma.array(["cat", "dog"], mask=[1, 0]), "1 of 2", 0),
    "a mask over a column": (np.ma.array([[1], [2]], mask=[[0], [1]]), "1 of 2", 1),
    "what is masked in a list": ([1, np.ma.masked], "1 of 2", 1),
    "empty text": (["cat", ""], "1 of 2", 1),
    "a space": (np.array(["cat", " "]), "1 of 2", 1),
    "NumPy's variable text with NaN": (
        np.array(["a", NAN], np.dtypes.StringDType(na_object=NAN)),
        "1 of 2",
        1,
    ),
    "a series": (Series(np.array(["cat", None], object)), "1 of 2", 1),
}


@pytest.mark.parametrize(("labels", "count", "place"), MISSING.values(), ids=MISSING)
def test_missing_labels_are_counted_and_the_first_is_named(labels, count, place):
    with pytest.raises(InputError, match=rf"{count} labels .* missing .* first labels\[{place}\]"):
        given_labels.read(labels)


REFUSED = {
    "0 and its text": ([0, "0"], r"labels\[0\] is 0 and labels\[1\] is '0'; expected all text or"),
    "text and a number": (["cat", "dog", 3], r"labels\[0\] is 'cat' and labels\[2\] is 3"),
    "bools": ([True, False], r"labels\[0\] is True; expected class names or integers"),
    "a bool among integers": ([1, True], r"labels\[1\] is True"),
    "an array of bools": (np.array([True]), "labels are bool"),
    "floats that are whole": (np.array([1.0, 2.0]), "float64; expected integers, as from int"),
    "a float among integers": ([1, 2.0], r"labels\[1\] is 2\.0; expected integers"),
    "bytes": ([b"cat"], r"labels\[0\] is bytes of 3; expected text, LABEL\.decode"),
    "an array of bytes": (np.array([b"cat"]), r"labels are \|S3; expected text"),
    "beyond int64": (np.array([1, 2**63], np.uint64), r"labels\[1\] is an integer beyond int64"),
    "far beyond int64": ([1, 10**5000], r"labels\[1\] is an integer beyond int64"),
    "times": (np.array(["2020-01-01"], "M8[D]"), "labels are datetime64"),
    "a time": ([np.timedelta64(3, "s")], r"labels\[0\] is timedelta64"),
    "dates": ([datetime.date(2020, 1, 1)], r"labels\[0\] is date"),
    "decimals": ([decimal.Decimal(1)], r"labels\[0\] is Decimal"),
    "scores": (np.eye(3), r"shape \(3, 3\).*argmax"),
    "lists": ([[1], [2, 3]], "lists in a list"),
    "one text": ("cat", "labels is str"),
    "a dictionary": ({"a.png": 1}, "labels is dict"),
    "a set": ({1, 2}, "labels is set"),
    "nothing": (None, "labels is NoneType"),
    "what has no length": ((i for i in [1, 2]), "labels is generator"),
    "one number": (np.array(3), r"shape \(\)"),
    "essays": (["cat", "x" * 5000], r"labels\[1\] is 'xx.* with 5,000 characters"),
    "what NumPy cuts off": (["cat", "cat\0"], r"labels\[1\] .* without a NUL at its end"),
    "complex": (np.array([1j]), "labels are complex128"),
    "records": (np.zeros(2, [("a" * 300, int)]), "labels are "),
    "what cannot be read": (Tensor.__new__(Tensor), "Tensor cannot be read as an array"),
}


@pytest.mark.parametrize(("labels", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_label_is_refused_in_a_short_line(labels, says):
    with pytest.raises(InputError, match=says) as caught:
        given_labels.read(labels)
    assert len(str(caught.value)) <= 240
    assert "\n" not in str(caught.value)


def test_classes_are_in_order():
    def classes(labels):
        return given_labels.numbered(given_labels.read(labels))[0]

    assert classes([str(i) for i in (3, 11, 2, 0, 10)]) == ("0", "2", "3", "10", "11")
    assert classes([10, -5, 9]) == (-5, 9, 10)
    assert classes(["dog", "10", "9"]) == ("10", "9", "dog")


def test_text_that_looks_like_a_missing_value_is_told():
    labels = given_labels.read(np.array(["cat", NAN, "dog", NAN]))  # NumPy makes text of it
    (told,) = given_labels.warnings(labels)
    assert told.startswith("2 of 4 labels are the text 'nan'")
    assert "labels[1]" in told
    assert given_labels.warnings(np.array(["None", "nana"])) == []
    assert given_labels.warnings(np.array([1, 2])) == []


@pytest.mark.parametrize("container", [list, tuple, np.array, lambda x: np.array(x, object)])
def test_names_that_differ_in_blanks_or_in_unicode_form_are_one_class(container):
    given = container([" cat", "cat\t", "cat", "caf\u00e9", "cafe\u0301 "])
    labels = given_labels.read(given)
    assert labels.tolist() == ["cat", "cat", "cat", "caf\u00e9", "caf\u00e9"]
    assert given_labels.numbered(labels)[0] == ("caf\u00e9", "cat")
    assert given_labels.warnings(labels) == []


def test_names_that_differ_in_case_are_told_and_stay_classes():
    labels = given_labels.read(["cat", "CAT", "dog", "cat "])
    (told,) = given_labels.warnings(labels)
    assert told.startswith("the classes 'CAT' (labels: 1) and 'cat' (2) differ only in case")
    assert given_labels.numbered(labels)[0] == ("CAT", "cat", "dog")


def test_pandas():
    pd = pytest.importorskip("pandas")
    categorical = pd.Categorical(["b", "a", "b"], categories=["z", "b", "a"])  # z is nobody's
    for labels, expected in (
        (pd.Series(["b", "a"], index=[7, 3]), ["b", "a"]),
        (pd.Series([2, 1], dtype="Int64"), [2, 1]),
        (pd.Series(["b", "a"], dtype="string"), ["b", "a"]),
        (pd.Series(categorical), ["b", "a", "b"]),
        (categorical, ["b", "a", "b"]),
        (pd.Index([3, 5]), [3, 5]),
        (pd.DataFrame({"label": ["b", "a"]}), ["b", "a"]),
    ):
        found = given_labels.read(labels)
        assert found.tolist() == expected
        assert given_labels.numbered(found)[0] == tuple(sorted(set(expected)))
    for labels in (
        pd.Series([1, 2, None]),
        pd.Series([1, 2, None], dtype="Int64"),
        pd.Series(["a", "b", None]),
        pd.Series(["a", "b", pd.NA], dtype="string"),
        pd.Series(["a", "b", None], dtype="category"),
        pd.Categorical([1, 2, None]),
        pd.Series([pd.Timestamp(0), pd.Timestamp(0), pd.NaT]),
        ["a", "b", pd.NA],
        [1, 2, pd.NaT],
    ):
        with pytest.raises(InputError, match=r"1 of 3 labels is missing .* labels\[2\]"):
            given_labels.read(labels)
    with pytest.raises(InputError, match="datetime64"):
        given_labels.read(pd.Series([pd.Timestamp(0)]))


def test_pyarrow():
    pa = pytest.importorskip("pyarrow")
    for labels in (
        pa.array(["b", "a"]),
        pa.array(["b", "a"]).dictionary_encode(),
        pa.chunked_array([["b"], ["a"]]),
        list(pa.array(["b", "a"])),
    ):
        assert given_labels.read(labels).tolist() == ["b", "a"]
    assert given_labels.read(pa.array([2**60 + 1])).tolist() == [2**60 + 1]
    for labels in (
        pa.array(["b", None]),
        pa.array(["b", None]).dictionary_encode(),
        pa.array([2**60 + 1, None]),
        list(pa.array([1, None])),
    ):
        with pytest.raises(InputError, match=r"1 of 2 labels is missing .* labels\[1\]"):
            given_labels.read(labels)


# Containers of labels, and of labels with a missing one: what makes them of a list.
ANY = {
    "list": list,
    "tuple": tuple,
    "objects": lambda labels: np.fromiter(labels, object, len(labels)),
    "series": lambda labels: Series(np.fromiter(labels, object, len(labels))),
    "tensor": lambda labels: Tensor(np.fromiter(labels, object, len(labels))),
    "rows": lambda labels: [[label] for label in labels],
    "masked": lambda labels: np.ma.array(
        ["x" if is_gap(label) else label for label in labels]
        if any(isinstance(label, str) for label in labels)
        else [0 if is_gap(label) else label for label in labels],
        mask=[is_gap(label) for label in labels],
    ),
}
WHOLE = {
    "array": np.array,
    "column": lambda labels: np.array(labels)[:, None],
    "fortran column": lambda labels: np.asfortranarray(np.array(labels)[:, None]),
}
GAPS = [None, NAN, np.float32("nan"), np.datetime64("NaT", "s"), np.ma.masked, NAType()]


def is_gap(label):
    return any(label is gap for gap in GAPS)


@st.composite
def imbalanced(draw):
    """Labels of two to six classes, all texts or all integers; a class may have one label, or
    nearly all."""
    text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
    names = draw(
        st.sampled_from([st.integers(-(2**63), 2**63 - 1), text.filter(str.strip)]).flatmap(
            lambda one: st.lists(one, min_size=2, max_size=6, unique=True)
        )
    )
    sizes = draw(st.lists(st.sampled_from([1, 1, 2, 3, 40]), min_size=len(names), max_size=6))
    labels = [name for name, size in zip(names, sizes, strict=False) for _ in range(size)]
    return draw(st.permutations(labels)) if len(labels) < 60 else labels


@drawn(imbalanced(), st.sampled_from([*ANY.values(), *WHOLE.values()]))
def test_labels_of_every_container_come_back(labels, container):
    found = given_labels.read(container(labels))
    labels = [class_names.normal(name) if isinstance(name, str) else name for name in labels]
    assert found.tolist() == labels
    classes, numbers = given_labels.numbered(found)
    assert numbers.dtype == np.int32
    assert [classes[number] for number in numbers] == labels
    assert set(classes) == set(labels)
    assert len(set(classes)) == len(classes)
    if max(map(labels.count, classes)) > 1:
        kept = np.flatnonzero(~validation.held_out_for_testing(numbers, 0.1))
        assert {labels[i] for i in kept} == set(labels)  # none is left without images to train on


@drawn(imbalanced(), st.sampled_from(list(ANY.values())), st.data())
def test_no_missing_label_of_any_container_passes(labels, container, data):
    places = data.draw(
        st.lists(st.integers(0, len(labels) - 1), min_size=1, max_size=5, unique=True)
    )
    gaps = data.draw(st.lists(st.sampled_from(GAPS), min_size=len(places), max_size=len(places)))
    labels = list(labels)
    for place, gap in zip(places, gaps, strict=True):
        labels[place] = gap
    first = rf"first labels\[{min(places)}\]"
    with pytest.raises(InputError, match=rf"{len(places)} of {len(labels)} labels .*{first}"):
        given_labels.read(container(labels))
