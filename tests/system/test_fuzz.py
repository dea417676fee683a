"""Every reader of files that may be anybody's bears a minute of damage, or FUZZ_SECONDS; the seed
of a failure is in the message."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz.py")
READERS = [
    "pictures", "npz", "matrices", "csv_manifests", "parquet_manifests", "label_issues",
    "noise_csv", "models",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_read_or_refused(reader, tmp_path):
    seconds = float(os.environ.get("FUZZ_SECONDS", "60"))
    seed = random.randrange(2**32)
    flags = [f"--seconds={seconds}", f"--seed={seed}", f"--keep={tmp_path / 'kept'}"]
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), reader, *flags],
        stdout=subprocess.PIPE, text=True, timeout=seconds + 60, check=False,
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])},
    )  # fmt: skip
    told = json.loads(ended.stdout.splitlines()[-1])
    print(told)
    assert told["failures"] == {}, told
    assert told["refused"] > 0
    assert told["tried"] > told["refused"]
