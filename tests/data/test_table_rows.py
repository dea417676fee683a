"""Rows of a CSV file by column, and values of other tables as CSV would have them. What is wrong is
told by its line: tests/data/test_manifest_source.py has more of that."""

import math

import pytest

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.data import table_rows


def rows(folder, content, **options):
    (folder / "x.csv").write_bytes(content)
    return [(where.split(", ")[1], row) for where, row in
            table_rows.of_csv(folder / "x.csv", **options)]  # fmt: skip


def test_rows_come_by_column_with_their_lines(tmp_path):
    found = rows(tmp_path, '\ufeffa , b\n1,"x\ny"\n\n2, é\n'.encode())
    assert found == [("line 3", {"a": "1", "b": "x\ny"}), ("line 5", {"a": "2", "b": " é"})]
    assert rows(tmp_path, b"") == []


def test_the_columns_are_checked_before_any_row(tmp_path):
    def check(columns):
        assert columns == ["a", "b", "a"]
        raise InputError("a twice")

    with pytest.raises(InputError, match="a twice"):
        rows(tmp_path, b"a,b,a\n1\n", check=check)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a,b\n1,2\n3\n", "x.csv, line 3 has 1 fields; expected 2"),
        (b"a\n\xff\n", "x.csv is not UTF-8"),
        (b'a\n"1\n', "x.csv cannot be read as CSV"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, content, says):
    with pytest.raises(InputError, match=says):
        rows(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"path;label\n1;2\n", "has the header 'path;label', separated by ';'; expected commas"),
        (b'"path";"label"\n', "separated by ';'; expected commas"),  # csv alone: a stray quote
        (b"\xef\xbb\xbfpath;label", "has the header 'path;label', separated by ';'"),
        (b"path\tlabel\r\n1\t2\r\n", r"has the header 'path\tlabel', separated by a tab; expec"),
        (b"sep=;\npath;label\n", "has the header 'sep=;', separated by ';'"),
    ],
)
def test_other_separators_are_named(tmp_path, content, says):
    def check(columns):
        raise AssertionError("columns of another separator")

    with pytest.raises(InputError) as caught:
        rows(tmp_path, content, check=check)
    assert str(caught.value).startswith(str(tmp_path / "x.csv"))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_separator_may_be_part_of_a_name_in_a_table_with_commas(tmp_path):
    assert rows(tmp_path, b"a;b,c\n1;2,3\n") == [("line 2", {"a;b": "1;2", "c": "3"})]
    assert rows(tmp_path, b"a\t\n1\n") == [("line 2", {"a": "1"})]


@pytest.mark.parametrize(
    ("value", "text"), [("é ", "é "), (7, "7"), (-1.0, "-1"), (None, ""), (math.nan, "")]
)
def test_a_value_is_text(value, text):
    assert table_rows.text(value, "label", "row 1") == text


@pytest.mark.parametrize(("value", "kind"), [(True, "bool"), (0.5, "float"), ([1], "list")])
def test_a_value_that_is_neither_text_nor_a_whole_number_is_refused(value, kind):
    with pytest.raises(InputError, match=f"row 7: the split is {kind}; expected text or a whole"):
        table_rows.text(value, "split", "row 7")
