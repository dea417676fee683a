"""What docs/exchange.md says of other people's formats, tried with their own libraries. They are
not among this package's: a test whose library is missing is skipped, and says what to install."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.data import picture_sources, sources
from rmdnet_jax.evaluation import label_issues
from rmdnet_jax.export import fiftyone, labelstudio, pred_probs

# Warnings in their code are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

CLASSES = ("ant", "bée & co")
BELIEF = np.array([[0.8, 0.2], [0.3, 0.7], [0.1, 0.9], [0.6, 0.4]])
GIVEN = np.array([1, 1, 0, 0])
ISSUES = label_issues.score(BELIEF, None, GIVEN, 2 / 4)
FILES = ["in a/0&.png", "in a/1.png", "2.png", "3.png"]


def theirs(name):
    package = name.replace("_", "-")
    return pytest.importorskip(name, reason=f"{package} is missing (pip install {package})")


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)


def save(place, seed):
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed)).save(place)


def bytes_of(image):
    return np.asarray(image).tobytes()


def labels_by_picture(data):
    """The class of each picture by its pixels, of each split."""
    return tuple(
        {bytes_of(image): data.class_names[label] for image, label in zip(*split, strict=True)}
        for split in (
            (data.train_images, data.train_labels), (data.test_images, data.test_labels)
        )
    )  # fmt: skip


@pytest.fixture
def hugging_face(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return theirs("datasets")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_imagefolder_is_to_us_what_it_is_to_datasets(hugging_face, tmp_path, kind):
    for start, split in ((0, "train"), (100, "test")):
        rows = [{"file_name": f"{i}.png", "label": CLASSES[i % 2]} for i in range(6)]
        for i, row in enumerate(rows):
            save(tmp_path / "d" / split / row["file_name"], start + i)
        lines = [json.dumps(row) for row in rows]
        if kind == "csv":
            lines = ["file_name,label", *(",".join(row.values()) for row in rows)]
        (tmp_path / "d" / split / f"metadata.{kind}").write_text("\n".join(lines), "utf-8")
    found = hugging_face.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "d"), cache_dir=str(tmp_path / "cache")
    )
    expected = tuple(
        {bytes_of(row["image"]): row["label"] for row in found[split]}
        for split in ("train", "test")
    )
    assert labels_by_picture(sources.load("own", str(tmp_path / "d"))) == expected


def test_parquet_that_datasets_writes_is_read(hugging_face, tmp_path):
    columns = {"image": hugging_face.Image(), "label": hugging_face.ClassLabel(names=CLASSES[::-1])}
    made = {}
    for start, split in ((0, "train"), (100, "test")):
        contents = []
        for i in range(6):
            file = io.BytesIO()
            Image.fromarray(picture(start + i)).save(file, "PNG")
            contents.append({"bytes": file.getvalue(), "path": None})
        made[split] = hugging_face.Dataset.from_dict(
            {"image": contents, "label": [0, 1] * 3}, features=hugging_face.Features(columns)
        )
        (tmp_path / "d").mkdir(exist_ok=True)
        made[split].to_parquet(str(tmp_path / "d" / f"{split}-00000-of-00001.parquet"))
    data = sources.load("own", str(tmp_path / "d"), cache=str(tmp_path / "cache"))
    assert labels_by_picture(data) == tuple(
        {bytes_of(row["image"]): CLASSES[1 - row["label"]] for row in split}
        for split in made.values()
    )


def test_datalab_takes_the_arrays(hugging_face, tmp_path):
    theirs("cleanlab")
    from cleanlab import Datalab

    rng = np.random.default_rng(0)
    given = rng.permutation(np.arange(60) % 2)
    belief = np.full((60, 2), 0.05)
    belief[np.arange(60), given] = 0.95
    belief[7] = belief[7, ::-1].copy()
    pred_probs.write(tmp_path / "x.npz", belief, given, np.arange(60), CLASSES, True)
    with np.load(tmp_path / "x.npz") as found:
        lab = Datalab({"labels": found["labels"]}, label_name="labels", verbosity=0)
        lab.find_issues(pred_probs=found["pred_probs"], issue_types={"label": {}})
    assert np.flatnonzero(lab.get_issues("label")["is_label_issue"]).tolist() == [7]


def test_label_studio_takes_the_tasks(tmp_path):
    theirs("label_studio_sdk")
    from label_studio_sdk.label_interface import LabelInterface

    labelstudio.write(tmp_path / "x.json", ISSUES, CLASSES, FILES)
    interface = LabelInterface(labelstudio.interface_of(tmp_path / "x.json").read_text("utf-8"))
    interface.validate()
    tasks = json.loads((tmp_path / "x.json").read_text())
    assert len(tasks) == 4
    for task in tasks:
        assert interface.validate_task({"data": task["data"]})
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction, return_errors=True) == []
        prediction["result"][0]["value"]["choices"] = ["wasp"]
        assert interface.validate_prediction(prediction, return_errors=True)


def test_label_studios_converter_reads_what_we_read(tmp_path):
    theirs("label_studio_sdk")
    from label_studio_sdk.converter import Converter

    labelstudio.write(tmp_path / "x.json", ISSUES, CLASSES, FILES)
    tasks = json.loads((tmp_path / "x.json").read_text())
    for number, task in enumerate(tasks):
        save(tmp_path / task["data"]["path"], number)
        result = task.pop("predictions")[0]["result"]
        task |= {"id": number, "annotations": [{"id": number, "result": result}]}
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "back.json").write_text(json.dumps(tasks))
    config = labelstudio.interface_of(tmp_path / "x.json").read_text("utf-8")
    Converter(config, str(tmp_path)).convert_to_json_min(str(tmp_path / "in"), str(tmp_path / "o"))
    (written,) = (tmp_path / "o").iterdir()
    expected = {row["path"]: row["class"] for row in json.loads(written.read_text())}
    found = picture_sources.of_list(
        str(tmp_path / "in" / "back.json"), 0.01, "", root=str(tmp_path)
    )
    read = zip(found.train.files, found.train.labels, strict=True)
    assert {file: found.class_names[label] for file, label in read} == expected
    assert len(expected) == 4
    assert found.changes == ()


def test_fiftyone_takes_the_labels_and_we_take_its(tmp_path):
    theirs("fiftyone")
    from fiftyone.utils.data import FiftyOneImageClassificationDatasetImporter

    for number, file in enumerate(FILES):
        save(tmp_path / "data" / file, number)
    fiftyone.write(tmp_path / "labels.json", ISSUES, CLASSES, FILES)
    importer = FiftyOneImageClassificationDatasetImporter(
        data_path=str(tmp_path / "data"), labels_path=str(tmp_path / "labels.json")
    )
    importer.setup()
    labels = {path: label.label for path, _, label in importer}
    given = {str(tmp_path / "data" / file): CLASSES[label]
             for file, label in zip(FILES, GIVEN, strict=True)}  # fmt: skip
    assert labels == given
    read = picture_sources.in_folder(str(tmp_path), 0.01, "")
    files = zip(read.train.files, read.train.labels, strict=True)
    assert {str(tmp_path / file): read.class_names[label] for file, label in files} == given
