"""Accuracy is promised only where the test labels are known to be true."""

from rmdnet_jax.report import terms


def test_labels_known_to_be_true_make_it_accuracy():
    called = terms.of({"test_labels": "true"})
    assert (called.test, called.knn, called.caution) == ("test accuracy", "kNN accuracy", "")


def test_given_labels_make_it_agreement():
    called = terms.of({"test_labels": "given"})
    assert called.test == "agreement with the given test labels"
    assert "agreement" in called.knn
    assert "not as accuracy" in called.caution
