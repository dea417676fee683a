import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmdnet_jax.losses import relation


def embeddings(seed, batch=6, features=16):
    return np.random.default_rng(seed).normal(size=(batch, features)).astype(np.float32)


@pytest.fixture
def teacher():
    return jnp.asarray(embeddings(0))


@pytest.fixture
def student():
    return jnp.asarray(embeddings(1))


def numpy_correlations(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.corrcoef(a, b)[: len(a), len(a) :]


class TestEdgeMatrix:
    def test_equals_numpys_corrcoef(self, teacher):
        actual = relation.edge_matrix(teacher)
        assert actual.dtype == jnp.float32
        np.testing.assert_allclose(actual, np.corrcoef(np.asarray(teacher, float)), atol=1e-6)

    def test_between_two_graphs_equals_numpys_corrcoef(self, teacher, student):
        actual = relation.edge_matrix(teacher, student)
        np.testing.assert_allclose(actual, numpy_correlations(teacher, student), atol=1e-6)

    def test_equals_a_case_worked_by_hand(self):
        # Centred: (-1, 0, 1), (-1, 1, 0), (1, 0, -1); every squared length is 2.
        rows = jnp.asarray([[1.0, 2.0, 3.0], [0.0, 2.0, 1.0], [5.0, 4.0, 3.0]])
        expected = [[1, 0.5, -1], [0.5, 1, -0.5], [-1, -0.5, 1]]
        np.testing.assert_allclose(relation.edge_matrix(rows), expected, atol=1e-6)

    def test_is_symmetric_with_ones_on_the_diagonal_and_within_one(self, teacher):
        matrix = np.asarray(relation.edge_matrix(teacher))
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-7)
        np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-5)
        assert np.all(np.abs(matrix) <= 1 + 1e-6)

    @given(
        seed=st.integers(0, 1000),
        shift=st.lists(st.floats(-100, 100), min_size=6, max_size=6),
        scale=st.lists(st.floats(0.01, 100), min_size=6, max_size=6),
    )
    def test_does_not_change_with_a_rows_shift_or_positive_scale(self, seed, shift, scale):
        rows = embeddings(seed)
        moved = rows * np.float32(scale)[:, None] + np.float32(shift)[:, None]
        # A shift of 100 leaves a row of deviation 0.01 three digits in float32, and no more.
        np.testing.assert_allclose(
            relation.edge_matrix(jnp.asarray(moved)),
            relation.edge_matrix(jnp.asarray(rows)),
            atol=2e-3,
        )

    @pytest.mark.parametrize("deviation", [1e-3, 1.0, 1e6])
    def test_scale_of_the_embeddings_does_not_matter(self, teacher, deviation):
        np.testing.assert_allclose(
            relation.edge_matrix(teacher * deviation), relation.edge_matrix(teacher), atol=1e-5
        )

    @pytest.mark.parametrize("constant", [0.0, 1e-3, 1000.1, -1e8])
    @pytest.mark.parametrize("features", [7, 513])
    def test_a_constant_row_correlates_0_with_everything(self, constant, features):
        rows = embeddings(0, features=features)
        rows[2:4] = constant
        matrix = np.asarray(jax.jit(relation.edge_matrix)(jnp.asarray(rows)))
        expected = np.zeros((6, 6))
        kept = np.ix_([0, 1, 4, 5], [0, 1, 4, 5])
        expected[kept] = np.corrcoef(rows[[0, 1, 4, 5]])
        np.testing.assert_allclose(matrix, expected, atol=1e-6)
        assert not matrix[2:4].any()

    def test_bfloat16_is_raised_to_float32(self, teacher):
        half = teacher.astype(jnp.bfloat16)
        actual = relation.edge_matrix(half)
        assert actual.dtype == jnp.float32
        np.testing.assert_array_equal(actual, relation.edge_matrix(half.astype(jnp.float32)))

    def test_float64_stays_float64(self, x64):
        assert relation.edge_matrix(jnp.ones((2, 3), jnp.float64)).dtype == jnp.float64

    def test_refuses_what_is_not_batch_by_features(self):
        with pytest.raises(ValueError, match=r"shape \(2, 3, 4\); expected \[batch, features\]"):
            relation.edge_matrix(jnp.zeros((2, 3, 4)))


