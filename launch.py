"""Runs an experiment: python launch.py --config=configs/NAME.py[:ARGUMENT]
[--config.FIELD=VALUE ...] [--workdir=DIR] [--sweep=FIELD=VALUE,VALUE ...]

or uses its classifier: python launch.py --predict=FOLDER --workdir=DIR [--predict_to=FILE.csv]

or writes a corrected data set: python launch.py --apply=corrections.csv --config=... --out=FOLDER
[--copy | --link] (docs/corrections.md)

or exports its results to other tools: python launch.py --export=FORMAT --workdir=DIR --out=FILE
FORMAT is onnx, fiftyone, labelstudio or cleanlab (docs/exchange.md)

A method trains a classifier on labels of which some are wrong, and a teacher may guide it. The same
command resumes a run that was stopped.
--sweep tries every combination of values and selects one without true labels (docs/sweeps.md).

Exit status: 0 done; 2 the config, the data or the workdir cannot be used (one line on stderr states
why); 3 the loss is no longer finite, or the teacher has collapsed (rm.on_collapse=stop); 4 another
process of the run has stopped; 143 and 130 a signal (SIGTERM, Ctrl-C) stopped it, and a checkpoint
was saved.
"""

import ast
import contextlib
import faulthandler
import io
import os
import re
import shlex
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent

from rmdnet_jax.base.cache import cache_folder  # noqa: E402

# Compiled programs are cached between runs. This must be set before config files import JAX.
if cache := cache_folder():
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # clu's TensorBoard writers import TensorFlow
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # else TensorFlow prints a note on every start

from absl import flags  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from rmdnet_jax.base.errors import (  # noqa: E402
    DivergedError,
    InputError,
    LostProcessError,
    StoppedError,
)
from rmdnet_jax.machine import cpu  # noqa: E402

_HELP = {"--help", "-h", "-help", "--helpfull"}


def run(argv: list[str]) -> int:
    """Runs a command line (the program's name first); an error is printed in one line.

    Returns:
      The exit status.
    """
    try:
        if _HELP & set(argv):
            print(_help(), flush=True)
            return 0
        with contextlib.suppress(FileNotFoundError):  # the folder may have been removed
            sys.path.append(os.getcwd())  # for a user's own my_module:my_loss
        _run(_parse(argv), argv)
    except InputError as error:
        return _told(error, 2)
    except DivergedError as error:
        return _told(error, 3)
    except LostProcessError as error:
        return _told(error, 4)
    except StoppedError as error:
        return _told(error, error.status)
    except BrokenPipeError:  # the reader of the output is gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return 0


def _told(error: BaseException, status: int) -> int:
    print(f"error: {error}", file=sys.stderr, flush=True)
    return status


def _run(given: flags.FlagValues, argv: list[str]) -> None:
    if given.predict_to is not None and given.predict is None:
        raise InputError("--predict_to without --predict; expected both, or neither")
    _check_apply(given)
    if given.export is not None:
        _export(given)
        return
    if given.predict is None and given.config is None:
        if given["config"].present:
            raise InputError("get_config() of the config file returns None; expected a ConfigDict")
        raise InputError("no --config; give one of " + ", ".join(_configs()))
    if given.predict and (given.config or not given.workdir):
        raise InputError("--predict needs the --workdir of a finished run, and no --config")
    if given.predict is not None:
        from rmdnet_jax.runs import prediction

        print(prediction.write(given.predict, str(given.workdir), given.predict_to))
        return
    from rmdnet_jax.machine import hosts
    from rmdnet_jax.runs import start
    from rmdnet_jax.training import stopping

    if given.apply is not None:
        from rmdnet_jax.runs import corrected_set

        how = "copy" if given.copy else "link" if given.link else ""
        with stopping.on_signals():
            print(corrected_set.write(given.config, given.apply, given.out, how))
        return
    job = start.job(given.config, given.sweep, config_flags.get_override_values(given["config"]))
    if given.distributed or hosts.wanted():
        job.check_distributed()
        cpu.be_patient()
        hosts.join()
    else:
        cpu.use_cores(job.batch_sizes)
    workdir = Path(os.path.expanduser(given.workdir or f"runs/{_config_name(given)}"))
    with stopping.on_signals(), hosts.noticing_losses():
        job.run(workdir, shlex.join(["python", *argv]))


