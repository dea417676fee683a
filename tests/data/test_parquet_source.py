"""Parquet files with the pictures inside, as the Hugging Face hub has them, are a data set."""

import io
import json
import os
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import parquet_source, sources


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)


def encoded(seed, form="PNG"):
    made = io.BytesIO()
    Image.fromarray(picture(seed)).save(made, form)
    return made.getvalue()


def write(file, labels, names=None, image="image", label="label", start=0, plain=False, **options):
    """A file of pictures of the seeds `start`, `start` + 1 and so on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    contents = [encoded(start + i) for i in range(len(labels))]
    if not plain:
        contents = [{"bytes": one, "path": f"../../{i}.png"} for i, one in enumerate(contents)]
    table = pyarrow.table({"other": [[1.5]] * len(labels), image: contents, label: labels})
    if names:
        feature = {label: {"names": names, "_type": "ClassLabel"}, image: {"_type": "Image"}}
        told = json.dumps({"info": {"features": feature}})
        table = table.replace_schema_metadata({"huggingface": told})
    pyarrow.parquet.write_table(table, file, **options)
    return file


@pytest.fixture
def load(tmp_path):
    return lambda path: sources.load("own", str(path), cache=str(tmp_path / "cache"))


@pytest.mark.parametrize("under", ["", "data", "plain_text"])
def test_part_files_become_a_data_set(tmp_path, load, under):
    folder, names = tmp_path / "beasts" / under, ["zebra", "ant"]
    write(folder / "train-00000-of-00002.parquet", [0, 1, 0, 1], names)
    write(folder / "train-00001-of-00002.parquet", [0, 1], names, start=4, row_group_size=1)
    write(folder / "test-00000-of-00001.parquet", [1, 0, 1], names, start=6)
    (tmp_path / "beasts" / "README.md").write_text("---")
    data = load(tmp_path / "beasts")
    assert (data.name, data.class_names) == ("beasts", ("ant", "zebra"))
    # In turns: the first ant, the first zebra, the second ant.
    assert data.train_files == tuple(f"train/000/000000{i}.png" for i in (1, 0, 3, 2, 5, 4))
    np.testing.assert_array_equal(data.train_images[4], picture(5))
    np.testing.assert_array_equal(data.train_labels, [0, 1] * 3)
    assert data.test_files == tuple(f"test/000/000000{i}.png" for i in (0, 1, 2))
    np.testing.assert_array_equal(data.test_images[1], picture(7))
    np.testing.assert_array_equal(data.test_labels, [0, 1, 0])


@pytest.mark.parametrize(
    ("labels", "columns", "classes"),
    [
        ([10, 9] * 5, {}, ("9", "10")),
        (["bée", "ant"] * 5, {"image": "img", "label": "fine_label"}, ("ant", "bée")),
        (["b", "a"] * 5, {"plain": True, "image": "photo", "label": "labels"}, ("a", "b")),
    ],
)
def test_one_file_gives_a_share_to_test_on(tmp_path, load, labels, columns, classes):
    data = load(write(tmp_path / "beasts.parquet", labels, **columns))
    assert (data.name, data.class_names) == ("beasts", classes)
    assert (len(data.train_labels), len(data.test_labels)) == (8, 2)


def test_bytes_of_every_format_are_kept_and_a_broken_one_is_told(tmp_path):
    contents = [encoded(i, form) for i, form in enumerate(("JPEG", "WEBP", "PNG", "BMP") * 2)]
    table = pyarrow.table({"image": contents, "label": [0, 1] * 4})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    found = parquet_source.find(str(tmp_path / "x.parquet"), 0.2, str(tmp_path / "cache"))
    listed = sorted([*found.train.files, *found.test.files])
    assert [os.path.splitext(file)[1] for file in listed] == [".jpg", ".webp", ".png", ""] * 2
    assert [(found.root / file).read_bytes() for file in listed] == contents
    cache = str(tmp_path / "cache")
    data = sources.load("own", str(tmp_path / "x.parquet"), max_broken=0.5, cache=cache)
    assert [(one.path, one.reason) for one in data.skipped_files] == [
        (f"train/000/000000{i}", "unknown format") for i in (3, 7)
    ]


def test_pictures_are_taken_out_once_and_again_when_the_files_change(tmp_path, load, monkeypatch):
    file = write(tmp_path / "x.parquet", [0, 1] * 5)
    first = load(file)
    with monkeypatch.context() as patched:
        patched.setattr(parquet_source, "_take_out", None)
        again = load(file)
    assert again.images_fingerprint() == first.images_fingerprint()
    write(file, [0, 1] * 6)
    assert len(load(file).train_labels) == 10
    kept = [path for path in (tmp_path / "cache" / "parquet").iterdir() if path.is_dir()]
    assert len(kept) == 1
    shutil.rmtree(tmp_path / "cache")
    assert len(load(file).train_labels) == 10


def test_what_was_not_finished_is_no_data_set(tmp_path, load, monkeypatch):
    file = write(tmp_path / "x.parquet", [0, 1] * 5)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(parquet_source, "_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            load(file)
    assert [path.suffix for path in (tmp_path / "cache" / "parquet").iterdir()] == [".lock"]
    assert len(load(file).train_labels) == 8


def test_a_manifest_in_parquet_stays_one(tmp_path):
    pyarrow.parquet.write_table(
        pyarrow.table({"path": ["a.png"], "label": ["x"]}), tmp_path / "list.parquet"
    )
    assert not parquet_source.is_one(str(tmp_path / "list.parquet"))
    assert not parquet_source.is_one(str(tmp_path))


def make_other_split(folder):
    write(folder / "train-0.parquet", [0, 1, 0])
    write(folder / "test-0.parquet", [0, -1], ["a", "b"])


def make_no_train(folder):
    write(folder / "part-0.parquet", [0, 1])


def make_configs(folder):
    for name in ("cropped", "full"):
        write(folder / name / "train-0.parquet", [0, 1])


def make_no_bytes(folder):
    rows = [{"bytes": None, "path": "a.png"}]
    table = pyarrow.table({"image": pyarrow.array(rows, pyarrow.struct(
        [("bytes", pyarrow.binary()), ("path", pyarrow.string())])), "label": [0]})  # fmt: skip
    pyarrow.parquet.write_table(table, folder / "train-0.parquet")


def make_no_label(folder):
    write(folder / "train-0.parquet", [0, 1], label="species")


def make_missing_label(folder):
    write(folder / "train-0.parquet", [0, None])


def make_cut(folder):
    write(folder / "train-0.parquet", [0, 1])
    content = write(folder / "train-1.parquet", [0, 1]).read_bytes()
    (folder / "train-1.parquet").write_bytes(content[:40] + bytes(99) + content[139:])


def make_bad_names(folder):
    write(folder / "train-0.parquet", [0, 5], ["a", "b"])


BAD = {
    make_other_split: r"test-0.parquet, row 2: the label is -1 \(-1 is stored for splits without",
    make_no_train: r"has a name that starts with train \(part-0.parquet\); expected train-\*.parq",
    make_configs: "has Parquet files in cropped, full; expected one of these as dataset.path",
    make_no_bytes: "row 1 has no picture inside, only the path of one",
    make_no_label: "train-0.parquet has the columns other, image, species; expected a column of",
    make_missing_label: "row 2: the label is missing",
    make_cut: "train-1.parquet cannot be read as Parquet",
    make_bad_names: "row 2: the label is 5; expected 0 to 1, a to b",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_what_is_wrong_is_told_in_a_line_and_nothing_is_kept(tmp_path, load, make):
    (tmp_path / "beasts").mkdir()
    make(tmp_path / "beasts")
    with pytest.raises(InputError, match=BAD[make]) as told:
        load(tmp_path / "beasts")
    assert "\n" not in str(told.value)
    kept = tmp_path / "cache" / "parquet"
    assert not kept.exists() or [path.suffix for path in kept.iterdir()] == [".lock"]


def test_without_a_cache_there_is_no_place_for_the_pictures(tmp_path):
    file = write(tmp_path / "x.parquet", [0, 1] * 5)
    with pytest.raises(InputError, match=r"expected --config\.dataset\.cache=FOLDER"):
        sources.load("own", str(file))


def test_a_file_that_unpacks_to_more_than_the_disk_is_refused(tmp_path, load, monkeypatch):
    file = write(tmp_path / "x.parquet", [0, 1] * 5)
    monkeypatch.setattr(parquet_source, "_SHARE", 1e-12)
    with pytest.raises(InputError, match="do not fit on the disk of"):
        load(file)


def test_a_picture_that_stands_for_very_many_rows_is_unpacked_row_by_row(
    tmp_path, load, monkeypatch
):
    content = encoded(0) + bytes(2_000_000)
    indices = pyarrow.array([0] * 5_000, pyarrow.int32())
    image = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array([content]))
    table = pyarrow.table({"image": image, "label": [0, 1] * 2_500})
    file = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(table, file, dictionary_pagesize_limit=1 << 30, store_schema=False)
    assert file.stat().st_size < 1_000_000
    room = 20_000_000 / shutil.disk_usage(tmp_path).free
    monkeypatch.setattr(parquet_source, "_SHARE", room)
    usual = pyarrow.default_memory_pool()
    pool = pyarrow.proxy_memory_pool(usual)
    pyarrow.set_memory_pool(pool)
    try:
        with pytest.raises(InputError, match="do not fit on the disk of"):
            load(file)
    finally:
        pyarrow.set_memory_pool(usual)
    assert 2_000_000 < pool.max_memory() < 40_000_000


def test_a_group_of_rows_that_memory_cannot_hold_is_refused(tmp_path, load, monkeypatch):
    file = write(tmp_path / "x.parquet", [0, 1] * 5)
    monkeypatch.setattr(parquet_source, "_MEMORY_SHARE", 1e-9)
    with pytest.raises(
        InputError, match=r"x.parquet has 10 rows in a row group, .* row_group_size=100"
    ):
        load(file)
