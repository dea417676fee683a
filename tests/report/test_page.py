"""report.html: whole by itself, well formed, harmless whatever a class is called."""

import dataclasses
import html.parser
import re

import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base import text
from rmdnet_jax.config import default
from rmdnet_jax.data import corrections
from rmdnet_jax.data.dataset import NO_CLASS, Dataset
from rmdnet_jax.report import gallery, page

RESULTS = {
    "dataset": "digits",
    "title": "CE + RMDNet",
    "baseline_title": "CE alone",
    "train_images": 1437,
    "test_images": 360,
    "image_shape": [8, 8, 3],
    "classes": 3,
    "devices": "1 x cpu",
    "teacher_kind": "simsiam",
    "teacher_title": "SimSiam teacher",
    "noise_kind": "symmetric",
    "noise_rate_nominal": 0.4,
    "noise_rate_realised": 0.387,
    "noise_rate_estimated": 0.412,
    "test_labels": "true",
    "test_accuracy": 0.936,
    "best_test_accuracy": 0.939,
    "baseline_test_accuracy": 0.95,
    "label_issue_auroc": 0.994,
    "skipped_files": 3,
    "versions": {"jax": "0.10.2"},
}
CLASSES = ("<script>alert(1)</script>", "photo\u202egnp.exe\x1b", "b" * 300, "=cat",
           "</template></script><!--\u2028")  # fmt: skip
SUSPECT = gallery.Suspect(
    3, gallery.thumbnail(np.zeros((8, 8, 3), np.uint8)), given=0, suggested=1, kind="closed",
    true=1, score=0.98765, student_score=0.9, neighbour_score=1.0,
    file='train/"><img src=x>\udcff.png',
)  # fmt: skip
VOID = {"meta", "img", "link", "br", "input"}


