"""From suspicious labels to a corrected data set, as a user goes: run, look, correct, go on."""

import csv
import json
import os
import shlex
import signal
import subprocess
import zipfile

import numpy as np
import pytest
from command import ROOT, TINY, arguments, environment, run_here, write_npz
from PIL import Image

from rmdnet_jax.base.text import cell
from rmdnet_jax.data import sources

OWN = "configs/own_data.py"
HEADER = ("index", "path", "given_class", "verdict", "class")
CLASSES = ("ant", "=bee")

# A linear model on small features: seconds, and no picture is trained on.
QUICK = ("--config.dataset.cache=", "--config.encoder.path=classical", "--config.encoder.cache=",
         "--config.dataset.image_size=16", "--config.train.epochs=2", "--config.train.folds=2",
         "--config.report.tsne_points=0", "--config.tensorboard=False")  # fmt: skip


# Where only what is read matters.
PLAIN = ("--config.train.epochs=1", "--config.report.audit=False", "--config.report.gallery=0")


def picture(path, colour, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (16, 16, 3)) + np.array([[190, 0, 90], [0, 190, 90]])[colour]
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    """24 pictures to train on, of which the first two have the other class, and 8 to test on."""
    root = tmp_path / "my photos"
    for i in range(32):
        given = CLASSES[(i + (i < 2)) % 2]
        picture(root / ("train", "test")[i >= 24] / given / f"no {i:02}.png", i % 2, i)
    return root


@pytest.fixture
def manifest(tmp_path):
    """The same as a manifest that knows the true labels; in two folders files have one name."""
    root, rows = tmp_path / "listed", []
    for i in range(32):
        file = f"{i % 4}/no {i // 4}.png"
        picture(root / file, i % 2, i)
        split = ("train", "test")[i >= 24]
        rows.append((file, CLASSES[(i + (i < 2)) % 2], split, CLASSES[i % 2]))
    write_csv(root / "manifest.csv", rows, ("path", "label", "split", "true_label"))
    return root / "manifest.csv"


def write_csv(path, rows, header=HEADER):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(*flags, config=OWN, cwd=ROOT):
    done = run_here(*flags, config=config, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*flags, config=OWN):
    done = run_here(*flags, config=config)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def reviewed(issues, right, folder):
    """The corrections of who looks at every image and knows the right class of each path."""
    rows = []
    for row in read_csv(issues):
        name = right[row["path"]]
        verdict = "keep" if name == row["given_class"] else "class"
        rows.append((row["index"], row["path"], row["given_class"], verdict, name))
    return write_csv(folder / "corrections.csv", rows)


