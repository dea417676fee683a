"""The page's cards in a real browser: every verdict by keyboard and by mouse, many at once, undo,
and what comes out as corrections.csv; nothing is lost between two visits."""

import csv
import io
import json
import time

import chromium
import numpy as np
import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import cell, shown
from rmdnet_jax.config import default
from rmdnet_jax.data import corrected, corrections, labels
from rmdnet_jax.data.dataset import Dataset
from rmdnet_jax.report import gallery, page

pytestmark = pytest.mark.skipif(
    not chromium.PATH, reason="Chromium is not installed (apt-get install chromium, or its like)"
)

CLASSES = ("ant", 'bee, "the" one', "=cat", "dog\x1b")
# (index, given, suggested, kind), most suspicious first.
SHOWN = [(7, 2, 0, "closed"), (3, 0, 1, "open"), (9, 0, 3, "closed"), (1, 1, 2, "clean"),
         (5, 2, 1, "closed")]  # fmt: skip
HEADER = "index,path,given_class,verdict,class\n"
ORDER = "[...document.querySelectorAll('tbody tr')].map((row) => Number(row.dataset.index))"
FOCUSED = "Number(document.activeElement.closest('tr')?.dataset.index ?? -1)"
PRESSED = (
    "Object.fromEntries([...document.querySelectorAll('tbody [aria-pressed=true]')].map((b) =>"
    " [b.closest('tr').dataset.index, b.dataset.verdict]))"
)
COUNT = "document.querySelector('#count').value"
RESULTS = {
    "dataset": "beasts", "title": "CE", "train_images": 10, "test_images": 10,
    "image_shape": [8, 8, 3], "classes": 4, "devices": "1 x cpu", "teacher_kind": "none",
    "teacher_title": None,
    "noise_kind": "none", "test_labels": "given", "test_accuracy": 0.5,
    "best_test_accuracy": 0.5, "versions": {},
}  # fmt: skip
SAID = "document.querySelector('#said').value"


def written(path, shown, classes=CLASSES, files=True):
    """A page of suspects."""
    suspects = [
        gallery.Suspect(index, gallery.thumbnail(np.full((8, 8, 3), index % 256, np.uint8)), given,
                        suggested, kind, None, 0.9 - 1e-4 * i, 0.5, None,
                        f"=train/{index}, a.png" if files else None)
        for i, (index, given, suggested, kind) in enumerate(shown)
    ]  # fmt: skip
    kept_under = " ".join(f"{index}:{given}" for index, given, *_ in shown)
    page.write(path, RESULTS, default().to_dict(), [], suspects, classes, "python launch.py",
               kept_under)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = written(tmp_path_factory.mktemp("page") / "report.html", SHOWN)
    with chromium.opened(path, width=1200) as opened:
        yield opened


@pytest.fixture
def review(browser):
    """A page on which nothing has been done."""
    browser.evaluate("localStorage.clear()")
    browser.reload()
    assert browser.evaluate(ORDER) == [7, 3, 9, 1, 5]
    assert browser.evaluate(PRESSED) == {}
    yield browser
    assert browser.problems == []


def focus(browser, index):
    browser.evaluate(f"document.querySelector('tbody tr[data-index=\"{index}\"]').focus()")


def button(index, verdict):
    return f'tr[data-index="{index}"] button[data-verdict="{verdict}"]'


