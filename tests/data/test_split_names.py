"""Which splits there may be, and which of them are used."""

import pytest

from rmdnet_jax.data import split_names


@pytest.mark.parametrize(
    ("found", "tested", "used"),
    [
        (["validation", "test", "train"], "test", ("train", "test")),
        ({"train", "val"}, "val", ("train", "val")),
        (["val", "train", "validation"], "validation", ("train", "validation")),
        (["train", "extra"], None, ("train",)),
        (["test", "val"], "test", ("test",)),
        ([], None, ()),
    ],
)
def test_validation_stands_in_for_a_test_split(found, tested, used):
    assert split_names.tested(found) == tested
    assert split_names.used(found) == used


@pytest.mark.parametrize(
    ("pictures", "says"), [(None, "not used"), (1234, "its 1,234 pictures are not used")]
)
def test_what_is_not_used_is_told_with_what_is(pictures, says):
    told = split_names.unused("val\n", ("train", "test"), pictures)
    assert (told.path, told.is_picture) == ("val\\n", False)
    assert told.reason == f"a split next to train and test: {says}"
