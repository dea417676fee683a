"""A table of embeddings comes back in the order of the data's images, or is refused in a line."""

import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data.dataset import Dataset, SkippedFile
from rmdnet_jax.encoders import table_file

N, M, D = 6, 3, 4
ROWS = np.random.default_rng(0).normal(size=(N + M, D)).astype(np.float32)
TRAIN, TEST = ROWS[:N], ROWS[N:]
IMAGES = np.zeros((N + M, 8, 8, 3), np.uint8)
LABELS = np.arange(N + M, dtype=np.int32) % 2

FILES = {
    "train_files": tuple(f"train/{name}.png" for name in "abcdef"),
    "test_files": tuple(f"test/{name}.png" for name in "aäz"),
}
IN_TURN = {
    "train_index": np.arange(N), "test_index": np.arange(N, N + M), "list_size": N + M,
}  # fmt: skip
PLACES = {
    "train_index": np.array([0, 2, 3, 5, 7, 8]), "test_index": np.array([1, 4, 10]),
    "list_size": 11,
}  # fmt: skip


def data(**given):
    return Dataset(
        "beasts", IMAGES[:N], LABELS[:N], IMAGES[N:], LABELS[N:], {}, ("ant", "bee"), **given
    )


@pytest.fixture
def saved(tmp_path):
    """Writes an array as .npy or several as .npz, and returns the file."""

    def write(rows=None, **arrays):
        path = tmp_path / ("table.npy" if rows is not None else "table.npz")
        if rows is None:
            np.savez(path, **arrays)
        else:
            np.save(path, rows)
        return path

    return write


def check(found, train=TRAIN, test=TEST):
    for one, right in zip(found, (train, test), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, right)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_a_npy_has_training_images_first(dtype, saved):
    right = ROWS.astype(dtype).astype(np.float32)
    check(table_file.read(saved(ROWS.astype(dtype)), data()), right[:N], right[N:])


def test_places_in_a_list_a_split_are_no_places_in_one_list(saved):
    chosen = data(train_index=PLACES["train_index"], test_index=PLACES["test_index"])
    check(table_file.read(saved(ROWS), chosen))
    check(table_file.read(saved(train=TRAIN, test=TEST), chosen))


def test_a_npz_has_both_splits_in_the_images_order(saved):
    check(table_file.read(saved(train=TRAIN, test=TEST, more=LABELS), data()))


ORDER = np.random.default_rng(1).permutation(N + M)
SPARE = np.zeros((2, D), np.float32)


def test_paths_join_in_any_order_and_with_rows_to_spare(saved):
    paths = np.array(FILES["train_files"] + FILES["test_files"])
    check(table_file.read(saved(embeddings=ROWS, paths=paths), data(**FILES)))
    rows = np.concatenate([SPARE, ROWS[ORDER]])
    paths = np.concatenate([["train/x.png", "a.png"], paths[ORDER]])
    check(table_file.read(saved(embeddings=rows, paths=paths), data(**FILES)))


def test_paths_are_compared_as_they_are_shown(saved):
    """A data set's are, so that a table can be joined with what the reports name."""
    files = {"train_files": tuple(map(str, range(N))), "test_files": ("a\\n", "b", "c")}
    paths = np.array([*map(str, range(N)), "a\n", "b", "c"])
    check(table_file.read(saved(embeddings=ROWS, paths=paths), data(**files)))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_an_index_is_of_any_whole_numbers(dtype, saved):
    index = np.arange(N + M).astype(dtype)
    check(table_file.read(saved(embeddings=ROWS, index=index), data(**IN_TURN)))
    rows = np.concatenate([SPARE, ROWS[ORDER]])
    index = np.concatenate([[100, 101], ORDER]).astype(dtype)
    check(table_file.read(saved(embeddings=rows, index=index), data(**IN_TURN)))


def test_the_rows_of_a_list_stand_in_its_order(saved):
    """Of 11 pictures two were left out as broken."""
    rows = np.full((11, ROWS.shape[1]), 7, np.float32)
    rows[np.concatenate([PLACES["train_index"], PLACES["test_index"]])] = ROWS
    here = data(**PLACES, skipped_files=(SkippedFile("6", ""), SkippedFile("9", "")))
    check(table_file.read(saved(rows), here))
    with pytest.raises(InputError, match="has 10 rows for a list of 11 images"):
        table_file.read(saved(rows[:10]), here)


def test_train_and_test_are_of_arrays_that_were_given_apart(saved):
    """`fit` draws what it holds out: another split of as many would be joined wrongly."""
    for facts in (PLACES, FILES):
        with pytest.raises(InputError, match=r"drawn here; expected|have no order; expected"):
            table_file.read(saved(train=TRAIN, test=TEST), data(**facts))


