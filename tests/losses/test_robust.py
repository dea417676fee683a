import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.losses import robust

# The promised names, written out so that a loss cannot go missing from the registry.
NAMES = [
    *("ce", "mae", "gce", "sce", "nce", "rce", "nce_rce", "agce", "aul", "ael"),
    *("nce_agce", "nce_aul", "nce_ael", "taylor_ce"),
]


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def reference(name, logits, labels):
    """The formulas of the table as they are printed, with CIFAR-10's defaults."""
    p = softmax(np.asarray(logits, np.float64))
    p_y = p[np.arange(len(labels)), labels]
    ce = -np.log(p_y)
    rce = -np.log(1e-4) * (1 - p_y)
    nce = np.log(p_y) / np.log(p).sum(axis=1)
    return {
        "ce": ce,
        "mae": np.abs(p - np.eye(p.shape[1])[labels]).sum(axis=1),
        "gce": (1 - p_y**0.7) / 0.7,
        "rce": rce,
        "sce": 0.1 * ce + 1.0 * rce,
        "nce": nce,
        "agce": (1.6**0.6 - (0.6 + p_y) ** 0.6) / 0.6,
        "aul": ((5.5 - p_y) ** 3 - 4.5**3) / 3,
        "ael": np.exp(-p_y / 2.5),
        "nce_agce": nce + 4 * (7**1.5 - (6 + p_y) ** 1.5) / 1.5,
        "nce_aul": nce + 4 * ((6.3 - p_y) ** 1.5 - 5.3**1.5) / 1.5,
        "nce_ael": nce + 4 * np.exp(-p_y / 5),
        "nce_rce": nce + rce,
        "taylor_ce": (1 - p_y) + (1 - p_y) ** 2 / 2,
    }[name]


# By hand for p = (0.5, 0.3, 0.2) and label 0.
BY_HAND = {
    "ce": 0.693147,  # log 2
    "mae": 1.0,  # |0.5 - 1| + 0.3 + 0.2
    "gce": 0.549182,  # (1 - 0.615572) / 0.7
    "rce": 4.605170,  # 9.210340 / 2
    "sce": 4.674485,  # 0.0693147 + 4.605170
    "nce": 0.197672,  # 0.693147 / (0.693147 + 1.203973 + 1.609438)
    "nce_rce": 4.802842,
    "agce": 0.444881,  # (1.325782 - 1.058853) / 0.6
    "aul": 11.291667,  # (125 - 91.125) / 3
    "ael": 0.818731,  # exp(-0.2)
    "nce_agce": 5.393527,  # 0.197672 + 4 (18.520259 - 16.571813) / 1.5
    "nce_aul": 4.908961,  # 0.197672 + 4 (13.968250 - 12.201516) / 1.5
    "nce_ael": 3.817022,  # 0.197672 + 4 exp(-0.1)
    "taylor_ce": 0.625,  # 0.5 + 0.125
}


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.normal(scale=3, size=(16, 5)), rng.integers(0, 5, size=16, dtype=np.int32)


def call(loss, logits, labels, dtype=jnp.float32):
    return np.asarray(loss(jnp.asarray(logits, dtype), jnp.asarray(labels, jnp.int32)))


