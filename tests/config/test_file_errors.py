"""A value of the wrong type in a config file is told with its place, field and allowed values."""

import traceback

import pytest

from rmdnet_jax.config import default, file_errors

# A line of a config file -> what is said of it.
LINES = {
    "c.train.lr = '0.1'": "config.train.lr is '0.1'; expected a number > 0, up to 1e+30",
    "c.model.width = 2.0": "config.model.width is 2.0; expected a whole number from 1 to 1,024",
    "c.teacher.update(width=2.5)": "config.teacher.width is 2.5; expected a whole number from 0 to "
    "1,024",
    "c['dataset']['workers'] = 'a\\nb'": r"config.dataset.workers is 'a\nb'; expected a whole "
    "number from -1 to 1,024",
    "c.loss.t = 2.5": "config.loss.t is 2.5; expected a whole number from 1 to 10,000",
    "c.seed = 'x'": "config.seed is 'x'; expected a whole number from 0 to 4,294,967,295",
    "c.loss = 'gce'": "config.loss is 'gce'; expected values of its fields, such as "
    "config.loss.name",
    "setattr(one, 'lr', '1')": "config.rm.lr, or another field lr, is '1'; expected a number up to "
    "1e+30",
}  # fmt: skip


def raised(line, tmp_path):
    """The traceback of a config file with this line."""
    file = tmp_path / "mine.py"
    file.write_text(f"def get_config(c, one):\n    {line}\n")
    space = {}
    exec(compile(file.read_text(), str(file), "exec"), space)
    config = default()
    with pytest.raises((TypeError, ValueError)) as caught:
        space["get_config"](config, config.rm)
    return "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("line", LINES)
def test_the_file_the_field_and_what_is_expected_are_told(line, tmp_path):
    told = file_errors.wrong_type(raised(line, tmp_path))
    assert str(told) == f"{tmp_path / 'mine.py'}, line 2: {LINES[line]}"


def test_another_error_is_not_told_here(tmp_path):
    assert file_errors.wrong_type(raised("int('x')", tmp_path)) is None
    assert file_errors.wrong_type("Could not override field 'lr'") is None
