"""Strict JAX for every test: promotions raise, so that [B] never meets [B, 1] by accident."""

import gc
import os
import shutil
import tempfile
import time
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Workers are as many as cores: more threads for matrices of NumPy, SciPy and scikit-learn wait for
# one another for three times as long as they compute.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")
# Compiling is what these tests spend their time on; here and in the runs that they start. Many
# compile the same program as one before them, and find it kept.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# A program of which every operation says where it was written takes a tenth longer to make.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rmdnet_jax/tests"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import hypothesis  # noqa: E402
import jax  # noqa: E402
import pytest  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

# The same examples everywhere; `make slow` runs the properties with many.
_EVERYWHERE = {"deadline": None, "derandomize": True, "database": None}
hypothesis.settings.register_profile("usual", max_examples=25, **_EVERYWHERE)
hypothesis.settings.register_profile("thorough", max_examples=400, **_EVERYWHERE)
hypothesis.settings.load_profile("usual")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


# Tracing makes objects by the million, of which next to none are garbage: looking through them
# takes a tenth of the time.
gc.set_threshold(50_000, 20, 20)

_savefig = Figure.savefig


def _coarse(figure, file, **_):
    """Draws a PNG once, in few pixels that overlap; `savefig` draws twice, to arrange it first."""
    figure.set_layout_engine("none")
    figure.set_dpi(20)
    FigureCanvasAgg(figure).print_png(file)


# Figures that nobody looks at are a fifth of the time of a tiny run.
_coarse.is_coarse = True
Figure.savefig = _coarse

# A folder in memory: a disk that is told to keep a file takes a fifth of a second for a checkpoint,
# of which the tests write a thousand.
_IN_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30


def pytest_configure(config):
    """What tests write is in memory where there is room, and gone at the end; --basetemp=FOLDER, or
    TMPDIR=FOLDER, is written to instead and kept."""
    chosen = config.option.basetemp or {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & os.environ.keys()
    if chosen or not _IN_MEMORY.is_dir() or shutil.disk_usage(_IN_MEMORY).free < _ROOM:
        return
    for left in _IN_MEMORY.glob("rmdnet-tests-*"):  # by tests that were killed
        if left.stat().st_mtime < time.time() - 24 * 60 * 60:
            shutil.rmtree(left, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix="rmdnet-tests-", dir=_IN_MEMORY)
    os.environ["PYTEST_DEBUG_TEMPROOT"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture
def fine_figures(monkeypatch):
    """Figures as a user has them."""
    monkeypatch.setattr(Figure, "savefig", _savefig)


@pytest.fixture
def x64():
    """Float64 for finite differences; JAX's default is float32."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def lenient_promotion():
    """For libraries that mix dtypes on purpose: Optax's schedules, Flax's batch norm."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def pytest_collection_modifyitems(items):
    """Whole runs first: the last tests of a suite should be short, so that workers end together."""
    items.sort(key=lambda item: "system" not in item.path.parts)


def pytest_terminal_summary(terminalreporter):
    """What was skipped, and how to get it: the reasons say so."""
    reasons = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    if reasons:
        terminalreporter.section("skipped")
    for reason, tests in reasons.items():
        terminalreporter.write_line(f"{len(tests)} skipped: {reason}")