def _export(given: flags.FlagValues) -> None:
    """Runs --export; raises InputError for flags that cannot be combined with it."""
    from rmdnet_jax.runs import exporting

    for name in ("apply", "config", "predict", "sweep", "distributed"):
        if given[name].value:
            raise InputError(f"--{name} with --export, which trains nothing; expected one of them")
    if not given.workdir or not given.out:
        raise InputError("--export needs the --workdir of a finished run, and --out=FILE")
    print(exporting.write(given.export, given.workdir, given.out))


def _check_apply(given: flags.FlagValues) -> None:
    """Raises InputError for flags that cannot be combined with --apply, or need it."""
    if given.apply is None:
        for name in ("copy", "link", *(("out",) if given.export is None else ())):
            if given[name].value:
                raise InputError(f"--{name} without --apply; expected both, or neither")
        return
    if not given.out or given.config is None:
        raise InputError("--apply needs the --config of the run, and --out=FOLDER for a new folder")
    for name in ("predict", "sweep", "workdir", "distributed"):
        if given[name].value:
            raise InputError(f"--{name} with --apply, which trains nothing; expected one of them")
    if given.copy and given.link:
        raise InputError("--copy with --link; expected one of them")


def _config_name(given: flags.FlagValues) -> str:
    """rgrl_cifar100-gce for configs/rgrl_cifar100.py:gce."""
    file, _, argument = config_flags.get_config_filename(given["config"]).partition(":")
    return Path(file).stem + (f"-{argument}" if argument else "")


def _configs() -> dict[str, str]:
    """The files in configs/ with the first line of their docstrings."""
    files = sorted((ROOT / "configs").glob("[a-z]*.py"))
    documents = {file: ast.get_docstring(ast.parse(file.read_text())) or "" for file in files}
    return {f"configs/{file.name}": text.partition("\n")[0] for file, text in documents.items()}


def _help() -> str:
    from rmdnet_jax.config import checking

    configs = "\n".join(f"  {name:32} {text}" for name, text in _configs().items())
    fields = "\n".join("  " + line for line in checking.text().splitlines())
    return f"{__doc__}\nConfigs:\n{configs}\n\nFields, their defaults and ranges:\n{fields}"


def _flags(argv: list[str]) -> flags.FlagValues:
    """The flags that are defined, to be parsed from `argv`."""
    own = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", None, "What to run: a file in configs/.", own, sys_argv=argv
    )
    flags.DEFINE_bool(
        "distributed", False, "One of several processes; also set by the environment.", own
    )
    flags.DEFINE_string(
        "predict", None, "A folder of pictures to classify with the model in --workdir; "
        "nothing is trained.", own,
    )  # fmt: skip
    flags.DEFINE_string(
        "predict_to", None, "The file that --predict writes; default: WORKDIR/predictions.csv.", own
    )
    flags.DEFINE_string(
        "apply", None, "A corrections.csv, or several as a,b; nothing is trained.", own
    )
    flags.DEFINE_string(
        "export", None, "onnx, fiftyone, labelstudio or cleanlab: format of --out.",
        own,
    )  # fmt: skip
    flags.DEFINE_string(
        "out", None, "The new folder that --apply writes, or the file that --export writes.", own
    )
    flags.DEFINE_bool("copy", False, "--apply copies the pictures into a folder per class.", own)
    flags.DEFINE_bool("link", False, "The same with hard links, where possible.", own)
    flags.DEFINE_multi_string(
        "sweep", [], "FIELD=VALUE,VALUE: try them, select one; rgrl.k alone has defaults.", own
    )
    flags.DEFINE_string("workdir", None, "Folder for the results; default: runs/NAME.", own)
    return own


def _parse(argv: list[str]) -> flags.FlagValues:
    argv, config = _with_config_file(argv)
    given = _flags(argv)
    try:
        _, *stray = given(argv)
    except (AttributeError, KeyError) as error:
        if "has no attribute 'get_config'" in str(error):
            raise InputError(
                "the config file has no get_config(); expected one of configs/"
            ) from error
        raise _unknown_field(error, argv, config) from error
    except (flags.Error, TypeError, ValueError) as error:
        raise _wrong_value(error, config) from error
    except Exception as error:  # whatever a user's config file raises
        reason = f"{type(error).__name__}: {_reason(error)}"
        raise InputError(f"the config file cannot be read ({reason})") from error
    if stray:
        raise InputError(
            f"unexpected argument {stray[0]!r}; fields are set with --config.FIELD=..."
        )
    return given


