"""Runs an experiment: python launch.py --config=configs/NAME.py[:LOSS] [--config.FIELD=VALUE ...]
[--workdir=DIR] [--sweep=FIELD=VALUE,VALUE ...]

or uses its classifier: python launch.py --predict=FOLDER --workdir=DIR

Stage RM learns a teacher from the images alone, stage RGRL a classifier from wrong labels under
the teacher's relation graphs. Started again with the same command, a run goes on where it was.
--sweep tries every combination of values and chooses without true labels (docs/sweeps.md).

Exit status: 0 done; 2 the config, the data or the workdir cannot be used, in one line on stderr;
3 the loss is no longer finite; 4 another process of the run has stopped; 143 and 130 a signal
(SIGTERM, Ctrl-C) stopped it, with a checkpoint.
"""

import ast
import contextlib
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent
with contextlib.suppress(FileNotFoundError):  # where somebody has removed it
    sys.path.append(os.getcwd())  # where a user's own my_module:my_loss lies

from absl import app, flags, logging  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from rmdnet_jax.config import cache_folder  # noqa: E402
from rmdnet_jax.errors import (  # noqa: E402
    DivergedError,
    InputError,
    LostProcessError,
    StoppedError,
)
from rmdnet_jax.training import cpu  # noqa: E402

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to run: a file in configs/.")
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes; also if the environment says so."
)
_PREDICT = flags.DEFINE_string(
    "predict", None, "A folder of pictures for the classifier in --workdir; nothing is trained."
)
_SWEEP = flags.DEFINE_multi_string(
    "sweep", [], "FIELD=VALUE,VALUE: try them, choose one; rgrl.k alone has its own range."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where results go; runs/NAME if not given.")


def main(argv: list[str]) -> None:
    """Runs what the flags name."""
    if len(argv) > 1:
        raise InputError(f"unexpected argument {argv[1]!r}; fields are set with --config.FIELD=...")
    if _PREDICT.value is None and _CONFIG.value is None:
        if flags.FLAGS["config"].present:
            raise InputError("get_config() of the config file returns None; right is a ConfigDict")
        raise InputError("no --config; give one of " + ", ".join(_configs()))
    if _PREDICT.value and (_CONFIG.value or not _WORKDIR.value):
        raise InputError("--predict needs --workdir, that of a finished run, and no --config")
    # Compiled programs are kept between runs, and must be told before JAX is imported.
    if cache := cache_folder():
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", cache)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # clu's TensorBoard writers bring TensorFlow
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # which else tells of it on every start
    logging.set_verbosity(logging.FATAL)  # what Orbax raises it also logs, with a traceback
    if _PREDICT.value is not None:
        from rmdnet_jax import prediction

        print(prediction.write(_PREDICT.value, str(_WORKDIR.value)))
        return
    from rmdnet_jax import start
    from rmdnet_jax.training import hosts, stopping

    job = start.job(_CONFIG.value, _SWEEP.value)
    if _DISTRIBUTED.value or hosts.wanted():
        job.check_distributed()
        hosts.join()
    else:
        cpu.use_cores(job.batch_sizes)
    workdir = Path(_WORKDIR.value or f"runs/{_config_name()}")
    with stopping.on_signals(), hosts.noticing_losses():
        job.run(workdir, shlex.join(["python", *sys.argv]))


def _config_name() -> str:
    """rgrl_cifar100-gce for configs/rgrl_cifar100.py:gce."""
    file, _, argument = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    return Path(file).stem + (f"-{argument}" if argument else "")


def _configs() -> dict[str, str]:
    """The files in configs/ with the first line of what they say of themselves."""
    files = sorted((ROOT / "configs").glob("[a-z]*.py"))
    documents = {file: ast.get_docstring(ast.parse(file.read_text())) or "" for file in files}
    return {f"configs/{file.name}": text.partition("\n")[0] for file, text in documents.items()}


def _help() -> str:
    from rmdnet_jax.config import default

    configs = "\n".join(f"  {name:32} {text}" for name, text in _configs().items())
    fields = "\n".join("  " + line for line in str(default()).strip().splitlines())
    return f"{__doc__}\nConfigs:\n{configs}\n\nFields and their defaults:\n{fields}"


def _parse(argv: list[str]) -> list[str]:
    if {"--help", "-h", "-help", "--helpfull"} & set(argv):
        print(_help())
        sys.exit(0)
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        flag, separator, value = argument.partition("=")
        file = (value if separator else following).partition(":")[0]
        if flag in ("--config", "-config") and not Path(file).is_file():
            raise InputError(f"no config file {file!r}; there are {', '.join(_configs())}")
    try:
        return flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:
        if "has no attribute 'get_config'" in str(error):
            raise InputError(
                "the config file has no get_config(); right is one of configs/"
            ) from error
        field, _, hint = _reason(error).strip("\"'").partition("'")
        raise InputError(f"the config has no field {field!r};{hint}") from error
    except (flags.Error, TypeError, ValueError) as error:
        raise InputError(_reason(error)) from error
    except Exception as error:  # whatever somebody's config file raises
        reason = f"{type(error).__name__}: {_reason(error)}"
        raise InputError(f"the config file cannot be read ({reason})") from error


def _reason(error: Exception) -> str:
    """What an error of the flags says, in one line."""
    text = str(error).strip().replace("\\n", " ").replace("\\", "")
    if "Traceback" in text:  # a config file's own error: the traceback's last line says it
        text = text.splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def _unraisable(ignored: "sys.UnraisableHookArgs") -> None:
    """Shows what no thread could raise, but for a storage thread's word to a loop that is gone:
    when one array of a checkpoint cannot be written, Orbax does not wait for the others."""
    if str(ignored.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(ignored)


def _end(error: BaseException, status: int) -> NoReturn:
    print(f"error: {error}", file=sys.stderr, flush=True)
    if "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
        os._exit(status)  # at once: the usual way out waits for processes that wait for this one
    sys.exit(status)


if __name__ == "__main__":
    # Until a run begins Ctrl-C ends it without a word, as SIGTERM does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.unraisablehook = _unraisable
    cpu.use_large_pages()
    try:
        app.run(main, flags_parser=_parse)
    except InputError as error:
        _end(error, 2)
    except DivergedError as error:
        _end(error, 3)
    except LostProcessError as error:
        _end(error, 4)
    except StoppedError as error:
        _end(error, error.status)
    except BrokenPipeError:  # who read what is printed has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