RIGHT = {
    "arrays": ({}, "expected a .npz with `train` [N, D] and `test` [M, D], or a .npy with one row "
               "per image, training first"),
    "picture files": (FILES, "expected a .npz with `embeddings` [K, D] and `paths` [K], as in "
                      "label_issues.csv"),
    "a list": (PLACES, "expected a .npy with one row per image, in the list's order, or a .npz "
               "with `embeddings` [K, D] and `index` [K]"),
    "a list of files": (PLACES | FILES, "expected a .npy with one row per image, in the list's "
                        "order, or a .npz with `embeddings` [K, D] and `index` [K] or `paths` [K]"),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_only_what_works_for_the_data_is_named(case, saved):
    """Whoever does as told is not refused again."""
    facts, right = RIGHT[case]
    here = data(**facts)
    wrong = [{"x": ROWS}, {"embeddings": ROWS}]
    wrong += [{"embeddings": ROWS[:, 0], "paths": PATHS, "index": INDEX}]
    wrong += [{"train": TRAIN, "test": TEST}] if facts else []
    for arrays in wrong:
        with pytest.raises(InputError) as error:
            table_file.read(saved(**arrays), here)
        assert str(error.value).endswith(f"; {right}")
    for path in (saved(ROWS[0]), saved(ROWS) if case == "picture files" else saved(INDEX)):
        with pytest.raises(InputError) as error:
            table_file.read(path, here)
        assert str(error.value).endswith(f"; {right}")


def test_for_data_that_is_not_known_yet_it_is_said_what_each_takes(saved):
    with pytest.raises(InputError) as error:
        table_file.size(saved(x=ROWS))
    assert str(error.value).endswith(
        "; expected a .npz with `embeddings` [K, D] and `paths` [K] for picture files, or `train` "
        "[N, D] and `test` [M, D] for arrays, or a .npy with one row per image, in the data's order"
    )


def test_an_index_goes_with_one_list(saved):
    """Of training and test images that were given apart, 7 would be either's."""
    with pytest.raises(InputError, match="an index, but the images of beasts are not in one list"):
        table_file.read(saved(embeddings=ROWS, index=np.arange(N + M)), data())


def test_an_index_is_the_place_in_what_the_user_gave(saved):
    index = np.concatenate([PLACES["train_index"], PLACES["test_index"]])
    check(table_file.read(saved(embeddings=ROWS, index=index), data(**PLACES)))
    rows = np.concatenate([SPARE, ROWS[ORDER]])
    index = np.concatenate([[6, 9], index[ORDER]])
    check(table_file.read(saved(embeddings=rows, index=index), data(**PLACES)))


def test_paths_are_taken_before_an_index(saved):
    paths = np.array(FILES["train_files"] + FILES["test_files"])
    path = saved(embeddings=ROWS, paths=paths, index=np.zeros(1))
    check(table_file.read(path, data(**FILES)))


INDEX = np.arange(N + M)
PATHS = np.array(FILES["train_files"] + FILES["test_files"])
NAN = np.where(np.arange(N + M)[:, None] == 4, np.nan, ROWS)
REFUSED = {
    "no table": ({"x": ROWS}, {}, "contains x; expected a .npz with"),
    "nothing": ({}, {}, "contains ; expected a .npz with"),
    "train alone": ({"train": TRAIN}, {}, "contains train; expected"),
    "embeddings alone": ({"embeddings": ROWS}, {}, "contains embeddings; expected"),
    "few rows": ({"train": TRAIN[1:], "test": TEST}, {}, "train has 5 rows for 6 images; expected"),
    "many rows": ({"train": TRAIN, "test": ROWS}, {}, "test has 9 rows for 3 images; expected"),
    "two widths": (
        {"train": TRAIN, "test": TEST[:, 1:]}, {}, "train has 4 features and test 3; expected",
    ),
    "whole numbers": (
        {"train": TRAIN.astype(int), "test": TEST}, {}, "embeddings are int64 (6, 4); expected",
    ),
    "a rank": (
        {"train": TRAIN, "test": TEST[..., None]}, {}, "embeddings are float32 (3, 4, 1); expected",
    ),
    "one feature": (
        {"train": TRAIN[:, :1], "test": TEST[:, :1]}, {}, "train have 1 feature; expected two",
    ),
    "NaN": ({"train": NAN[:N], "test": TEST}, {}, "train have values that are not finite"),
    "too large": (
        {"train": TRAIN.astype(float) * 1e300, "test": TEST}, {}, "values that are not finite",
    ),
    "NaN of index": ({"embeddings": NAN, "index": INDEX}, {}, "as float32, first in row 4"),
    "few keys": ({"embeddings": ROWS, "index": INDEX[1:]}, {}, "index are int64 (8,) for 9"),
    "float index": (
        {"embeddings": ROWS, "index": INDEX.astype(float)}, {}, "index are float64 (9,) for 9",
    ),
    "no rows": (
        {"embeddings": ROWS[:0], "index": INDEX[:0]}, {}, "index are int64 (0,) for 0 rows",
    ),
    "numbers for paths": (
        {"embeddings": ROWS, "paths": INDEX}, FILES, "paths are int64 (9,) for 9 rows; expected",
    ),
    "paths of no files": (
        {"embeddings": ROWS, "paths": PATHS}, {}, "paths, but beasts has none; expected",
    ),
    "twice": (
        {"embeddings": ROWS, "index": np.r_[INDEX[:-1], 2]}, IN_TURN,
        "index has 2 twice; expected one",
    ),
    "path twice": (
        {"embeddings": ROWS, "paths": np.r_[PATHS[:-1], PATHS[:1]]}, FILES,
        "paths has 'train/a.png' twice",
    ),
    "missing": (
        {"embeddings": ROWS, "index": INDEX + 1}, IN_TURN,
        "1 of 9 pictures have no row, first 0; index starts with 1",
    ),
    "missing paths": (
        {"embeddings": ROWS, "paths": np.char.add("/data/", PATHS)}, FILES,
        "9 of 9 pictures have no row, first 'train/a.png'; paths starts with '/data/train/a.png'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_of_these_pictures_is_refused(case, saved):
    arrays, given, told = REFUSED[case]
    path = saved(**arrays)
    with pytest.raises(InputError) as error:
        table_file.read(path, data(**given))
    line = str(error.value)
    assert line.startswith(f"config.encoder.path, {path}")
    assert told in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("rows", "given", "told"),
    [
        (ROWS[1:], {}, "has 8 rows for 6 training and 3 test images; expected one row per image"),
        (ROWS, FILES, "rows of a .npy are in order, but picture files have none; expected a .npz"),
        (ROWS[0], {}, "embeddings are float32 (4,); expected"),
        (INDEX[:, None].repeat(2, 1), {}, "embeddings are int64 (9, 2); expected"),
        (NAN, {}, "have values that are not finite as float32, first in row 4"),
    ],
    ids=["rows", "files", "rank", "dtype", "NaN"],
)
def test_a_npy_that_is_no_table_is_refused(rows, given, told, saved):
    with pytest.raises(InputError) as error:
        table_file.read(saved(rows), data(**given))
    assert str(error.value).startswith("config.encoder.path, ")
    assert told in str(error.value)


@pytest.mark.parametrize("name", ["t.npy", "t.npz"])
def test_what_cannot_be_read_is_refused(name, tmp_path, saved):
    path = tmp_path / name
    with pytest.raises(InputError, match=r"t\.np[yz], is not a file; expected a \.npz with"):
        table_file.read(path, data())
    path.write_bytes(b"no array")
    with pytest.raises(
        InputError, match=r"^config\.encoder\.path, \S+, cannot be read: .+; expected"
    ):
        table_file.read(path, data())


def test_objects_are_not_unpickled(saved):
    with pytest.raises(InputError, match="Python objects, which may run code"):
        table_file.read(saved(np.array([{}] * (N + M))), data())


def test_a_table_that_memory_does_not_hold_is_refused(saved, monkeypatch):
    monkeypatch.setattr("rmdnet_jax.machine.memory.host_bytes", lambda: 100)
    with pytest.raises(InputError, match=r"cannot be read: .* of memory are available"):
        table_file.read(saved(train=TRAIN, test=TEST), data())


def test_logits_are_read_as_embeddings_are_and_need_no_test_images(saved):
    kind = table_file.LOGITS
    check(table_file.read(saved(ROWS), data(), kind))
    check(table_file.read(saved(train=TRAIN, test=TEST), data(), kind))
    paths = np.array([*FILES["train_files"], *FILES["test_files"]])
    check(table_file.read(saved(logits=ROWS, paths=paths), data(**FILES), kind))
    for rows in (saved(TRAIN), saved(train=TRAIN)):
        check(table_file.read(rows, data(), kind), TRAIN, TEST[:0])
    alone = saved(logits=TRAIN, paths=paths[:N])
    check(table_file.read(alone, data(**FILES), kind), TRAIN, TEST[:0])
    with pytest.raises(InputError, match=r"config.teacher.path, .*1 of .* pictures have no row"):
        table_file.read(saved(logits=ROWS[:-1], paths=paths[:-1]), data(**FILES), kind)
    with pytest.raises(InputError, match=r"embeddings; expected .* optionally `test` \[M, D\], or"):
        table_file.read(saved(embeddings=ROWS), data(), kind)
    with pytest.raises(InputError, match=r"embeddings; expected a .npz with `logits` .* `paths`"):
        table_file.read(saved(embeddings=ROWS), data(**FILES), kind)
