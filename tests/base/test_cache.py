"""Where what can be made again is kept: the user's own place for it, or nowhere."""

import os

import pytest

from rmdnet_jax.base.cache import cache_folder


@pytest.mark.parametrize(
    ("given", "home", "folder"),
    [
        ("/elsewhere", "/home/me", "/elsewhere/rmdnet_jax/pictures"),
        (None, "/home/me", "/home/me/.cache/rmdnet_jax/pictures"),
        ("", "/home/me", "/home/me/.cache/rmdnet_jax/pictures"),  # as the XDG rules have it
    ],
)
def test_it_is_the_users(monkeypatch, given, home, folder):
    monkeypatch.setenv("HOME", home)
    if given is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder("pictures") == folder
    assert cache_folder() == os.path.dirname(folder)


def test_who_has_no_home_has_no_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder("pictures") == ""
