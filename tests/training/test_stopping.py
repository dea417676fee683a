"""Asked to stop by a signal: at once where nothing would be lost, else where training looks."""

import os
import signal
import subprocess
import sys

import pytest

from rmdnet_jax.base.errors import StoppedError
from rmdnet_jax.training import stopping


def ask(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@stopping.on_signals()
def idle(number=signal.SIGTERM):
    ask(number)
    raise AssertionError("it went on")


@stopping.on_signals()
def train(done, look):
    with stopping.between_steps():
        assert not stopping.is_asked()
        stopping.check()
        ask()
        assert stopping.is_asked()
        done.append("step")
        if look:
            stopping.check("in stage x")
        done.append("last step")
    done.append("report")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_what_is_not_training(number, status):
    with pytest.raises(StoppedError, match=number.name) as stopped:
        idle(number)
    assert stopped.value.status == status


@pytest.mark.parametrize(
    ("look", "done", "where"),
    [(True, ["step"], "SIGTERM in stage x"), (False, ["step", "last step"], "SIGTERM;")],
)
def test_training_goes_on_until_it_looks_or_ends(look, done, where):
    trained = []
    with pytest.raises(StoppedError, match=where):
        train(trained, look)
    assert trained == done


def test_nothing_stays_behind():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError):
        idle()
    assert signal.getsignal(signal.SIGTERM) is before
    with stopping.on_signals():
        assert not stopping.is_asked()


DEAF = """
import time
from rmdnet_jax.training import stopping
with stopping.on_signals(), stopping.between_steps():
    stopping.is_asked()
    print("ready", flush=True)
    time.sleep(60) or time.sleep(60)
"""


def test_a_second_signal_ends_at_once_who_does_not_look():
    deaf = subprocess.Popen(
        [sys.executable, "-c", DEAF], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert deaf.stdout.readline() == "ready\n"
    deaf.terminate()
    assert deaf.stderr.readline() == "SIGTERM: stopping; send it again to stop at once\n"
    deaf.terminate()
    deaf.communicate(timeout=30)
    assert deaf.returncode == -signal.SIGTERM


def test_an_error_after_a_signal_is_that_of_who_heard_it_too():
    @stopping.on_signals()
    def train():
        with stopping.between_steps():
            ask()
            raise RuntimeError("a worker was terminated")

    with pytest.raises(StoppedError):
        train()


def test_other_signals_are_none_of_ours():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    with stopping.on_signals(), stopping.between_steps():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert not stopping.is_asked()
    signal.signal(signal.SIGUSR1, before)
    assert heard