def test_registry_holds_every_loss_of_the_table():
    assert set(robust.LOSSES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestEveryLoss:
    def test_equals_its_formula(self, name, batch):
        logits, labels = batch
        actual = call(robust.get(name), logits, labels)
        assert actual.dtype == np.float32
        assert actual.shape == (16,)
        np.testing.assert_allclose(actual, reference(name, logits, labels), rtol=1e-5, atol=1e-6)

    def test_equals_a_case_worked_by_hand(self, name):
        # Adding a constant to the logits changes nothing.
        logits = np.log([[0.5, 0.3, 0.2]]) + 7
        np.testing.assert_allclose(call(robust.get(name), logits, [0]), BY_HAND[name], rtol=3e-6)

    def test_gradient_equals_finite_differences(self, name, batch, x64):
        logits, labels = batch
        examples, classes = logits.shape
        loss = robust.get(name)
        gradient = jax.grad(lambda x: loss(x, jnp.asarray(labels)).sum())(jnp.asarray(logits))

        # One row per (example, class), moved in that class's logit: losses are per example.
        step = 1e-6
        moved = np.tile(np.eye(classes), (examples, 1)) * step
        rows, given = np.repeat(logits, classes, axis=0), np.repeat(labels, classes)
        above = call(loss, rows + moved, given, jnp.float64)
        below = call(loss, rows - moved, given, jnp.float64)
        numeric = ((above - below) / (2 * step)).reshape(examples, classes)
        assert gradient.dtype == jnp.float64
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7)

    def test_value_and_gradient_are_finite_for_extreme_logits(self, name):
        logits = jnp.asarray(
            [
                [1e4, -1e4, -1e4],  # the given class most likely
                [-1e4, 1e4, 1e4],  # least likely
                [-1e4, 1e4, -1e4],
                [1e4, 1e4, -1e4],
                [1e4, 1e4, 1e4],  # all equal
                [-1e4, -1e4, -1e4],
                [0.0, 0.0, 0.0],
                [1e4, 0.0, -1e4],
            ]
        )
        labels = jnp.zeros(len(logits), jnp.int32)
        loss = robust.get(name)
        values, pullback = jax.vjp(lambda x: loss(x, labels), logits)
        (gradient,) = pullback(jnp.ones_like(values))
        assert np.all(np.isfinite(values))
        assert np.all(np.isfinite(gradient))
        np.testing.assert_allclose(values[4], values[6], rtol=1e-5)
        np.testing.assert_allclose(gradient[4], gradient[6], atol=1e-6)

    def test_falls_as_the_given_class_grows_likelier(self, name):
        logits = np.stack([np.linspace(-8, 8, 33), np.zeros(33), np.zeros(33)], axis=1)
        assert np.all(np.diff(call(robust.get(name), logits, np.zeros(33))) < 0)

    def test_bfloat16_logits_are_raised_to_float32(self, name, batch):
        logits = jnp.asarray(batch[0], jnp.bfloat16)
        loss, labels = robust.get(name), jnp.asarray(batch[1])
        actual = loss(logits, labels)
        assert actual.dtype == jnp.float32
        np.testing.assert_array_equal(actual, loss(logits.astype(jnp.float32), labels))

    def test_compiles(self, name, batch):
        loss = robust.get(name)
        np.testing.assert_allclose(
            call(jax.jit(loss), *batch), call(loss, *batch), rtol=1e-5, atol=1e-6
        )

    def test_refuses_wrong_shapes_and_dtypes(self, name):
        loss, logits = robust.get(name), jnp.zeros((4, 3))
        with pytest.raises(ValueError, match=r"\(4, 3\), labels \(4, 1\); expected"):
            loss(logits, jnp.zeros((4, 1), jnp.int32))
        with pytest.raises(ValueError, match="labels are float32; expected integers"):
            loss(logits, jnp.zeros(4))


