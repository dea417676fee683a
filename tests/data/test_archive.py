"""A good zip becomes a folder; one that could do harm becomes an error and nothing else."""

import stat
import zipfile

import pytest

from rmdnet_jax.data import archive
from rmdnet_jax.errors import InputError


def zipped(path, files):
    """A zip of {name or ZipInfo: bytes}."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        for name, content in files.items():
            members.writestr(name, content)
    return path


def special(name, kind):
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o777) << 16
    return member


def test_files_and_folders_come_out_without_what_is_hidden(tmp_path):
    files = {
        "pets/": b"", "pets/cat/a 1.png": b"1", "pets\\dog\\ü.png": b"2",
        "__MACOSX/pets/cat/._a 1.png": b"3", "pets/.DS_Store": b"4", "pets/cat/a..b.png": b"5",
    }  # fmt: skip
    folder = tmp_path / "new" / "folder"
    archive.unpack(zipped(tmp_path / "pets.zip", files), folder, 1e6)
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    expected = {"pets/cat/a 1.png": b"1", "pets/dog/ü.png": b"2", "pets/cat/a..b.png": b"5"}
    assert found == expected
    assert [p.name for p in folder.parent.iterdir()] == ["folder"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"a.png": b"", "../b.png": b""}, "leads out"),
        ({"a/../../b.png": b""}, "leads out"),
        ({"..\\b.png": b""}, "leads out"),
        ({"/b.png": b""}, "leads out"),
        ({"C:\\b.png": b""}, "leads out"),
        ({special("a", stat.S_IFLNK): b"/etc"}, "a link"),
        ({special("a", stat.S_IFIFO): b""}, "a link or the like"),
        ({"a.png": b"", "b.png": bytes(100_001)}, "more than 0.0001 GB"),
        ({f"{i}.png": b"" for i in range(25)}, "more than 0.0001 GB"),  # a block each
        ({"a": b"", "a/b.png": b""}, "cannot be unpacked"),
    ],
)
def test_what_could_do_harm_is_refused_and_nothing_written(files, says, tmp_path):
    file = zipped(tmp_path / "bad.zip", files)
    with pytest.raises(InputError, match=says) as error:
        archive.unpack(file, tmp_path / "out", 1e5)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_whole_zip_is_refused(tmp_path):
    whole = zipped(tmp_path / "a.zip", {"a.png": bytes(range(256)) * 9}).read_bytes()
    # The size that the list of members tells is that which was counted; a member that holds more
    # is cut there, and no longer matches its checksum.
    listed = whole.rindex(b"PK\x01\x02") + 24
    lying = whole[:listed] + (10).to_bytes(4, "little") + whole[listed + 4 :]
    locked = bytearray(whole)
    locked[whole.rindex(b"PK\x01\x02") + 8] |= 1
    cases = {b"": "cannot", whole[:-9]: "cannot", lying: "cannot", bytes(locked): "password"}
    for content, says in cases.items():
        (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(InputError, match=says):
            archive.unpack(tmp_path / "b.zip", tmp_path / "out", 1e6)
    with pytest.raises(InputError, match="cannot"):
        archive.unpack(tmp_path / "none.zip", tmp_path / "out", 1e6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    file = zipped(tmp_path / "a.zip", {"a.png": b"1"})
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="there already"):
        archive.unpack(file, tmp_path / "out", 1e6)
    assert not list((tmp_path / "out").iterdir())
