"""report.html: whole by itself, well formed, harmless whatever a class is called."""

import html.parser

import pytest

from rmdnet_jax.config import default
from rmdnet_jax.report import page

RESULTS = {
    "dataset": "digits",
    "teacher_kind": "simsiam",
    "noise_kind": "symmetric",
    "noise_rate_realised": 0.387,
    "test_accuracy": 0.936,
    "best_test_accuracy": 0.939,
    "baseline_test_accuracy": 0.95,
    "label_issue_auroc": 0.994,
    "versions": {"jax": "0.10.2"},
}
VOID = {"meta", "img", "link", "br"}


class Parser(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.sources, self.text, self.tags = [], [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def written(tmp_path):
    png = tmp_path / "figure.png"
    png.write_bytes(b"\x89PNG")
    issue = {"index": 3, "given_label": "<script>alert(1)</script>", "suggested_label": "b",
             "score": 0.98765}  # fmt: skip
    page.write(tmp_path / "report.html", RESULTS, default().to_dict(), [("Curves.", png)],
               "python launch.py --config=configs/demo.py", [issue])  # fmt: skip
    parser = Parser()
    parser.feed((tmp_path / "report.html").read_text())
    return parser


def test_every_tag_is_closed(written):
    assert not written.open


def test_nothing_is_fetched(written):
    assert len(written.sources) == 1
    assert written.sources[0].startswith("data:image/png;base64,")


def test_numbers_command_and_versions_are_there(written):
    for text in ("93.6%", "95.0%", "0.994", "configs/demo.py", "jax 0.10.2", "0.988"):
        assert text in written.text


def test_a_class_name_is_text_and_never_markup(written):
    assert "script" not in written.tags
    assert "<script>alert(1)</script>" in written.text


def test_pixels_that_were_not_measured_are_not_made_up():
    results = RESULTS | {"teacher_knn_accuracy": 0.5, "random_encoder_knn_accuracy": 0.3}
    results |= {"teacher_kind": "simsiam", "knn_labels": "true", "pixel_knn_accuracy": None}
    said = [remark for *_, remark in page.headline(results, default().to_dict())]
    assert any("raw pixels not measured (images on disk); neighbours" in remark for remark in said)