class TestLimits:
    @given(hnp.arrays(np.float32, (8, 4), elements=st.floats(-1e4, 1e4, width=32)))
    def test_nce_lies_between_0_and_1(self, logits):
        values = call(robust.nce, logits, np.arange(8) % 4)
        assert np.all(values >= 0)
        assert np.all(values <= 1)

    def test_nce_is_one_over_c_where_all_classes_are_equal(self):
        np.testing.assert_allclose(call(robust.nce, np.zeros((1, 10)), [3]), 0.1, rtol=1e-6)

    def test_nce_over_every_label_sums_to_1(self, batch):
        values = call(robust.nce, np.repeat(batch[0][:1], 5, axis=0), np.arange(5))
        np.testing.assert_allclose(values.sum(), 1, rtol=1e-6)

    def test_gce_tends_to_ce_as_q_falls_to_0(self, batch):
        for q in (1e-6, 1e-12):
            actual = call(robust.get("gce", q=q), *batch)
            np.testing.assert_allclose(actual, call(robust.ce, *batch), rtol=1e-4)

    def test_gce_at_q_1_is_half_of_mae(self, batch):
        actual = call(robust.get("gce", q=1), *batch)
        np.testing.assert_allclose(actual, call(robust.mae, *batch) / 2, rtol=1e-6)

    def test_taylor_ce_tends_to_ce_as_t_grows(self):
        logits, labels = np.random.default_rng(1).normal(size=(8, 4)), np.arange(8) % 4
        ce = call(robust.ce, logits, labels)
        gaps = [np.max(ce - call(robust.get("taylor_ce", t=t), logits, labels)) for t in (1, 4, 16)]
        assert gaps[0] > gaps[1] > gaps[2] > 0
        actual = call(robust.get("taylor_ce", t=1000), logits, labels)
        np.testing.assert_allclose(actual, ce, rtol=1e-5)

    def test_taylor_ce_of_one_term_is_half_of_mae(self, batch):
        actual = call(robust.get("taylor_ce", t=1), *batch)
        np.testing.assert_allclose(actual, call(robust.mae, *batch) / 2, rtol=1e-6)

    def test_agce_tends_to_gce_as_a_falls_to_0(self, batch):
        actual = call(robust.get("agce", a=1e-9, q=0.7), *batch)
        np.testing.assert_allclose(actual, call(robust.gce, *batch), rtol=1e-4, atol=1e-6)

    def test_aul_at_q_1_is_half_of_mae(self, batch):
        actual = call(robust.get("aul", a=2, q=1), *batch)
        np.testing.assert_allclose(actual, call(robust.mae, *batch) / 2, rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize(
        ("name", "params"),
        [
            ("agce", {"a": 1e-30, "q": 1e-6}),
            ("agce", {"a": 1000, "q": 10}),
            ("aul", {"a": 1 + 1e-12, "q": 0.1}),
            ("aul", {"a": 1000, "q": 10}),
            ("ael", {"a": 1e-30}),
            ("taylor_ce", {"t": 10_000}),
        ],
    )
    def test_ends_of_the_ranges_stay_finite(self, name, params):
        loss, labels = robust.get(name, **params), jnp.zeros(3, jnp.int32)
        logits = jnp.asarray([[1e4, -1e4], [-1e4, 1e4], [0.5, 0.0]])
        values, pullback = jax.vjp(lambda x: loss(x, labels), logits)
        assert np.all(np.isfinite(values))
        assert np.all(np.isfinite(pullback(jnp.ones_like(values))[0]))

    @pytest.mark.parametrize(
        ("name", "first", "second", "own"),
        [
            ("sce", "ce", "rce", {}),
            ("nce_rce", "nce", "rce", {}),
            ("nce_agce", "nce", "agce", {"a": 1.8, "q": 3.0}),
            ("nce_aul", "nce", "aul", {"a": 6.0, "q": 3.0}),
            ("nce_ael", "nce", "ael", {"a": 1.5}),
        ],
    )
    def test_combined_losses_are_weighted_sums(self, batch, name, first, second, own):
        actual = call(robust.get(name, alpha=10, beta=0.1, **own), *batch)
        one, two = call(robust.get(first), *batch), call(robust.get(second, **own), *batch)
        np.testing.assert_allclose(actual, 10 * one + 0.1 * two, rtol=1e-5)


def defaults(name):
    return {parameter: field.default for parameter, field in robust.fields(name).items()}


class TestGet:
    def test_parameters_are_those_of_the_table(self):
        assert defaults("ce") == {}
        assert defaults("gce") == {"q": 0.7}
        assert defaults("sce") == {"alpha": 0.1, "beta": 1}
        assert defaults("rce") == {"log_zero": pytest.approx(math.log(1e-4))}
        assert defaults("nce_agce") == {"alpha": 1, "beta": 4, "a": 6, "q": 1.5}
        assert defaults("taylor_ce") == {"t": 2}

    @pytest.mark.parametrize("name", NAMES)
    def test_defaults_are_accepted_and_change_nothing(self, name, batch):
        explicit = robust.get(name, **defaults(name))
        np.testing.assert_array_equal(call(explicit, *batch), call(robust.get(name), *batch))

    def test_numpy_scalars_are_numbers(self, batch):
        loss = robust.get("gce", q=np.float64(0.5))
        assert call(loss, *batch).dtype == np.float32

    @pytest.mark.parametrize(
        ("name", "params", "message"),
        [
            ("nce_agc", {}, "unknown loss 'nce_agc'; did you mean 'nce_agce'? Expected one of ce,"),
            ("xyz", {}, "unknown loss 'xyz'; expected one of ce, mae,"),
            ("gce", {"a": 1.0}, "loss 'gce' has no parameter 'a'; it takes q"),
            ("ce", {"q": 0.7}, "loss 'ce' has no parameter 'q'; it takes none"),
            ("gce", {"q": 0}, "loss 'gce' has q = 0; expected a number in (0, 1]"),
            ("gce", {"q": 1.5}, "q = 1.5; expected a number in (0, 1]"),
            ("gce", {"q": None}, "q = None; expected a number in (0, 1]"),
            ("gce", {"q": True}, "q = True; expected a number in (0, 1]"),
            ("gce", {"q": "0.7"}, "q = '0.7'; expected a number in (0, 1]"),
            ("gce", {"q": math.nan}, "q = nan; expected"),
            ("sce", {"alpha": -1}, "alpha = -1; expected a number in [0, 1e+06]"),
            ("sce", {"beta": math.inf}, "beta = inf; expected"),
            ("rce", {"log_zero": 1}, "log_zero = 1; expected a number in [-1000, 0]"),
            ("agce", {"a": 0}, "a = 0; expected a number in (0, 1000]"),
            ("agce", {"q": 0}, "q = 0; expected a number in (0, 10]"),
            ("aul", {"a": 1}, "a = 1; expected a number in (1, 1000]"),
            ("nce_aul", {"a": 1}, "a = 1; expected a number in (1, 1000]"),
            ("ael", {"a": -2}, "a = -2; expected a number in (0, 1000]"),
            ("taylor_ce", {"t": 0}, "t = 0; expected a whole number from 1 to 10,000"),
            ("taylor_ce", {"t": 2.5}, "t = 2.5; expected a whole number from 1 to 10,000"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, name, params, message):
        with pytest.raises(InputError) as error:
            robust.get(name, **params)
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_parameters_of_an_unknown_loss(self):
        with pytest.raises(InputError, match="did you mean 'gce'"):
            robust.fields("gcee")


class TestOwnFunction:
    @pytest.fixture(autouse=True)
    def my_module(self, tmp_path, monkeypatch):
        (tmp_path / "my_module.py").write_text(
            "import jax\n"
            "import jax.numpy as jnp\n"
            "def my_loss(logits, labels):\n"
            "    hot = jax.nn.one_hot(labels, logits.shape[1])\n"
            "    return jnp.sum((jax.nn.softmax(logits) - hot) ** 2, axis=-1)\n"
            "def mean_loss(logits, labels):\n"
            "    return jnp.mean(my_loss(logits, labels))\n"
            "number = 3\n"
        )
        (tmp_path / "needs_more.py").write_text("import a_package_that_is_missing\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "my_module", raising=False)  # of another test

    def test_is_found_by_import_path(self):
        loss = robust.get("my_module:my_loss")
        actual = call(jax.jit(loss), np.log([[0.5, 0.3, 0.2]]), [0])
        np.testing.assert_allclose(actual, [0.25 + 0.09 + 0.04], rtol=1e-5)

    def test_must_give_one_value_an_example(self):
        with pytest.raises(InputError, match=r"returned shape \(\); expected one value per"):
            call(robust.get("my_module:mean_loss"), np.zeros((2, 3)), [0, 1])

    @pytest.mark.parametrize(
        ("path", "params", "message"),
        [
            ("no_such_module:loss", {}, "cannot be imported (No module named 'no_such_module')"),
            ("needs_more:loss", {}, "(No module named 'a_package_that_is_missing')"),
            ("my_module:no_loss", {}, "module my_module has no 'no_loss'"),
            ("my_module:number", {}, "loss 'my_module:number' is int; expected a function"),
            ("my_module:", {}, "is not an import path; expected my_module:my_loss"),
            (":my_loss", {}, "is not an import path; expected my_module:my_loss"),
            ("my_module:my_loss", {"q": 1}, "is given q; a function by import path takes no"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(self, path, params, message):
        with pytest.raises(InputError) as error:
            robust.get(path, **params)
        assert message in str(error.value)
        assert "\n" not in str(error.value)