def files_below(folder):
    return {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_folder_is_run_reviewed_and_run_again_and_its_copy_is_the_same(photos, tmp_path):
    path = f"--config.dataset.path={photos}"
    run(path, *QUICK, f"--workdir={tmp_path / 'first'}")
    issues = read_csv(tmp_path / "first/label_issues.csv")
    assert {row["given_class"] for row in issues} == {"ant", cell("=bee")}
    right = {row["path"]: cell(CLASSES[int(row["path"][-6:-4]) % 2]) for row in issues}
    csv_path = reviewed(tmp_path / "first/label_issues.csv", right, tmp_path)

    given = f"--config.dataset.corrections={csv_path}"
    told = run(path, given, *QUICK, f"--workdir={tmp_path / 'second'}")
    assert "reviewed 24 labels, 2 of them corrected; 0 images removed" in told
    results = json.loads((tmp_path / "second/results.json").read_text())
    assert (results["labels_reviewed"], results["labels_corrected"]) == (24, 2)
    issues = read_csv(tmp_path / "second/label_issues.csv")
    assert {row["path"]: row["given_class"] for row in issues} == right
    # Nobody is asked again about what he has looked at.
    assert {row["is_issue"] for row in issues} == {"0"}

    before = files_below(photos)
    told = run(path, *QUICK, f"--apply={csv_path}", f"--out={tmp_path / 'clean'}", "--copy")
    assert "corrected  2 labels" in told
    assert before == files_below(photos)
    train = sorted(p.name for p in (tmp_path / "clean/train/=bee").iterdir())
    assert train == [f"no {i:02}.png" for i in range(1, 24, 2)]
    assert {p.name for p in (tmp_path / "clean").iterdir()} == {
        "train", "test", "manifest.csv", "applied.json",
    }  # fmt: skip
    clean = sources.load("own", str(tmp_path / "clean"))
    again = sources.load("own", str(tmp_path / "clean/manifest.csv"))
    assert clean.class_names == again.class_names == ("=bee", "ant")
    for data in (clean, again):
        numbers = [int(file[-6:-4]) for file in data.train_files]
        np.testing.assert_array_equal(data.train_labels, 1 - np.array(numbers) % 2)
    # Once more it fits no more: these labels are right now.
    moved = write_csv(tmp_path / "moved.csv", [(0, "", cell("=bee"), "class", "ant"),
                                              (0, "", "ant", "class", cell("=bee"))])  # fmt: skip
    said = refused(path.replace("my photos", "clean"), *QUICK, f"--apply={moved}",
                   f"--out={tmp_path / 'twice'}")  # fmt: skip
    assert "moved.csv, line" in said
    assert not (tmp_path / "twice").exists()


def test_a_manifest_is_corrected_where_its_pictures_are(manifest, tmp_path):
    rows = [
        ("", "0/no 0.png", cell("=bee"), "class", "ant"),
        ("", "1/no 0.png", "ant", "remove", ""),
        ("", "0/no 6.png", "ant", "class", cell("=bee")),  # to test on
        ("", "2/no 0.png", "ant", "keep", "ant"),
    ]
    corrections = write_csv(tmp_path / "c.csv", rows)
    flags = (f"--config.dataset.path={manifest}", *QUICK)
    out = tmp_path / "clean"
    told = run(*flags, f"--apply={corrections}", f"--out={out}")
    assert "wrong      8.33% before, 0.00% now (share of the training labels)" in told
    assert "images     23 of 24 training images kept, 8 of 8 test images" in told
    report = json.loads((out / "applied.json").read_text())
    assert report["verdicts"] == {"keep": 1, "suggestion": 0, "class": 2, "remove": 1, "unsure": 0}
    assert report["changed"][0]["labels"] == 1
    written = {row["path"]: row for row in read_csv(out / "manifest.csv")}
    assert len(written) == 31
    assert written["0/no 0.png"] == {
        "path": "0/no 0.png", "label": "ant", "split": "train", "true_label": "ant",
    }  # fmt: skip
    assert written["0/no 6.png"]["label"] == written["0/no 6.png"]["true_label"] == "=bee"

    # What the run with the corrections reads is what was written.
    clean = sources.load("own", str(out / "manifest.csv"), root=str(manifest.parent))
    told = run(*flags, f"--config.dataset.corrections={corrections}", f"--workdir={tmp_path / 'w'}")
    assert "reviewed 3 labels, 2 of them corrected; 1 image removed" in told
    assert "0.0% of the labels are wrong" in told
    learned = {row["path"]: row["given_label"] for row in read_csv(tmp_path / "w/label_issues.csv")}
    assert learned == {
        file: str(label)
        for file, label in zip(clean.train_files, clean.train_labels, strict=True)
    }  # fmt: skip
    results = json.loads((tmp_path / "w/results.json").read_text())
    assert results["images_removed"] == 1
    assert results["train_images"] == 23
    assert results["noise_rate_realised"] == 0

    # And the command that is told goes on with it.
    fields = [f"--config.dataset.path={out / 'manifest.csv'}",
              f"--config.dataset.root={manifest.parent}"]  # fmt: skip
    assert "noise    none, 0.0% of the labels are wrong" in run(
        *fields, *QUICK, f"--workdir={tmp_path / 'w2'}"
    )


@pytest.mark.parametrize("how", ["copy", "link"])
def test_files_of_one_name_get_numbers_in_their_class(manifest, tmp_path, how):
    corrections = write_csv(tmp_path / "c.csv", [("", "1/no 0.png", "ant", "class", cell("=bee"))])
    out = tmp_path / "clean"
    told = run(f"--config.dataset.path={manifest}", *QUICK, f"--apply={corrections}",
               f"--out={out}", f"--{how}")  # fmt: skip
    assert f"32 {'copied' if how == 'copy' else 'linked'}" in told
    names = sorted(path.name for path in (out / "train/ant").iterdir())
    # Two files each of six names were of ants, and one of them is a bee now, as one bee is an ant.
    assert len(names) == 11
    assert set(names) < {f"no {i}{more}.png" for i in range(6) for more in ("", "-2")}
    data = sources.load("folder", str(out))
    assert len(data.train_labels) == 24
    linked = next((out / "train").rglob("*.png")).stat().st_nlink
    assert linked == (2 if how == "link" else 1)
    # The true labels are in the manifest of the copies.
    listed = sources.load("manifest", str(out / "manifest.csv"))
    assert (listed.train_labels != listed.true_labels).mean() == 1 / 24


def test_hostile_names_are_copied_and_cannot_be_in_a_manifest(tmp_path):
    root = tmp_path / "photos"
    names = ["a,b.png", 'q"uote.png', "new\nline.png", "cr\rx.png", "=1+1.png", "\u202egnp.png"]
    for i, name in enumerate([*names, "c1.png", "c2.png"]):
        picture(root / ("train" if i < 6 else "test") / CLASSES[i % 2] / name, i % 2, i)
    corrections = write_csv(tmp_path / "c.csv", [("", cell("train/ant/a,b.png"), "", "keep", "")])
    flags = (f"--config.dataset.path={root}", *QUICK, f"--apply={corrections}")
    run(*flags, f"--out={tmp_path / 'clean'}")
    data = sources.load("manifest", str(tmp_path / "clean/manifest.csv"), root=str(root))
    assert sorted(data.train_files) == sorted(sources.load("folder", str(root)).train_files)
    assert not data.skipped_files

    picture(root / "train" / "ant" / os.fsdecode(b"\xff.png"), 0, 9)
    said = refused(*flags, f"--out={tmp_path / 'other'}")
    assert r"train/ant/\xff.png, or its class, has a name that is not UTF-8, in a manifest" in said
    assert not (tmp_path / "other").exists()
    told = run(*flags, f"--out={tmp_path / 'other'}", "--copy")
    assert "1 no manifest: a name cannot be in one" in told
    copied = {os.fsencode(path.name) for path in (tmp_path / "other/train").rglob("*.png")}
    assert copied == {*map(os.fsencode, names), b"\xff.png"}


def test_arrays_keep_what_is_not_corrected(tmp_path):
    second = (np.arange(64) % 4 + (np.arange(64) < 8)) % 4
    data = write_npz(tmp_path / "d.npz", second=second)
    with zipfile.ZipFile(data, "a") as archive, archive.open("file.npy", "w") as member:
        np.lib.format.write_array(member, second)  # numpy.savez has no array of this name
    rows = [(0, "", "1", "class", "0"), (1, "", "", "remove", ""), (9, "", "1", "unsure", "")]
    corrections = write_csv(tmp_path / "c.csv", rows)
    human = ("--config.dataset.name=npz", f"--config.dataset.path={data}",
             "--config.noise.kind=human", "--config.noise.field=second")  # fmt: skip
    out = tmp_path / "clean"
    told = run(*TINY, *human, f"--apply={corrections}", f"--out={out}",
               config="configs/rgrl_cifar10.py")  # fmt: skip
    assert "wrong      12.50% before, 9.52% now" in told
    assert "--config.noise.kind=none --config.noise.field=" in told
    with np.load(data) as before, np.load(out / "data.npz") as after:
        stays = np.delete(np.arange(64), 1)
        np.testing.assert_array_equal(after["x_train"], before["x_train"][stays])
        np.testing.assert_array_equal(after["y_train"], np.r_[0, second[2:]])
        np.testing.assert_array_equal(after["y_train_true"], before["y_train"][stays])
        np.testing.assert_array_equal(after["y_test"], before["y_test"])
        for name in ("second", "file"):
            np.testing.assert_array_equal(after[name], second[stays])
    flags = ("--config.dataset.name=npz", f"--config.dataset.path={out / 'data.npz'}",
             "--config.noise.kind=none", "--config.teacher.kind=none")  # fmt: skip
    told = run(*TINY, *flags, f"--workdir={tmp_path / 'w'}", config="configs/rgrl_cifar10.py")
    assert "noise    none, 9.5% of the labels are wrong" in told


UNIVERSAL = ("--config.noise.kind=universal", "--config.noise.rate=0.5", "--config.noise.rho2=0.5")
OPEN_DIGITS = ("--config.dataset.name=digits", "--config.dataset.open_classes=(8,9)",
               "--config.dataset.train_size=90", "--config.dataset.test_size=30",
               "--config.dataset.image_size=0")  # fmt: skip


def going_on(told):
    """The flags that --apply says last."""
    (line,) = [line for line in told.splitlines() if line.startswith("continue   ")]
    return shlex.split(line.removeprefix("continue   "))


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        ("folder", ["--config.noise.kind=symmetric"]),
        ("folder", ["--copy"]),
        ("folder", ["--link", "--config.noise.kind=symmetric"]),
        ("manifest", []),
        ("manifest", ["--copy"]),
        ("manifest", ["--copy", "--config.dataset.skip=2", "--config.dataset.root=listed"]),
        ("three", [*UNIVERSAL, "--config.dataset.open_classes=(2,)"]),
        ("three", ["--copy", *UNIVERSAL, "--config.dataset.open_classes=(2,)"]),
        ("npz", ["--config.noise.kind=human", "--config.noise.field=second"]),
        ("npz", ["--config.noise.kind=none", "--config.noise.open_path=open.npz",
                 "--config.noise.open_share=0.2"]),
        ("npz", [*UNIVERSAL, "--config.noise.open_path=open.npz"]),
        ("digits", [*OPEN_DIGITS, *UNIVERSAL]),
    ],
)  # fmt: skip
def test_the_line_to_go_on_with_reads_all_that_was_written(
    photos, manifest, tmp_path, monkeypatch, kind, flags
):
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "d.npz", second=(np.arange(64) + (np.arange(64) < 8)) % 4)
    np.savez(tmp_path / "open.npz", images=np.random.default_rng(0).integers(0, 256, (64, 8, 8, 3),
                                                                         np.uint8))  # fmt: skip
    if kind == "three":
        for i in range(36):
            picture(tmp_path / "three/train" / "abc"[i % 3] / f"{i}.png", i % 2, i)
            picture(tmp_path / "three/test" / "abc"[i % 3] / f"{i}.png", i % 2, i)
    path = {"folder": photos, "manifest": manifest, "npz": "d.npz", "three": "three", "digits": ""}
    images = "--config.dataset.image_size=" + ("0" if kind in ("npz", "digits") else "16")
    chosen = [*QUICK, images, f"--config.dataset.path={path[kind]}"]
    chosen += [flag for flag in flags if flag.startswith("--config")]
    how = [flag for flag in flags if not flag.startswith("--config")]
    corrections = write_csv(tmp_path / "c.csv", [(3, "", "", "remove", "")])
    out = "clean set"
    told = run(*chosen, f"--apply={corrections}", f"--out={out}", *how, cwd=tmp_path)
    report = json.loads((tmp_path / out / "applied.json").read_text())
    # They take the place of those that there are; absl would join tuples.
    now = dict(flag.split("=", 1) for flag in (*chosen, *going_on(told)))
    run(*map("=".join, now.items()), *PLAIN, "--workdir=w", cwd=tmp_path)
    results = json.loads((tmp_path / "w/results.json").read_text())
    for name in ("train_images", "test_images"):
        assert results[name] == report[name]
    assert results["train_images"] == report["train_images_before"] - 1
    # True labels have not been lost on the way, nor that some images show none of the classes.
    assert results["noise_kind"] == "none"
    assert results["noise_rate_realised"] == report["wrong_labels"]
    is_open = kind in ("three", "digits") or any("open_path" in flag for flag in flags)
    assert bool(results["noise_rate_open"]) == is_open


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--out=x"], "--out without --apply"),
        (["--copy"], "--copy without --apply"),
        (["--link"], "--link without --apply"),
        (["--apply=c.csv"], "--apply needs the --config of the run, and --out=FOLDER"),
        (["--apply=", "--out=x"], "--apply names no file"),
        (["--apply=c.csv", "--out=x", "--copy", "--link"], "--copy with --link"),
        (["--apply=c.csv", "--out=x", "--workdir=w"], "--workdir with --apply"),
        (["--apply=c.csv", "--out=x", "--sweep=rgrl.k=1,2"], "--sweep with --apply"),
        (["--apply=c.csv", "--out=x", "--predict=y"], "--predict with --apply"),
        (["--apply=no.csv", "--out=x"], "no file 'no.csv' with corrections"),
        (["--apply=c.csv", "--out=full"], "'full' (--out) already exists"),
        (["--apply=c.csv", "--out=c.csv"], "'c.csv' (--out) already exists"),
        (["--apply=c.csv", "--out=my photos/clean"], "(--out) is in the data set's own folder"),
        (["--apply=c.csv", "--out=c.csv/x"], "cannot write c.csv/x"),
        (["--apply=wrong.csv", "--out=x"], "wrong.csv, line 2: no picture is called nobody.png"),
        (["--config.dataset.corrections=wrong.csv"], "wrong.csv, line 2: no picture is called"),
        (["--config.dataset.root=full"], "dataset.root is full, but my photos is not a manifest"),
    ],
)
def test_each_mistake_is_one_line_and_nothing_is_written(photos, tmp_path, flags, says):
    write_csv(tmp_path / "c.csv", [])
    write_csv(tmp_path / "wrong.csv", [("", "nobody.png", "", "keep", "")])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note").touch()
    before = sorted(tmp_path.rglob("*"))
    done = run_here(*QUICK, "--config.dataset.path=my photos", *flags, config=OWN, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_classes_that_no_folder_can_be_and_files_that_are_no_pictures_by_name(tmp_path):
    for i in range(8):
        picture(tmp_path / f"{i}.png", i % 2, i)
    (tmp_path / "0.png").rename(tmp_path / "0.picture")
    files = ["0.picture", *(f"{i}.png" for i in range(1, 8))]
    splits = ("train",) * 6 + ("test",) * 2
    columns = ("path", "label", "split")
    plain = [(file, "ab"[i % 2], splits[i]) for i, file in enumerate(files)]
    rows = [(file, ("a/b", "c")[i % 2], splits[i]) for i, file in enumerate(files)]
    write_csv(tmp_path / "m.csv", plain, columns)
    corrections = write_csv(tmp_path / "c.csv", [])
    flags = (f"--config.dataset.path={tmp_path / 'm.csv'}", *QUICK, f"--apply={corrections}")
    out = f"--out={tmp_path / 'clean'}"
    assert "0.picture is not named as a picture" in refused(*flags, out, "--copy")
    write_csv(tmp_path / "m.csv", rows[1:], columns)
    assert "the class 'a/b' cannot be a folder's name" in refused(*flags, out, "--link")
    assert not (tmp_path / "clean").exists()
    run(*flags, out)
    assert len(read_csv(tmp_path / "clean/manifest.csv")) == 7


def test_an_empty_folder_and_one_below_folders_that_are_not_there(photos, tmp_path):
    corrections = write_csv(tmp_path / "c.csv", [])
    flags = (f"--config.dataset.path={photos}", *QUICK, f"--apply={corrections}")
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "a/b/c"):
        run(*flags, f"--out={out}")
        assert len(read_csv(out / "manifest.csv")) == 32


