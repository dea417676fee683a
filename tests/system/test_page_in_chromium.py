"""report.html in a real browser: it loads in silence, fits, sorts and filters by keyboard. What is
done with its cards is test_review_in_chromium.py's."""

import csv
import io

import chromium
import numpy as np
import pytest
from PIL import Image

from rmdnet_jax.base.text import cell
from rmdnet_jax.config import default
from rmdnet_jax.report import gallery, page

pytestmark = pytest.mark.skipif(
    not chromium.PATH, reason="Chromium is not installed (apt-get install chromium, or its like)"
)

CLASSES = ("ant", "<script>document.title = 'taken'</script>", "c" * 300, "evil\u202egnp.exe")
# (index, given, suggested, score), most suspicious first; two of them tie.
SHOWN = [(7, 2, 0, 0.9), (3, 0, 1, 0.8), (9, 0, 3, 0.8), (1, 1, 2, 0.7), (5, 2, 1, 0.6)]
VISIBLE = "[...document.querySelectorAll('tbody tr')].filter((row) => row.checkVisibility())"
ORDER = f"{VISIBLE}.map((row) => Number(row.dataset.index))"
SORTED_BY = (
    "[...document.querySelectorAll('th[aria-sort]')]"
    ".map((th) => `${th.textContent} ${th.ariaSort}`)"
)


def written(folder, dataset="beasts", classes=CLASSES, file="d" * 200, caption="A figure.",
            command="python launch.py --config=" + "x" * 300):  # fmt: skip
    """A page with two figures and five suspects."""
    Image.new("RGB", (840, 840), "white").save(folder / "figure.png")
    figures = (page.Figure(caption, folder / "figure.png"),) * 2
    suspects = [
        gallery.Suspect(index, gallery.thumbnail(np.full((8, 8, 3), 9 * index, np.uint8)), given,
                        suggested, "closed", suggested, score, score, score,
                        f"train/{file}/{index}.png")
        for index, given, suggested, score in SHOWN
    ]  # fmt: skip
    results = {
        "dataset": dataset, "title": "CE + RMDNet", "train_images": 10, "test_images": 10,
        "image_shape": [8, 8, 3], "classes": 4, "devices": "1 x cpu", "teacher_kind": "none",
        "teacher_title": None,
        "noise_kind": "none", "test_labels": "given", "test_accuracy": 0.5,
        "best_test_accuracy": 0.5, "versions": {},
    }  # fmt: skip
    path, config = folder / "report.html", default().to_dict()
    config["report"]["remark"] = caption
    page.write(path, results, config, [page.Section("s", "S", "text", figures)], suspects, classes,
               command, dataset)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return written(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser(report):
    with chromium.opened(report, width=1200) as opened:
        yield opened


@pytest.fixture
def shown(browser):
    """The page, as it is after loading."""
    browser.evaluate("document.querySelector('#filters').reset()")
    press(browser, "image")
    press(browser, "score")
    assert browser.evaluate(ORDER) == [7, 3, 9, 1, 5]
    return browser


def press(browser, column):
    """Presses the button of a column's head, as a keyboard does."""
    focused = browser.evaluate(
        f"[...document.querySelectorAll('th button')].find((b) => b.textContent === '{column}')"
        ".focus(), document.activeElement.tagName"
    )
    assert focused == "BUTTON"
    browser.press("Enter")


def test_it_loads_in_silence_and_fetches_nothing(browser, report):
    assert browser.problems == []
    assert browser.fetched == [report.as_uri()]
    assert browser.evaluate("document.title") == "CE + RMDNet on beasts"
    assert browser.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")


@pytest.mark.parametrize("width", [360, 800, 1200])
def test_it_is_no_wider_than_the_screen(browser, width):
    browser.resize(width)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    outside = (
        "[...document.body.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right"
    )
    assert browser.evaluate(f"{outside} > {width}).map((e) => e.outerHTML)") == []
    browser.resize(1200)


@pytest.mark.parametrize(
    ("field", "column"), list(enumerate(("image", "given label", "suggested label", "score")))
)
def test_it_sorts_both_ways_and_says_so(shown, field, column):
    for direction in ("ascending", "descending"):
        press(shown, column)
        assert shown.evaluate(SORTED_BY) == [f"{column} {direction}"]
        # Ties stay in order of suspicion, whichever way the rest is turned.
        expected = sorted(SHOWN, key=lambda row: row[field], reverse=direction == "descending")
        assert shown.evaluate(ORDER) == [index for index, *_ in expected]


def test_it_filters_by_either_class_and_by_both(shown):
    told = "document.querySelector('output').value"
    assert shown.evaluate(told) == "5 of 5 shown"
    shown.evaluate("document.querySelector('#filter-given').focus()")
    shown.press("ArrowDown")  # from "all" to the first class there is
    assert shown.evaluate(ORDER) == [3, 9]
    assert shown.evaluate(told) == "2 of 5 shown"
    shown.evaluate("document.querySelector('#filter-suggested').focus()")
    for _ in range(4):  # past 0, 1 and 2 to 3
        shown.press("ArrowDown")
    assert shown.evaluate(ORDER) == [9]
    press(shown, "image")
    assert shown.evaluate(ORDER) == [9]
    shown.evaluate("document.querySelector('button[type=reset]').focus()")
    shown.press("Enter")
    assert shown.evaluate(ORDER) == [1, 3, 5, 7, 9]


def test_every_control_can_be_reached_and_is_seen_to_be(shown):
    shown.evaluate("document.querySelector('nav a').focus()")
    reached = []
    for _ in range(25):
        reached.append(shown.evaluate("document.activeElement.textContent.trim().slice(0, 8)"))
        assert shown.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        shown.press("Tab")
    assert reached == [
        "S", "Suspicio", "What was", "all\n    ", "all\n    ", "all\n    ", "all\n    ", "Show all",
        "Go to th", "Select a", "Load cor", "Keyboard", "given la", "suggeste", "score", "image",
        "given an", "", "keep k", "suggesti", "other… c", "remove r", "unsure u", "Class nu",
        "Config",
    ]  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_whole_without_javascript_and_follows_the_colour_scheme(report, dark):
    with chromium.opened(report, 390, dark=dark, scripts=False) as page:
        # The pipe's own scripts run all the same.
        assert page.evaluate(ORDER) == [7, 3, 9, 1, 5]
        assert not page.evaluate("document.querySelector('#review').checkVisibility()")
        assert not page.evaluate("document.querySelector('#bar').checkVisibility()")
        assert page.evaluate("document.querySelectorAll('th button').length") == 0
        assert page.evaluate("document.querySelector('noscript p').checkVisibility()")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, ground[4:-1].split(", "))) < 64) == dark
        assert page.problems == []