class TestLosses:
    def test_edge_loss_is_the_frobenius_norm_of_the_difference(self, teacher, student):
        expected = np.linalg.norm(
            numpy_correlations(teacher, teacher) - numpy_correlations(student, student)
        )
        np.testing.assert_allclose(relation.edge_loss(teacher, student), expected, rtol=1e-5)

    def test_edge_loss_takes_different_widths(self, teacher):
        narrow = embeddings(2, features=5)
        expected = np.linalg.norm(numpy_correlations(teacher, teacher) - np.corrcoef(narrow))
        actual = relation.edge_loss(teacher, jnp.asarray(narrow))
        np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_node_loss_is_the_frobenius_norm_to_the_identity(self, teacher, student):
        expected = np.linalg.norm(numpy_correlations(teacher, student) - np.eye(6))
        np.testing.assert_allclose(relation.node_loss(teacher, student), expected, rtol=1e-5)

    def test_rmd_loss_weighs_nodes_with_alpha_and_edges_with_beta(self, teacher, student):
        node, edge = relation.node_loss(teacher, student), relation.edge_loss(teacher, student)
        default = relation.rmd_loss(teacher, student)
        assert default.dtype == jnp.float32
        assert default.shape == ()
        np.testing.assert_allclose(default, 0.8 * node + 0.35 * edge, rtol=1e-6)
        actual = relation.rmd_loss(teacher, student, alpha=2.0, beta=0.0)
        np.testing.assert_allclose(actual, 2 * node, rtol=1e-6)

    def test_gradient_equals_finite_differences(self, x64):
        teacher = jnp.asarray(embeddings(0, 4, 5), jnp.float64)
        student = np.asarray(embeddings(1, 4, 5), np.float64)
        loss = jax.jit(lambda s: relation.rmd_loss(teacher, s))
        gradient = jax.grad(loss)(jnp.asarray(student))
        numeric, step = np.zeros_like(student), 1e-6
        for at in np.ndindex(*student.shape):
            moved = np.zeros_like(student)
            moved[at] = step
            numeric[at] = (loss(student + moved) - loss(student - moved)) / (2 * step)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-8)

    @pytest.mark.parametrize(
        "loss",
        [relation.edge_loss, relation.node_loss, relation.rmd_loss],
        ids=lambda f: f.__name__,
    )
    def test_the_teacher_gets_no_gradient_at_all(self, loss, teacher, student):
        to_teacher, to_student = jax.grad(loss, argnums=(0, 1))(teacher, student)
        assert not np.any(to_teacher)
        assert np.any(to_student)

    @pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
    def test_a_student_that_is_the_teacher(self, transform, teacher):
        value, gradient = transform(jax.value_and_grad(relation.edge_loss, argnums=1))(
            teacher, teacher
        )
        assert value == 0
        assert not np.any(gradient)
        value, gradient = transform(jax.value_and_grad(relation.rmd_loss, argnums=1))(
            teacher, teacher
        )
        expected = 0.8 * np.linalg.norm(numpy_correlations(teacher, teacher) - np.eye(6))
        np.testing.assert_allclose(value, expected, rtol=1e-5)
        assert np.all(np.isfinite(gradient))

    @pytest.mark.parametrize("constant", [0.0, 1000.1])
    def test_constant_rows_get_no_gradient_and_spoil_no_other(self, constant, teacher, student):
        rows = student.at[2].set(constant)
        value, gradient = jax.value_and_grad(relation.rmd_loss, argnums=1)(teacher, rows)
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))
        assert not np.any(gradient[2])
        assert np.all(np.any(np.asarray(gradient)[[0, 1, 3, 4, 5]], axis=1))
        assert np.all(np.isfinite(jax.grad(relation.rmd_loss, argnums=1)(rows, student)))

    def test_all_rows_constant(self):
        dead = jnp.zeros((4, 8))
        value, gradient = jax.value_and_grad(relation.rmd_loss, argnums=1)(dead, dead)
        np.testing.assert_allclose(value, 0.8 * 2)  # ||0 - I|| of 4 samples
        assert not np.any(gradient)

    def test_refuses_different_batches(self, teacher):
        for loss in (relation.edge_loss, relation.node_loss):
            with pytest.raises(ValueError, match="batches of 6 and 5 embeddings"):
                loss(teacher, teacher[:5])

    def test_node_loss_refuses_different_widths_and_says_what_to_do(self, teacher):
        with pytest.raises(ValueError, match=r"16 and 8 features.*project one side"):
            relation.node_loss(teacher, teacher[:, :8])

    def test_refuses_what_is_not_batch_by_features(self, teacher):
        for loss in (relation.edge_loss, relation.node_loss):
            with pytest.raises(ValueError, match=r"\(6, 16\) and \(16,\); expected"):
                loss(teacher, teacher[0])


class TestCompiledProgram:
    @pytest.mark.parametrize(
        "function",
        [relation.rmd_loss, jax.grad(relation.rmd_loss, argnums=1)],
        ids=["value", "gradient"],
    )
    def test_is_made_of_matrix_products_and_holds_no_b_by_b_by_d_array(self, function):
        shape = jax.ShapeDtypeStruct((37, 53), jnp.float32)
        text = jax.jit(function).lower(shape, shape).compile().as_text()
        assert re.search(r"f32\[37,37\]\S* dot\(", text)
        shapes = re.findall(r"f32\[([\d,]+)\]", text)
        assert "37,53" in shapes
        assert max(np.prod([int(n) for n in dims.split(",")]) for dims in shapes) == 37 * 53

    def test_multiplies_at_highest_precision(self):
        shape = jax.ShapeDtypeStruct((37, 53), jnp.float32)
        text = jax.jit(relation.rmd_loss).lower(shape, shape).as_text()
        products = [line for line in text.splitlines() if "dot_general" in line]
        assert len(products) == 3  # E_t, E_s, M
        assert all("HIGHEST" in line for line in products)
