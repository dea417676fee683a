"""What a person sees: plain lines in a log, a live line on a terminal."""

import sys

from rmdnet_jax.training import progress


def run(epochs=3, done=0):
    shown = progress.Progress("student", done, epochs, steps=10, batch_size=64)
    for epoch in range(done, epochs):
        shown.step(5, loss=1.25)
        shown.epoch(epoch + 1, {"loss": 1.0, "test_accuracy": 0.5, "images_per_second": 1234.0})
    shown.close()


def test_the_last_epochs_line_says_all(capsys):
    run()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("student: epoch 3/3  loss 1.0000")
    for text in ("agrees with test labels 50.0%", "1,234 img/s", "0:00 left"):
        assert text in last


def test_a_running_epoch_has_its_own_number_loss_and_speed(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = progress.Progress("student", 0, 3, steps=10, batch_size=64)
    shown.epoch(1, {"loss": 9.0, "test_accuracy": 0.5, "images_per_second": 1.0})
    now[0] += 20
    shown.step(5, loss=1.25)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("student: epoch 2/3  loss 1.2500  agrees with test labels 50.0%")
    assert "16 img/s" in last  # 5 * 64 images in 20 s


def test_steps_before_a_resume_within_an_epoch_are_not_in_its_speed(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = progress.Progress("student", 1, 3, steps=100, batch_size=64, step=90)
    now[0] += 20
    shown.step(95, loss=1.25)
    last = capsys.readouterr().out.splitlines()[-1]
    assert "16 img/s" in last  # 5 * 64 images in 20 s
    assert "7:00 left" in last  # 105 steps of 4 s each
    shown.epoch(2, {"loss": 1.0})
    now[0] += 20
    shown.step(5, loss=1.25)
    assert "16 img/s" in capsys.readouterr().out.splitlines()[-1]


def test_a_log_is_not_flooded(capsys):
    run(epochs=500)
    assert len(capsys.readouterr().out.splitlines()) <= 3


def test_a_resumed_stage_says_so(capsys):
    run(done=2)
    assert "student: resumed after epoch 2 of 3" in capsys.readouterr().out


def test_on_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    run()
    assert "epoch 3/3" in capsys.readouterr().out