def choose(browser, field, value):
    """Chooses in a filter."""
    browser.evaluate(
        f"(() => {{ const e = document.querySelector('#filter-{field}'); e.value = '{value}';"
        " e.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )


def saved(browser, folder):
    return browser.download(folder, lambda: browser.click("#save"))


def row(index, verdict, name):
    """What corrections.csv has of an image, made without the page."""
    given = next(CLASSES[given] for number, given, *_ in SHOWN if number == index)
    cells = [index, cell(f"=train/{index}, a.png"), cell(given), verdict, name and cell(name)]
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def test_a_key_is_a_verdict_and_leads_to_the_next_card(review, tmp_path):
    focus(review, 7)
    for key, place in (("k", 3), ("s", 9), ("r", 1), ("u", 5), ("s", 5)):
        review.press(key)
        assert review.evaluate(FOCUSED) == place
    assert review.evaluate(COUNT) == "5 of 5 reviewed: 1 keep, 1 suggestion, 2 remove, 1 unsure"
    assert review.evaluate(SAID) == "image 5: suggestion"
    # Of an open one, which shows none of the classes, the suggestion is to remove it.
    assert saved(review, tmp_path) == HEADER + "".join(
        [row(7, "keep", "=cat"), row(3, "remove", ""), row(9, "remove", ""), row(1, "unsure", ""),
         row(5, "suggestion", CLASSES[1])]
    )  # fmt: skip


@pytest.mark.parametrize("verdict", ["keep", "suggestion", "remove", "unsure"])
def test_a_click_is_a_verdict_and_a_second_one_takes_it_back(review, verdict):
    review.click(button(9, verdict))
    assert review.evaluate(PRESSED) == {"9": verdict}
    assert review.evaluate(COUNT) == f"1 of 5 reviewed: 1 {verdict}"
    assert review.evaluate(FOCUSED) == 9
    review.click(button(9, verdict))
    assert review.evaluate(PRESSED) == {}


def test_another_class_is_found_by_typing(review, tmp_path):
    focus(review, 7)
    review.press("c")
    for key in "THE":
        review.press(key)
    assert review.evaluate("document.querySelector('#choose output').value") == "1 of 4 classes"
    review.press("Enter")
    assert review.evaluate(FOCUSED) == 3
    review.click(button(3, "class"))
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        review.press(key)
    review.click(button(9, "class"))
    review.press("x")
    review.press("Enter")  # nothing is called so but one: dog\x1b
    assert saved(review, tmp_path) == HEADER + (
        row(7, "class", CLASSES[1]) + row(3, "class", "=cat") + row(9, "class", "dog\x1b")
    )
    chosen = "document.querySelector('tr[data-index=\"9\"] .verdict bdi').innerText"
    assert review.evaluate(chosen) == r"→ dog\x1b"


def test_what_is_saved_is_what_a_run_reads(review, tmp_path):
    focus(review, 7)
    for key in ("k", "r", "c", "ArrowDown", "Enter"):
        review.press(key)
    saved(review, tmp_path)
    read = corrections.read(tmp_path / "corrections.csv")
    assert [(c.index, c.given_class, c.verdict, c.class_name) for c in read] == [
        (7, "=cat", "keep", "=cat"), (3, "ant", "remove", ""), (9, "ant", "class", CLASSES[1])
    ]  # fmt: skip
    assert [c.path for c in read] == [f"=train/{index}, a.png" for index in (7, 3, 9)]


def test_a_choice_that_is_called_off_or_fits_nothing_changes_nothing(review):
    for keys in (["Escape"], [*"zebra", "Enter"]):
        focus(review, 7)
        review.press("c")
        for key in keys:
            review.press(key)
        assert review.evaluate(COUNT) == "0 of 5 reviewed"
        assert not review.evaluate("document.querySelector('#choose').open")


def test_every_step_can_be_undone(review):
    focus(review, 7)
    for key in "krs":
        review.press(key)
    review.press("k")
    assert review.evaluate(PRESSED) == {"7": "keep", "3": "remove", "9": "suggestion", "1": "keep"}
    review.press("z")
    assert review.evaluate(FOCUSED) == 1  # where what is undone was done
    review.press("z")
    assert review.evaluate(PRESSED) == {"7": "keep", "3": "remove"}
    focus(review, 3)
    review.press("u")
    review.click("#undo")
    assert review.evaluate(PRESSED) == {"7": "keep", "3": "remove"}
    review.click("#undo")
    review.click("#undo")
    assert review.evaluate(PRESSED) == {}
    assert review.evaluate("document.querySelector('#undo').disabled")


def test_n_takes_a_verdict_back_and_a_letter_in_a_field_is_none(review):
    focus(review, 7)
    review.press("k")
    focus(review, 7)
    review.press("n")
    assert review.evaluate(PRESSED) == {}
    review.evaluate("document.querySelector('#filter-kind').focus()")
    review.press("r")
    assert review.evaluate(COUNT) == "0 of 5 reviewed"


def test_one_verdict_for_all_that_are_selected(review, tmp_path):
    review.click('tr[data-index="3"] input')
    review.click('tr[data-index="1"] .remark', shift=True)
    assert review.evaluate("document.querySelector('#selection output').value") == "3 selected:"
    review.click("#selection button[data-verdict=remove]")
    assert review.evaluate(PRESSED) == {"3": "remove", "9": "remove", "1": "remove"}
    assert not review.evaluate("document.querySelector('#selection').checkVisibility()")
    review.click("#all")
    review.press("Tab")
    focus(review, 5)
    review.press("s")  # on one of the selected: for all of them
    assert review.evaluate(PRESSED) == {"7": "suggestion", "3": "remove", "9": "suggestion",
                                        "1": "suggestion", "5": "suggestion"}  # fmt: skip
    review.click("#undo")  # as one step
    assert review.evaluate(PRESSED) == {"3": "remove", "9": "remove", "1": "remove"}
    review.click("#all")
    review.click("#selection button[data-verdict='']")
    assert review.evaluate(PRESSED) == {}
    focus(review, 9)
    for key in ("x", "j", "x", "c", "Enter"):
        review.press(key)
    assert saved(review, tmp_path) == HEADER + row(9, "class", "ant") + row(1, "class", "ant")


def test_a_range_is_selected_from_the_keyboard_and_focus_is_never_lost(review):
    focus(review, 3)
    for key in ("x", "j", "j"):
        review.press(key)
    review.press("X", shift=True)
    assert review.evaluate("[...document.querySelectorAll('[aria-selected=true]')].length") == 3
    review.evaluate("document.querySelector('#selection [data-verdict=unsure]').focus()")
    review.press("Enter")
    assert review.evaluate(PRESSED) == {"3": "unsure", "9": "unsure", "1": "unsure"}
    assert review.evaluate(FOCUSED) == 1  # the buttons for the selected are gone


def test_what_is_selected_and_then_filtered_out_gets_no_verdict(review):
    review.click("#all")
    choose(review, "kind", "closed")
    review.click("#selection button[data-verdict=keep]")
    choose(review, "kind", "")
    assert review.evaluate(PRESSED) == {"7": "keep", "9": "keep", "5": "keep"}


@pytest.mark.parametrize(
    ("kind", "order"), [("clean", [1]), ("closed", [7, 9, 5]), ("open", [3]), ("", [7, 3, 9, 1, 5])]
)
def test_it_filters_by_kind(review, kind, order):
    choose(review, "kind", kind)
    assert review.evaluate(ORDER) == order
    choose(review, "kind", "")


def test_it_filters_by_verdict_and_goes_on_as_cards_drop_out(review):
    choose(review, "verdict", "none")
    focus(review, 3)
    review.press("k")
    assert review.evaluate(ORDER) == [7, 9, 1, 5]
    assert review.evaluate(FOCUSED) == 9
    for key in "rrr":
        review.press(key)
    assert review.evaluate(ORDER) == [7]
    assert review.evaluate(FOCUSED) == 7
    review.press("u")
    assert review.evaluate(ORDER) == []
    assert review.evaluate("document.activeElement.id") == "start"  # focus is not lost
    choose(review, "verdict", "remove")
    assert review.evaluate(ORDER) == [9, 1, 5]
    choose(review, "verdict", "any")
    assert review.evaluate(ORDER) == [7, 3, 9, 1, 5]
    review.evaluate("document.querySelector('#filters').reset()")


def test_verdicts_are_there_after_a_reload_and_go_on_elsewhere(review, tmp_path):
    focus(review, 7)
    for key in ("k", "s", "u", "c", "Enter"):
        review.press(key)
    verdicts = {"7": "keep", "3": "remove", "9": "unsure", "1": "class"}
    review.reload()
    assert review.evaluate(PRESSED) == verdicts
    text = saved(review, tmp_path)
    review.evaluate("localStorage.clear()")
    review.reload()
    assert review.evaluate(PRESSED) == {}
    # As a spreadsheet may have written it, and with an image that this page does not show.
    other = '40,"a ""b"".png",ant,keep,ant\n'
    file = tmp_path / "mine.csv"
    file.write_bytes(b"\xef\xbb\xbf" + (text + other).replace("\n", "\r\n").encode())
    load(review, file)
    assert review.evaluate(SAID) == "5 verdicts loaded from mine.csv"
    assert review.evaluate(PRESSED) == verdicts
    assert review.evaluate(COUNT).endswith("; 1 for images not on this page")
    again = tmp_path / "again"
    again.mkdir()
    assert saved(review, again) == text + other
    review.click("#undo")
    assert review.evaluate(PRESSED) == {}


PATH_OF_7 = cell("=train/7, a.png")
PATH_CELL = f'"{PATH_OF_7}"'

# What a run reads: the training images 0 to 9, of which the page shows five, and two to test on.
LABELS = np.array([0, 1, 3, 0, 1, 2, 3, 2, 0, 0], np.int32)
DATA = Dataset(
    "beasts", np.zeros((10, 8, 8, 3), np.uint8), LABELS, np.zeros((2, 8, 8, 3), np.uint8),
    LABELS[:2], {}, tuple(map(shown, CLASSES)),
    train_files=tuple(f"=train/{i}, a.png" for i in range(10)), test_files=("test/a", "7"),
)  # fmt: skip


def read_by_a_run(file):
    """The labels of both splits, and which images of them stay, after a corrections.csv."""
    given = labels.give(DATA, "none", 0.0, seed=0)
    after = corrected.applied(DATA, given, corrections.read(file))
    review = after.labels.review
    parts = after.labels.given, after.data.test_labels, after.train_rows, after.test_rows
    return [part.tolist() for part in (*parts, review.train, review.test)]


@pytest.mark.parametrize(
    ("text", "pressed", "away"),
    [
        (HEADER + ",test/a,ant,remove,\n0,test/a,,remove,\n", {}, 2),  # of a picture to test on
        (HEADER + "7,7,,class,ant\n", {}, 1),  # and one that is called like an index
        (f"path,verdict,class\n{PATH_CELL},keep,\n", {"7": "keep"}, 0),
        (f"path,verdict\n{PATH_CELL.replace(chr(39), '')},remove\n", {"7": "remove"}, 0),
        ("verdict,index,mine\n keep , 007 ,x\n\nunsure,8,y\n", {"7": "keep"}, 1),
        (HEADER + "7,,,suggestion,ant\n\n8,,,keep,\n", {"7": "suggestion"}, 1),
        (HEADER + f"99,{PATH_CELL},,keep,\n", {}, 1),  # a path goes before an index
        (HEADER + "7,,=cat,class,dog\\x1b\n", {"7": "class"}, 0),
        (HEADER + "7,,'=cat,keep,=cat\n7,,,suggestion,'=cat\n", {"7": "keep"}, 0),
        (HEADER + '8,,,class,"bee, ""the"" one"\n4,,,keep,\n4,,,class,"bee, ""the"" one"\n', {}, 2),
        (' index,verdict,note\r\n7,keep,a "b"\r3,remove,"x\r\ny"', {"7": "keep", "3": "remove"}, 0),
        ("index,verdict\n", {}, 0),
    ],
)  # fmt: skip
def test_a_file_that_a_run_accepts_is_accepted_and_comes_to_the_same(
    review, tmp_path, text, pressed, away
):
    file = tmp_path / "mine.csv"
    file.write_text(text, newline="")
    wanted = read_by_a_run(file)
    load(review, file)
    assert review.evaluate(SAID) == f"{len(pressed) + away} verdicts loaded from mine.csv"
    assert review.evaluate(PRESSED) == pressed
    told = review.evaluate(COUNT)
    assert told.endswith(f"; {away} for images not on this page") == (away > 0)
    if pressed or away:
        review.reload()  # by way of the browser's store
        assert review.evaluate(PRESSED) == pressed
        again = tmp_path / "again"
        again.mkdir()
        saved(review, again)
        assert read_by_a_run(again / "corrections.csv") == wanted


def load(browser, file):
    browser.evaluate("document.querySelector('#said').value = ''")
    browser.choose_file("#file", file)
    told = f"new Promise((r) => {{ const f = () => ({SAID} ? r() : setTimeout(f, 5)); f(); }})"
    browser.evaluate(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("index,given_label\n1,2\n", "it needs the columns verdict, class, and path or index"),
        ("verdict,class\nkeep,ant\n", "it needs the columns"),
        ("index,verdict,index\n7,keep,7\n", "and path or index, each once"),
        ("\nindex,verdict\n7,keep\n", "it needs the columns"),
        ("", "it needs the columns"),
        (HEADER + f'7,"{PATH_OF_7}",ant,keep,ant\n', "line 2: the label of image 7 is '=cat here"),
        (HEADER + f'7,"{PATH_OF_7}",\'=cat,keep,ant\n', "line 2: keep means '=cat here, not ant"),
        (HEADER + "7,,,keep,ant\n", "line 2: keep means '=cat here, not ant"),
        (HEADER + f'7,"{PATH_OF_7}",\'=cat,class,cow\n', "line 2: cow is not a class of this run"),
        (HEADER + "8,,cow,remove,\n", "line 2: cow is not a class of this run"),
        (HEADER + f'7,"{PATH_OF_7}",\'=cat,remove,ant\n', "line 2: the verdict remove cannot"),
        (HEADER + "8,,ant,unsure,ant\n", "line 2: the verdict unsure cannot have the class ant"),
        (HEADER + "8,,ant,class,\n", "the verdict class cannot have an empty class"),
        (HEADER + f'7,"{PATH_OF_7}",\'=cat,drop,\n', "line 2: the verdict is drop; expected one"),
        (HEADER + "\n8,,ant,unsure,\n\nx,,ant,unsure,\n", "line 5: x is not an index"),
        (HEADER + "-1,,ant,unsure,\n", "line 2: -1 is not an index"),
        (HEADER + "1234567890123456789,,ant,unsure,\n", "is not an index"),
        (HEADER + ",,ant,unsure,\n", "line 2: it has neither a path nor an index"),
        (HEADER + "8,,ant,unsure\n", "line 2: it has 4 cells, but the header has 5"),
        (HEADER + '8,"a,ant,unsure,\n', "line 2 has a misplaced quote"),
        (HEADER + '8,"a"b,ant,unsure,\n', "line 2 has a misplaced quote"),
        (HEADER + "7,,,keep,\n007,,,remove,\n", "line 3: remove  contradicts another row"),
        (HEADER + "8,,,unsure,\n8,,,keep,\n8,,,remove,\n", "contradicts another row"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_named(review, tmp_path, text, told):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(InputError):
        read_by_a_run(file)
    load(review, file)
    assert review.evaluate(SAID).startswith("bad.csv was not loaded: ")
    assert told in review.evaluate(SAID)
    assert review.evaluate(COUNT) == "0 of 5 reviewed"


def test_another_runs_page_in_the_same_browser_does_not_mix(review, tmp_path):
    focus(review, 7)
    review.press("k")
    # All files are of one origin to Chromium, and have one store.
    other = written(tmp_path / "other.html", [(7, 3, 0, "closed"), *SHOWN[1:]])
    here = review.evaluate("location.href")
    keys = "Object.keys(localStorage).length"
    for url, count in ((other.as_uri(), "0 of 5 reviewed"), (here, "1 of 5 reviewed: 1 keep")):
        review.go(url)
        assert review.evaluate(keys) == 1
        assert review.evaluate(COUNT) == count


def test_a_second_tab_with_the_page_is_followed(review):
    """What it wrote is seen here, and not written over."""
    focus(review, 7)
    review.press("k")
    review.evaluate(
        "(() => { const key = Object.keys(localStorage)[0];"
        f" const newValue = {json.dumps(HEADER + row(9, 'unsure', ''))};"
        " localStorage.setItem(key, newValue);"
        " dispatchEvent(new StorageEvent('storage', {key, newValue})); })()"
    )
    assert review.evaluate(PRESSED) == {"9": "unsure"}
    focus(review, 3)
    review.press("u")
    review.reload()
    assert review.evaluate(PRESSED) == {"9": "unsure", "3": "unsure"}


def test_one_of_thousands_of_classes_is_found(tmp_path):
    classes = tuple(f"class {i}" for i in range(3000))
    path = written(tmp_path / "report.html", SHOWN, classes)
    with chromium.opened(path, width=1200) as opened:
        opened.evaluate("localStorage.clear()")
        focus(opened, 7)
        opened.press("c")
        told = "document.querySelector('#choose output').value"
        assert opened.evaluate(told) == "3000 of 3000 classes, the first 200 listed"
        for key in "2999":
            opened.press(key)
        assert opened.evaluate(told) == "1 of 3000 classes"
        opened.press("Enter")
        chosen = "document.querySelector('tr[data-index=\"7\"] .verdict bdi').textContent"
        assert opened.evaluate(chosen) == "→ class 2999"
        assert opened.problems == []


def test_where_the_browser_keeps_nothing_it_says_so_and_goes_on(tmp_path):
    path = written(tmp_path / "report.html", SHOWN, files=False)
    with chromium.opened(path, width=1200) as opened:
        kept = "document.querySelector('#kept').textContent"
        assert opened.evaluate(kept) == "This browser stores them until you save them."
        refused = "{get() { throw new DOMException('denied', 'SecurityError'); }}"
        opened.send("Page.addScriptToEvaluateOnNewDocument",
                    source=f"Object.defineProperty(window, 'localStorage', {refused})")  # fmt: skip
        opened.reload()
        assert opened.evaluate(kept).startswith("This browser does not store them: save")
        focus(opened, 7)
        opened.press("r")
        assert saved(opened, tmp_path) == HEADER + "7,,'=cat,remove,\n"
        assert opened.problems == []


def test_arrows_go_by_cards_and_by_rows_of_cards(review):
    across = review.evaluate(
        "(() => { const rows = [...document.querySelectorAll('tbody tr')];"
        " return rows.filter((row) => row.offsetTop === rows[0].offsetTop).length; })()"
    )
    order = [7, 3, 9, 1, 5]
    assert 1 < across < 5
    focus(review, 7)
    for key, place in (("ArrowRight", 1), ("j", 2), ("ArrowLeft", 1), ("ArrowDown", 1 + across),
                       ("ArrowUp", 1), ("ArrowUp", 1)):  # fmt: skip
        review.press(key)
        assert review.evaluate(FOCUSED) == order[place]


def test_the_keys_are_told(review):
    focus(review, 7)
    review.press("?")
    assert review.evaluate("document.querySelector('#keys').open")
    review.press("Escape")
    assert review.evaluate(FOCUSED) == 7


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A page of 2,000 cards, with pictures as large as those of photos get."""
    rng = np.random.default_rng(0)
    suspects = [
        gallery.Suspect(i, gallery.thumbnail(rng.integers(0, 256, (96, 96, 3)).astype(np.uint8),
                                             7_500),
                        i % 4, (i + 1) % 4, "closed", -1, 1 - i / 2000, 0.5, None, f"train/{i}.png")
        for i in range(2000)
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "report.html"
    results = RESULTS | {"train_images": 2000, "image_shape": [96, 96, 3]}
    page.write(path, results, default().to_dict(), [], suspects, CLASSES, "python launch.py",
               "large")  # fmt: skip
    return path


def test_two_thousand_cards_are_no_burden(large, tmp_path):
    assert large.stat().st_size < 20e6
    with chromium.opened(large, width=1200) as opened:
        assert opened.evaluate(ORDER) == list(range(50))
        first = (
            "new Promise((r) => new PerformanceObserver((list) => list.getEntries()"
            ".filter((e) => e.name === 'first-contentful-paint').forEach((e) => r(e.startTime)))"
            ".observe({type: 'paint', buffered: true}))"
        )
        assert opened.evaluate(first) < 5_000  # ms; a quarter of a second where nothing else runs
        opened.click("#next")
        assert opened.evaluate(ORDER) == list(range(50, 100))
        assert opened.evaluate("document.querySelector('#page').value") == "page 2 of 40"
        assert opened.evaluate("[...document.images].every((image) => image.naturalWidth > 0)")
        focus(opened, 99)
        opened.press("k")
        assert opened.evaluate(FOCUSED) == 100  # over the page's edge
        begun = time.perf_counter()
        for _ in range(100):
            opened.press("r")
        assert time.perf_counter() - begun < 20
        assert opened.evaluate(FOCUSED) == 200
        opened.evaluate("document.querySelector('#all').click()")
        opened.evaluate("document.querySelector('#selection [data-verdict=unsure]').click()")
        assert opened.evaluate(COUNT) == "2000 of 2000 reviewed: 2000 unsure"
        opened.click("#undo")
        opened.reload()
        assert opened.evaluate(COUNT) == "101 of 2000 reviewed: 1 keep, 100 remove"
        rows = list(csv.reader(io.StringIO(saved(opened, tmp_path))))
        assert [int(row[0]) for row in rows[1:]] == list(range(99, 200))
        assert opened.problems == []
