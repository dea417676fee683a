"""The arrays that cleanlab's functions take, and nothing where they are too large."""

import numpy as np
from cleanlab.filter import find_label_issues

from rmdnet_jax.export import pred_probs


def test_the_arrays_are_what_cleanlab_takes(tmp_path):
    rng = np.random.default_rng(0)
    given = rng.permutation(np.arange(60) % 3)
    belief = np.full((60, 3), 0.05, np.float32)
    belief[np.arange(60), given] = 0.9
    belief[7] = np.roll(belief[7], 1)
    index = np.arange(60) + 100
    assert pred_probs.write(
        tmp_path / "x.npz", belief * 1.001, given, index, ("a", "=b\u202e", "c"), True
    )
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert set(found) == {"pred_probs", "labels", "index", "class_names", "out_of_sample"}
        assert found["pred_probs"].dtype == np.float32
        np.testing.assert_allclose(found["pred_probs"], belief, rtol=1e-6)
        np.testing.assert_allclose(found["pred_probs"].sum(axis=1), 1, rtol=1e-6)
        assert found["class_names"].tolist() == ["a", "=b\\u202e", "c"]
        assert found["out_of_sample"]
        ranked = find_label_issues(
            found["labels"],
            found["pred_probs"],
            return_indices_ranked_by="self_confidence",
            n_jobs=1,
        )
        assert found["index"][ranked].tolist() == [107]


def test_arrays_of_more_than_a_gigabyte_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(pred_probs, "_MOST_BYTES", 15)
    belief = np.full((2, 2), 0.5, np.float32)
    labels = np.zeros(2, int)
    assert not pred_probs.write(tmp_path / "x.npz", belief, labels, labels, ("a", "b"), False)
    assert not list(tmp_path.iterdir())
