"""What a user meant by a path with blanks around it."""

import pytest

from rmdnet_jax.base import paths


@pytest.mark.parametrize("given", [" a.csv", "a.csv ", "\ta.csv\n"])
def test_a_path_that_exists_without_its_blanks(given, tmp_path, monkeypatch):
    (tmp_path / "a.csv").touch()
    assert paths.without_blanks(given, tmp_path) == "a.csv"
    assert paths.without_blanks(given) == ""  # relative to another folder there is none
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.without_blanks(given) == "a.csv"
    assert paths.without_blanks(f" ~/{given.strip()}") == "~/a.csv"
    assert paths.right(given, "expected a file") == "did you mean 'a.csv'? Expected a file"
    (tmp_path / given).touch()  # blanks may be part of a name
    assert paths.without_blanks(given) == ""


@pytest.mark.parametrize("given", ["", " ", "a.csv", "b.csv", "b.csv "])
def test_nothing_is_guessed_otherwise(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").touch()
    assert paths.without_blanks(given) == ""
    assert paths.right(given, "expected a file") == "expected a file"
