"""A disk that fails under a run: one line, and once it is mended the run goes on."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import pytest
from command import TINY, arguments, environment, write_npz

# To root all is writable but for this.
LIKE_ANYBODY = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-all"]


@contextlib.contextmanager
def full(tmp_path):
    """A folder on a small file system of its own: what fills it, what makes room again, and what
    the operating system says of it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here (run the tests as root)")

    def fill():
        with contextlib.suppress(OSError), open(folder / "filling", "ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    try:
        yield folder / "run", fill, (folder / "filling").unlink, "No space left on device"
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def read_only(tmp_path):
    """A folder that may no longer be written."""
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root may write everything (run the tests as another user)")
    folder = tmp_path / "run"

    def permit(mode):
        for path in (folder, *folder.rglob("*")):
            if path.is_dir() or path.name == "metrics.jsonl":
                path.chmod(mode)

    yield folder, lambda: permit(0o500), lambda: permit(0o700), "Permission denied"
    permit(0o700)


def start(data, workdir):
    as_anybody = LIKE_ANYBODY if os.geteuid() == 0 and shutil.which("setpriv") else []
    return subprocess.Popen(
        as_anybody + arguments(
            *(flag for flag in TINY if ".rm." not in flag),
            "--config.dataset.name=npz", f"--config.dataset.path={data}",
            "--config.teacher.kind=none", "--config.train.epochs=30000", f"--workdir={workdir}",
        ),
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_epochs(run, workdir, more):
    """Returns when the run has told of so many `more` epochs."""
    path = workdir / "metrics.jsonl"

    def told():
        return len(path.read_text().splitlines()) if path.exists() else 0

    before, deadline = told(), time.monotonic() + 120
    while told() < before + more:
        assert run.poll() is None, run.communicate()
        if time.monotonic() > deadline:
            run.kill()
        time.sleep(0.01)


# Of a folder that may not be written, tests/training/test_checkpoints.py and tests/base know more.
@pytest.mark.parametrize("fault", [full, pytest.param(read_only, marks=pytest.mark.slow)])
def test_a_disk_that_fails_under_a_run(tmp_path, fault):
    data = write_npz(tmp_path / "data.npz")
    with fault(tmp_path) as (workdir, happen, mend, says):
        run = start(data, workdir)
        wait_for_epochs(run, workdir, 3)
        while run.poll() is None:  # it may make room by deleting an old checkpoint
            happen()
            time.sleep(0.05)
        _, said = run.communicate(timeout=60)
        assert run.returncode == 2, said
        assert said.startswith("error: cannot write")
        assert said.count("\n") == 1, said
        assert says in said
        mend()
        run = start(data, workdir)
        wait_for_epochs(run, workdir, 1)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=60)
        assert run.returncode == 143, said
