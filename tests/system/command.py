"""Starts launch.py as a user does, on data small enough for a test; in this process where that
makes no difference, as a start of Python and JAX takes longer than a tiny run."""

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import launch as program

ROOT = Path(__file__).resolve().parents[2]

# A whole run in seconds: both stages, two epochs each, a network of width 2.
TINY = (
    "--config.dataset.cache=",
    "--config.model.width=2",
    "--config.model.blocks=(1,)",  # compiles in a fifth of ResNet-18's time
    "--config.rm.epochs=2",
    "--config.rm.batch_size=16",
    "--config.rm.knn_every=0",
    "--config.train.epochs=2",
    "--config.train.batch_size=16",
    "--config.report.tsne_points=0",
    "--config.tensorboard=False",
    "--config.checkpoint_every=1",
)


def environment(**changes):
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rmdnet_jax/tests"
    # One device: a program for several takes twice as long to compile.
    usual = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    return os.environ | usual | {"JAX_COMPILATION_CACHE_DIR": str(cache)} | changes


def results(workdir):
    """What a run's results.json holds."""
    return json.loads((workdir / "results.json").read_text())


def arguments(*flags, config="configs/rgrl_cifar10.py"):
    chosen = [f"--config={ROOT / config}"] if config else []
    return [sys.executable, str(ROOT / "launch.py"), *chosen, *flags]


def launch(*flags, config="configs/rgrl_cifar10.py", cwd=ROOT, **env):
    return subprocess.run(
        arguments(*flags, config=config),
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**env),
        check=False,
    )


def _undrawn(figure, file, **_):
    Image.new("RGB", (1, 1)).save(file, "PNG")


def run_here(*flags, config="configs/rgrl_cifar10.py", cwd=ROOT):
    """As `launch`, in this process: what it imports, environment and signals are this one's, and
    its figures are made but not drawn, unless the test has `fine_figures`."""
    save = _undrawn if hasattr(Figure.savefig, "is_coarse") else Figure.savefig
    argv = ["launch.py", *([f"--config={ROOT / config}"] if config else []), *flags]
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        contextlib.chdir(cwd),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.object(Figure, "savefig", save),
        mock.patch.dict(os.environ, {"JAX_NUM_CPU_DEVICES": "1"}),
        jax.numpy_dtype_promotion("standard"),  # as Optax and Flax need it
        warnings.catch_warnings(),
    ):
        # What config_flags imports config files with.
        warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
        sys.modules.pop("config_config", None)  # the name that it gives all of them
        status = program.run(argv)
    return subprocess.CompletedProcess(argv, status, out.getvalue(), err.getvalue())


def write_npz(path, size=64, classes=4, **changes):
    """Pictures of `classes` colours; every label set is complete and right unless changed."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (classes, 1, 1, 3))
    arrays = {}
    for split, count in (("train", size), ("test", size // 2)):
        labels = np.arange(count) % classes
        noise = rng.integers(-40, 40, (count, 8, 8, 3))
        arrays[f"x_{split}"] = np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)
        arrays[f"y_{split}"] = labels
    arrays = {name: array for name, array in (arrays | changes).items() if array is not None}
    np.savez(path, **arrays)
    return path