# Names that would do something if they came into the page as they are: set window.taken.
ATTACKS = [
    "<img src=x onerror=taken=1>",
    '"><svg/onload=taken=1>',
    "'--></script><script>taken=1</script>",
    "</title></textarea></select><iframe srcdoc='<script>top.taken=1</script>'></iframe>",
    "<a href=javascript:taken=1 autofocus onfocus=taken=1>",
    "{{ 7 * 7 }}{% include 'page.css' %}${taken=1}",
    "</template></dialog></script><!--<script>taken=1//\u2028taken=1</script>",
]


def test_whatever_anything_is_called_it_is_text(tmp_path):
    attack = "".join(ATTACKS)
    classes = (*ATTACKS[:3], attack)
    path = written(tmp_path, attack, classes, attack, attack, attack)
    with chromium.opened(path, width=1200) as opened:
        assert opened.problems == []
        assert opened.fetched == [path.as_uri()]
        assert opened.evaluate("typeof taken") == "undefined"
        seen = attack.replace("\u2028", r"\u2028")
        assert opened.evaluate("document.title") == f"CE + RMDNet on {seen}"
        foreign = "svg, iframe, base, object, embed, a[href^=javascript]"
        assert opened.evaluate(f"document.querySelectorAll('{foreign}').length") == 0
        handlers = "[...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames())"
        assert opened.evaluate(f"{handlers}.filter((name) => name.startsWith('on'))") == []
        assert opened.evaluate("document.scripts.length") == 1
        pictures = "[...document.images].every((image) => image.src.startsWith('data:image/'))"
        assert opened.evaluate(pictures)
        files = "document.querySelector('tbody tr td.remark').textContent"
        assert opened.evaluate(files) == f"train/{seen}/7.png"
        # What was chosen from the list, kept, and written out, is a text too.
        opened.evaluate("document.querySelector('tbody tr').focus()")
        for key in ("c", "ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
            opened.press(key)
        opened.reload()
        chosen = f"{VISIBLE}[0].querySelector('.verdict bdi').textContent"
        assert opened.evaluate(chosen).startswith(f"→ {attack[:20]}")
        saved = opened.download(tmp_path, lambda: opened.click("#save"))
        rows = list(csv.reader(io.StringIO(saved)))
        assert rows[1] == ["7", f"train/{seen}/7.png", cell(classes[2]), "class", cell(attack)]
        assert opened.evaluate("typeof taken") == "undefined"
        assert opened.problems == []