# launch.py, that gets the signal argv[1] when the fifth picture is copied.
KILLED = """
import os, runpy, shutil, sys
copy, number, copied = shutil.copy2, int(sys.argv[1]), []

def killed(*paths):
    copy(*paths)
    copied.append(paths)
    if len(copied) == 5:
        os.kill(os.getpid(), number)

shutil.copy2 = killed
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kill_in_the_middle_leaves_no_half_folder(photos, tmp_path, number):
    corrections = write_csv(tmp_path / "c.csv", [])
    out = tmp_path / "out" / "clean"
    flags = (*QUICK, f"--config.dataset.path={photos}", f"--apply={corrections}", f"--out={out}")
    python, *command = arguments(*flags, "--copy", config=OWN)
    done = subprocess.run(
        [python, "-c", KILLED, str(int(number)), *command], cwd=ROOT, env=environment(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == (143 if number == signal.SIGTERM else -number)
    assert not out.exists()
    half = list(out.parent.glob(".clean.*.tmp/train/*/*.png"))
    assert len(half) == (0 if number == signal.SIGTERM else 5)
    if number == signal.SIGTERM:
        assert "error: stopped by SIGTERM" in done.stderr
        assert not list(out.parent.iterdir())
    run(*flags, "--link")
    assert len(read_csv(out / "manifest.csv")) == 32


def test_what_several_people_say_is_joined_and_kept(tmp_path):
    root, rows = tmp_path / "voted", []
    rng = np.random.default_rng(0)
    for i in range(40):
        picture(root / f"{i}.png", i % 2, i)
        split = ("train", "test")[i >= 32]
        others = [
            CLASSES[(i + (rng.random() < 0.4)) % 2] if rng.random() < 0.7 else "" for _ in "ab"
        ]
        rows.append((f"{i}.png", split, CLASSES[i % 2], *others, CLASSES[i % 2]))
    header = ("path", "split", "label:ann", "label:=bob", "label:cy", "true_label")
    path = f"--config.dataset.path={write_csv(root / 'm.csv', rows, header)}"
    run(path, *QUICK, f"--workdir={tmp_path / 'w'}")
    people = read_csv(tmp_path / "w/annotators.csv")
    assert [row["annotator"] for row in people] == ["ann", "'=bob", "cy"]
    assert people[0]["labels"] == "32"
    joined = read_csv(tmp_path / "w/consensus.csv")
    assert len(joined) == 32
    results = json.loads((tmp_path / "w/results.json").read_text())
    assert results["annotators"] == 3
    assert results["consensus_differs"] == sum(row["verdict"] == "suggestion" for row in joined)
    assert results["consensus_wrong"] <= results["majority_wrong"] == results["noise_rate_realised"]

    consensus, out = tmp_path / "w/consensus.csv", tmp_path / "clean"
    run(path, *QUICK, f"--apply={consensus}", f"--out={out}")
    written = {row["path"]: row for row in read_csv(out / "manifest.csv")}
    for file, _, *votes, true in rows[:32]:
        row = written[file]
        assert [row[column] for column in header[2:5]] == votes
        assert row["true_label"] == true
    for row in joined:
        assert cell(written[row["path"]]["label"]) == row["consensus"]
    copied = run(path, *QUICK, f"--apply={consensus}", f"--out={tmp_path / 'copied'}", "--copy")
    run(path, *QUICK, *going_on(copied), f"--workdir={tmp_path / 'w3'}")
    assert len(read_csv(tmp_path / "w3/annotators.csv")) == 3
    config = (f"--config.dataset.path={out / 'manifest.csv'}", f"--config.dataset.root={root}")
    human = ("--config.noise.kind=human", "--config.noise.field=consensus")
    told = run(*config, *human, *QUICK, f"--workdir={tmp_path / 'w2'}")
    assert "noise    human, " in told