class Parser(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def values(self, *names):
        return [value for name, value in self.attributes if name in names]


def write(folder, suspects=(SUSPECT,), **results):
    png = folder / "figure.png"
    Image.new("RGB", (300, 150)).save(png)
    figure = page.Figure("A <curve>.", png)
    sections = [page.Section("curves", "Curves", "It has not collapsed.", (figure, figure)),
                page.Section("words", "Words", "No figure.", ())]  # fmt: skip
    page.write(folder / "report.html", RESULTS | results, default().to_dict(), sections,
               list(suspects), CLASSES, "python launch.py --config=configs/demo.py",
               "a1b2")  # fmt: skip
    return Parser((folder / "report.html").read_text())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page"))


def test_every_tag_is_closed(written):
    assert not written.open


def test_every_id_is_one_and_every_reference_has_one(written):
    ids = written.values("id")
    assert len(ids) == len(set(ids))
    links = [link[1:] for link in written.values("href") if link.startswith("#")]
    named = " ".join(written.values("for", "aria-labelledby")).split()
    assert {"curves", "suspects", "run"} <= set(links)
    fields = {"given", "suggested", "kind", "verdict"}
    assert {f"filter-{field}" for field in fields} | {"run-heading"} <= set(named)
    assert set(links + named) <= set(ids)


def test_nothing_is_fetched(written):
    sources = [x for x in written.values("src", "href", "srcset") if not x.startswith("#")]
    assert len(sources) == 4
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?:|url\(|@import", written.text)
    assert any((value or "").startswith("default-src 'none'") for _, value in written.attributes)


def test_numbers_command_and_versions_are_there(written):
    for number in ("93.6%", "95.0%", "0.994", "41.2%", "configs/demo.py", "jax 0.10.2", "0.988",
                 "1,437 training", "1 x cpu", "3 files (skipped_files.csv)"):  # fmt: skip
        assert number in written.text


def test_its_heading_is_what_was_trained_on_what(written, tmp_path):
    assert "CE + RMDNet on digits" in written.text
    assert "CE alone" in written.text
    assert "Teacher on digits" in write(tmp_path, title=None, test_accuracy=None).text


def test_a_name_is_text_and_never_markup(written):
    assert written.tags.count("script") == 1  # ours
    assert written.tags.count("img") == 3
    assert "<script>alert(1)</script>" in written.text
    assert r'train/"><img src=x>\xff.png' in written.text


def test_no_name_steers_the_screen_or_fills_it(written):
    assert r"photo\u202egnp.exe\x1b" in written.text
    assert not {"\u202e", "\x1b"} & set(written.text)
    assert "b" * 100 not in written.text


@pytest.mark.parametrize(
    ("true", "said"),
    [(0, "the label is right"), (1, r"wrong: actually photo\u202egnp.exe\x1b"), (None, "not known"),
     (NO_CLASS, "wrong: actually none of the classes"), (0, "0 of these 1 are wrong"),
     (1, "1 of these 1 are wrong"), (NO_CLASS, "1 of these 1 are wrong")],
)  # fmt: skip
def test_the_gallery_says_whether_a_label_is_wrong_where_that_is_known(tmp_path, true, said):
    written = write(tmp_path, [dataclasses.replace(SUSPECT, true=true)])
    assert said in " ".join(written.text.split())


@pytest.mark.parametrize(
    ("kind", "said", "choice"),
    [("clean", "suggested photo", "clean: no issue"),
     ("closed", "suggested photo", "closed: of another class"),
     ("open", "suggested removal: shows none of the classes; most like photo",
      "open: of none of the classes")],
)  # fmt: skip
def test_a_card_says_of_what_kind_an_issue_is_and_the_kinds_there_are_can_be_chosen(
    tmp_path, kind, said, choice
):
    written = write(tmp_path, [dataclasses.replace(SUSPECT, kind=kind)])
    told = " ".join(written.text.split())
    assert said in told
    assert re.findall(r"(?:clean|closed|open): (?:no|of)[a-z ]*?(?= your)", told) == [choice]
    assert written.values("data-kind") == [kind]


def test_names_and_paths_are_there_as_the_csv_files_have_them(written, tmp_path):
    cells = written.values("data-cell")
    assert cells == [text.cell(name) for name in CLASSES]
    assert "'=cat" in cells
    assert written.values("data-path") == [text.cell(SUSPECT.file)]
    without = write(tmp_path, [dataclasses.replace(SUSPECT, file=None)])
    assert without.values("data-path") == []


def test_the_verdicts_are_those_that_corrections_are_read_by(written):
    named = written.values("data-verdict")
    assert tuple(named[:5]) == corrections.VERDICTS
    assert set(named) == {*corrections.VERDICTS, ""}


def test_cards_after_the_first_page_wait_in_a_template(tmp_path):
    suspects = [dataclasses.replace(SUSPECT, index=i) for i in range(120)]
    written = write(tmp_path, suspects)
    assert not written.open
    assert [int(i) for i in written.values("data-index")] == list(range(120))
    whole = (tmp_path / "report.html").read_text()
    shown, waiting = whole.split('<template id="rest">')
    assert (shown.count("data-index"), waiting.count("data-index=")) == (50, 70)


def test_verdicts_are_kept_by_the_data_and_the_labels_that_were_given(tmp_path):
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    given = np.arange(6, dtype=np.int32) % 3
    data = Dataset("digits", images, given, images, given, {}, ("a", "b", "c"))
    files = dataclasses.replace(data, train_files=tuple(f"{i}.png" for i in range(6)))
    one = page.key(data, given)
    assert re.fullmatch("[0-9a-f]{32}", one)
    # A learner that says something else, other true labels: the same images have the same labels.
    assert page.key(dataclasses.replace(data, train_labels=given[::-1]), given) == one
    places = np.arange(6)
    assert page.key(dataclasses.replace(data, train_index=places), given) == one
    # A picture is known by its path, in whatever size it is seen.
    assert page.key(dataclasses.replace(files, train_images=images + 1), given) == page.key(
        files, given
    )
    others = [
        (dataclasses.replace(data, name="letters"), given),
        (dataclasses.replace(data, class_names=("a", "c", "b")), given),
        (dataclasses.replace(data, train_images=images + 1), given),
        (dataclasses.replace(data, train_index=places + 1), given),
        (data, np.roll(given, 1)),
        (files, given),
        (dataclasses.replace(files, train_files=files.train_files[::-1]), given),
    ]
    assert len({one, *(page.key(*other) for other in others)}) == len(others) + 1


def test_accuracy_on_labels_that_were_looked_at_has_a_line_of_its_own():
    looked = RESULTS | {"test_accuracy_reviewed": 0.75, "test_images_reviewed": 1200}
    looked |= {"test_labels": "given"}
    rows = {what: (figure, remark) for what, figure, remark in page.headline(looked)}
    figure, remark = rows["test accuracy on reviewed labels"]
    assert figure == "75.0%"
    assert remark.startswith("1,200 test images")
    assert not any("reviewed" in what for what, *_ in page.headline(RESULTS))


@pytest.mark.parametrize(
    ("size", "said"),
    [(3, "All 3 labels, the most suspicious first"), (4, "The 3 most suspicious labels")],
)
def test_the_gallery_is_called_what_it_shows(tmp_path, size, said):
    suspects = [dataclasses.replace(SUSPECT, index=i) for i in range(3)]
    written = write(tmp_path, suspects, train_images=size)
    assert said in written.text
    assert ("The 3 most" in written.text) == (size == 4)


def test_the_teacher_is_called_by_its_title():
    found = RESULTS | {"teacher_knn_accuracy": 0.5, "teacher_title": "given feature vectors"}
    found |= {"knn_labels": "true", "image_shape": [9]}
    said = [what for what, *_ in page.headline(found)]
    assert "kNN accuracy of the given feature vectors" in said


def test_without_suspects_there_is_no_gallery(tmp_path):
    written = write(tmp_path, suspects=())
    assert "suspects" not in written.values("id")
    assert "#suspects" not in written.values("href")
    assert "script" not in written.tags


def test_without_a_teacher_no_neighbours_are_spoken_of(tmp_path):
    written = write(tmp_path, [dataclasses.replace(SUSPECT, neighbour_score=None)])
    assert "neighbours" not in written.text


def test_without_true_test_labels_nothing_is_called_accuracy(tmp_path):
    written = write(tmp_path, test_labels="given", teacher_knn_accuracy=0.5,
                    random_encoder_knn_accuracy=0.3, knn_labels="given")  # fmt: skip
    said = written.text[: written.text.index("It has not collapsed")]
    assert "agreement with the given test labels" in said
    assert "accuracy" not in said.replace("not as accuracy", "")


def test_pixels_that_were_not_measured_are_not_made_up():
    results = RESULTS | {"teacher_knn_accuracy": 0.5, "random_encoder_knn_accuracy": 0.3}
    results |= {"teacher_kind": "simsiam", "knn_labels": "true", "pixel_knn_accuracy": None}
    said = [remark for *_, remark in page.headline(results)]
    assert any("raw pixels not measured (too large); neighbours" in remark for remark in said)