def _with_config_file(argv: list[str]) -> tuple[list[str], str]:
    """The arguments with an existing config file: one in this folder, if not in the current one;
    and that file with its argument, "" if there is none.

    Raises:
      InputError: there is no such file, or a field's spelling is impossible.
    """
    found, config = list(argv), ""
    for place, argument in enumerate(argv):
        flag, separator, value = argument.partition("=")
        name = flag.lstrip("-").removeprefix("config.")
        if flag.startswith(("--config.", "-config.")) and "-" in name:
            raise InputError(
                f"the config has no field {name!r}; did you mean {name.replace('-', '_')!r}?"
            )
        if flag not in ("--config", "-config"):
            continue
        place, value = (place, value) if separator else (place + 1, "".join(argv[place + 1 :][:1]))
        file, colon, given = value.partition(":")
        file = os.path.expanduser(file)
        if not Path(file).is_file() and (ROOT / file).is_file():
            file = str(ROOT / file)
        if not Path(file).is_file():
            raise InputError(f"no config file {file!r}; expected one of {', '.join(_configs())}")
        config = file + colon + given
        found[place] = ("--config=" if separator else "") + config
    return found, config


def _unknown_field(error: Exception, argv: list[str], config: str) -> InputError:
    """The error for a field, on the command line or in the config file, that does not exist."""
    from rmdnet_jax.config import checking

    field, _, hint = _reason(error).strip("\"'").partition("'")
    given = (argument.lstrip("-").partition("=")[0] for argument in argv)
    fields = _fields(argv[0], config)
    for name in (name.partition("config.")[2] for name in given if name.startswith("config.")):
        for old, new in checking.RENAMED.items():  # also below a table's `cifar10.`
            if name == old or name.endswith(f".{old}"):
                return InputError(f"the config has no field {name!r}; it is now called {new}")
        if fields and not any(f"{known}.".startswith(f"{name}.") for known in fields):
            return InputError(f"the config has no field {name!r}; {checking.hint(name, fields)}")
    for old, new in checking.RENAMED.items():
        if field in (old, old.rpartition(".")[2]):  # a config file's error has the last part only
            hint = hint or f" {old} is now called {new}"
    return InputError(f"the config has no field {field!r};{hint or ' --help lists them'}")


def _fields(program: str, config: str) -> list[str]:
    """The fields of the config file itself; none if it cannot be read, which is the error then."""
    from rmdnet_jax.config import checking

    alone = [program, f"--config={config}"]
    given = _flags(alone)
    try:
        given(alone)
        return list(checking.flat(given.config.to_dict()))
    except Exception:  # whatever a user's config file raises
        return []


def _wrong_value(error: Exception, config: str) -> InputError:
    """The error for a value of another type, in the config file or of a flag: what the field takes,
    if it is a field's."""
    from rmdnet_jax.config import checking, file_errors

    if wrong := file_errors.wrong_type(str(error).replace("\\n", "\n")):
        return wrong
    reason, fields = _reason(error), checking.all_fields()
    if reason.startswith("get_config() takes 0 positional arguments"):
        file = config.partition(":")[0]
        return InputError(f"{file} takes nothing after a colon; expected --config={file}")
    found = re.match(r"flag --config\.([\w.]+)=(.*?): ", reason)
    if found and found[1] in fields:
        reason = fields[found[1]].wrong(f"config.{found[1]}", found[2]) or reason
    return InputError(reason)


def _reason(error: Exception) -> str:
    """The message of a flags error, in one line."""
    text = str(error).strip().replace("\\n", "\n")
    if "Traceback" in text:  # a config file's own error: the traceback's last line has it
        text = text.strip("\"' \n").splitlines()[-1].partition(": ")[2]
    return " ".join(text.replace("\\", "").split())


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    """Prints errors that no thread could raise, except a storage thread's message to a closed event
    loop: when one array of a checkpoint cannot be written, Orbax does not wait for the others."""
    if str(ignored.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(ignored)


if __name__ == "__main__":
    # Until a run begins, Ctrl-C ends it silently, as SIGTERM does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.unraisablehook = _unraisable
    for stream in (sys.stdout, sys.stderr):  # a terminal may lack the letters of a name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    faulthandler.enable()
    cpu.use_large_pages()
    ended = run(sys.argv)
    if ended and "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
        os._exit(ended)  # at once: a normal exit waits for processes that wait for this one
    sys.exit(ended)
