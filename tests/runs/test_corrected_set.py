"""Pictures of one name get numbers in a folder of classes."""

from rmdnet_jax.runs import corrected_set


def rows(*files):
    return [(file, "cat", "train", "") for file in files]


def test_pictures_of_one_name_are_numbered_whatever_the_case():
    found = corrected_set._placed(rows("a/x.jpg", "b/x.jpg", "c/X.JPG", "d/x-2.jpg", "e/x.jpg"))
    names = [place.removeprefix("train/cat/") for place in found]
    assert names == ["x.jpg", "x-2.jpg", "X-3.JPG", "x-2-2.jpg", "x-4.jpg"]


def test_a_name_of_thousands_is_not_tried_with_every_number(monkeypatch):
    tried = []
    alike = corrected_set._alike
    monkeypatch.setattr(corrected_set, "_alike", lambda *name: tried.append(name) or alike(*name))
    found = corrected_set._placed(rows(*(f"{i}/image.jpg" for i in range(2_000))))
    assert len(set(found)) == 2_000
    assert len(tried) <= 3 * 2_000
