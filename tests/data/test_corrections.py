"""A corrections.csv: what is one, and what its rows say."""

import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import corrections


def test_a_row_is_read_by_its_columns_whatever_their_order(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text('verdict, path,note,class\nkeep,"a,b.png",mine,\n remove ,\'=x.png,,\n')
    kept, removed = corrections.read(path)
    assert (kept.path, kept.index, kept.verdict, kept.class_name) == ("a,b.png", None, "keep", "")
    assert (removed.path, removed.given_class, removed.verdict) == ("=x.png", "", "remove")
    assert kept.where == f"{path}, line 2"


def test_a_file_with_a_comma_in_its_name_is_one(tmp_path):
    path = tmp_path / "a,b.csv"
    path.touch()
    assert corrections.files(str(path)) == [path]
    names = [str(one) for one in corrections.files(f"{path.with_name('c.csv')}, d.csv")]
    assert names == [str(path.with_name("c.csv")), "d.csv"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has the columns none"),
        (b"a,b\n", "has the columns 'a', 'b'; expected the columns verdict, class, path or ind"),
        (b"index,class\n", "has the columns"),
        (b"index;verdict\n1;keep\n", "'index;verdict', separated by ';'; expected commas"),
        (b"verdict,class\n", "has the columns"),
        (b"index,index,verdict\n", "each once"),
        (b"index,verdict\n1\n", "line 2 has 1 fields; expected 2"),
        (b"index,verdict\n1,\xe9\n", "is not UTF-8"),
        (b'index,verdict\n1,"a"b\n', "cannot be read as CSV"),
    ],
)
def test_what_is_no_table_of_corrections(tmp_path, content, says):
    path = tmp_path / "c.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        corrections.read(path)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match=r"no file '.*c\.csv' with corrections"):
        corrections.read(tmp_path / "c.csv")
