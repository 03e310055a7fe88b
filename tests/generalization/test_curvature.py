"Curvature estimates against whole matrices, planted spectra and their edge cases."

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm.generalization import curvature
from lensllm.generalization.curvature import (
    _mean_estimate,
    curvature_along,
    hessian_trace,
    layer_traces,
    spectral_density,
    top_eigenvalues,
)
from lensllm.models.batches import take
from oracles import seeded
from torch import nn
from torch.testing import assert_close

METHODS = ("hutchinson", "hutch++", "xtrace")
ONE = torch.tensor([[3.0]], dtype=torch.float64)
ZEROS = torch.zeros(6, 6, dtype=torch.float64)


def with_spectrum(eigenvalues, seed=0):
    "A symmetric matrix with these eigenvalues, in a random basis."
    eigenvalues = torch.as_tensor(eigenvalues, dtype=torch.float64)
    n = len(eigenvalues)
    basis = torch.randn(n, n, generator=seeded(seed), dtype=torch.float64)
    basis = torch.linalg.qr(basis)[0]
    matrix = (basis * eigenvalues) @ basis.T
    return (matrix + matrix.T) / 2


KNOWN = torch.cat(
    [
        torch.tensor([-9.0, 5.0, 5.0, 2.0], dtype=torch.float64),
        torch.linspace(-0.1, 0.1, 36, dtype=torch.float64),
    ]
)
KNOWN_MATRIX = with_spectrum(KNOWN)
TOLERANCE = 1e-6 * 9  # that of `top_eigenvalues`: a share of the largest in absolute value


class Quadratic(nn.Module):
    "Forty parameters whose energy has a known Hessian."

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(40, dtype=torch.float64))


def energy(model, batch):
    return (model.theta @ KNOWN_MATRIX @ model.theta / 2).expand(len(batch["x"]))


@pytest.fixture
def quadratic():
    return dict(model=Quadratic(), batches=dict(x=torch.zeros(3, 1)), output=energy)


# Traces


def test_products_are_columns_of_the_hessian(trained):
    columns = trained.products @ torch.eye(len(trained.hessian), dtype=torch.float64)[:, :3]
    assert_close(columns, trained.hessian[:, :3], rtol=1e-10, atol=1e-12)


def test_pilot_draws_leave_the_trace_unbiased():
    # One eigenvalue is as large as half of the others together: samples are skewed.
    spiked = with_spectrum([1.0] + [2 / 119] * 119)
    values = [hessian_trace(spiked, generator=seeded(seed)).value for seed in range(600)]
    standard_error = np.std(values) / len(values) ** 0.5
    assert abs(np.mean(values) - 3) < 3 * standard_error


def test_trace_of_a_quadratic_is_the_sum_of_its_eigenvalues(quadratic):
    estimate = hessian_trace(**quadratic, generator=seeded(1), num_probes=400, rel_stderr=None)
    assert abs(estimate.value - float(KNOWN.sum())) < 4 * estimate.stderr


@pytest.mark.parametrize("method", ["xtrace", "hutch++"])
def test_trace_is_exact_with_more_probes_than_directions(method):
    estimate = hessian_trace(KNOWN_MATRIX, generator=seeded(), method=method, num_probes=400)
    np.testing.assert_allclose(estimate.value, float(KNOWN.sum()), rtol=1e-9)


@pytest.mark.parametrize("method", ["xtrace", "hutch++"])
def test_trace_is_exact_where_the_first_vectors_find_all_directions(method):
    three_directions = torch.diag(torch.tensor([1.0] * 3 + [0.0] * 27, dtype=torch.float64))
    estimate = hessian_trace(three_directions, generator=seeded(), method=method, num_probes=24)
    np.testing.assert_allclose(estimate.value, 3.0, rtol=1e-9)


@pytest.mark.parametrize("matrix, trace", [(ONE, 3.0), (ZEROS, 0.0)], ids=["one", "zeros"])
def test_trace_of_the_smallest_matrices(matrix, trace):
    assert hessian_trace(matrix, generator=seeded()).value == trace


# Eigenvalues


def test_a_double_eigenvalue_is_reported_once(quadratic):
    steepest = top_eigenvalues(**quadratic, k=3, generator=seeded(1), which="magnitude")
    np.testing.assert_allclose(steepest.values, [-9.0, 5.0, 2.0], rtol=0, atol=TOLERANCE)


def test_largest_eigenvalue_of_a_quadratic(quadratic):
    largest = top_eigenvalues(**quadratic, k=1, generator=seeded(1))
    np.testing.assert_allclose(largest.values, [5.0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("matrix, largest", [(ONE, 3.0), (ZEROS, 0.0)], ids=["one", "zeros"])
def test_largest_eigenvalue_of_the_smallest_matrices(matrix, largest):
    assert float(top_eigenvalues(matrix, k=1, generator=seeded()).values[0]) == largest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenvalues_that_occur_many_times_are_found_in_both_precisions(dtype):
    twins = with_spectrum([5.0] * 10 + [2.0] * 20).to(dtype)
    found = top_eigenvalues(twins, k=2, generator=seeded())
    np.testing.assert_allclose(found.values, [5.0, 2.0], rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_eigenvalues_than_there_are_is_refused(dtype):
    twins = with_spectrum([5.0] * 10 + [2.0] * 20).to(dtype)
    message = "`k` must be <= the number of different eigenvalues, 2, got 3"
    with pytest.raises(ValueError, match=re.escape(message)):
        top_eigenvalues(twins, k=3, generator=seeded())


# Along a direction


@pytest.fixture(scope="module")
def direction(trained):
    return torch.randn(len(trained.hessian), dtype=torch.float64, generator=seeded(1))


def test_positive_part_is_exact_after_all_directions(trained, direction):
    corner, v = trained.hessian[:40, :40], direction[:40]
    eigenvalues, eigenvectors = torch.linalg.eigh(corner)
    exact = float((eigenvectors.T @ v) ** 2 @ eigenvalues.clamp(min=0))
    assert_close(curvature_along(corner, v=v, steps=40, rtol=0).positive, exact, rtol=1e-8, atol=0)


def test_positive_part_is_at_least_the_value(trained, direction):
    along = curvature_along(trained.hessian, v=direction)
    assert along.positive >= along.value


def test_the_matrix_decides_on_the_precision(trained, direction):
    double = curvature_along(trained.hessian, v=direction)
    single = curvature_along(trained.hessian, v=direction.float())
    np.testing.assert_allclose(single.positive, double.positive, rtol=1e-5)


def test_no_curvature_along_a_zero_vector(trained, direction):
    assert curvature_along(trained.hessian, v=torch.zeros_like(direction)).positive == 0.0


# Densities


def test_density_of_a_zero_matrix_lies_at_zero():
    assert spectral_density(ZEROS, generator=seeded()).mean_of(np.abs).value == 0.0


def test_density_makes_up_no_zero_where_all_is_found_early():
    diagonal = torch.diag(torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64))
    density = spectral_density(diagonal, generator=seeded())
    found = (density.nodes.min(), density.nodes.max(), density.mean_of(np.log).value)
    np.testing.assert_allclose(found, (3.0, 5.0, np.log(60) / 3), rtol=1e-6)


# The Fisher matrix, whose targets are drawn


@pytest.fixture
def fisher(trained):
    rows = take(trained.rows, slice(0, 4))
    return dict(model=trained.model, batches=rows, kind="fisher", generator=seeded())


def test_fisher_trace_is_positive(fisher):
    assert hessian_trace(**fisher, num_probes=4).value > 0


def test_largest_fisher_eigenvalue_is_positive(fisher):
    assert float(top_eigenvalues(**fisher, k=1).values[0]) > 0


def test_fisher_layer_traces_are_positive(fisher):
    assert min(e.value for e in layer_traces(**fisher, num_probes=2).values()) > 0


def test_fisher_density_is_over_all_parameters(fisher, trained):
    assert spectral_density(**fisher, draws=2, steps=3).P == len(trained.hessian)


# Properties


def random_symmetric(seed, n):
    B = torch.randn(n, n, dtype=torch.float64, generator=seeded(seed))
    return B + B.T


any_matrix = given(seed=st.integers(0, 2**31), n=st.integers(8, 40))
few_examples = settings(max_examples=25, derandomize=True, deadline=None, database=None)


@few_examples
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(8, 40),
    factor=st.floats(0.1, 10),
    method=st.sampled_from(METHODS),
)
def test_a_scaled_matrix_scales_its_trace_and_error(seed, n, factor, method):
    A = random_symmetric(seed, n)
    options = dict(method=method, num_probes=12, rel_stderr=None)
    one = hessian_trace(A, generator=seeded(seed), **options)
    scaled = hessian_trace(factor * A, generator=seeded(seed), **options)
    expected = (factor * one.value, factor * one.stderr)
    assert_close((scaled.value, scaled.stderr), expected, rtol=1e-6, atol=1e-9)


@few_examples
@any_matrix
def test_top_eigenpairs_are_those_of_the_matrix(seed, n):
    A = random_symmetric(seed, n)
    eigenvalues = torch.linalg.eigvalsh(A).flip(0).numpy()
    top = top_eigenvalues(A, k=3, generator=seeded(seed), max_products=200)
    np.testing.assert_allclose(top.values, eigenvalues[:3], rtol=1e-5, atol=1e-9)
    vectors = top.vectors.numpy()
    residual = np.abs(A.numpy() @ vectors - vectors * top.values)
    assert (residual < 1e-2 * np.abs(eigenvalues).max()).all()


@few_examples
@any_matrix
def test_density_lies_within_the_spectrum_and_its_weights_are_shares(seed, n):
    A = random_symmetric(seed, n)
    eigenvalues = torch.linalg.eigvalsh(A)
    density = spectral_density(A, generator=seeded(seed), draws=2, steps=n)
    places = density.nodes[density.weights > 0]
    assert float(eigenvalues.min()) - 1e-9 < places.min()
    assert places.max() < float(eigenvalues.max()) + 1e-9
    np.testing.assert_allclose(density.weights.sum(1), 1.0, rtol=1e-9)


@few_examples
@any_matrix
def test_random_signs_know_a_diagonal_at_once(seed, n):
    diagonal = torch.diag(torch.linalg.eigvalsh(random_symmetric(seed, n)))
    assert hessian_trace(diagonal, generator=seeded(seed), num_probes=2).stderr < 1e-9


# Mistakes


@pytest.mark.parametrize(
    "function, options, message",
    [
        (hessian_trace, dict(method="exact"), "hutchinson, hutch++ or xtrace"),
        (hessian_trace, dict(num_probes=1), "`num_probes` must be >= 2"),
        (hessian_trace, dict(rel_stderr=0), "`rel_stderr` must be > 0"),
        (hessian_trace, dict(batches=dict(x=torch.zeros(3, 1))), "leave them out"),
        (hessian_trace, dict(params="lora"), "leave them out"),
        (layer_traces, dict(), "has no layers"),
        (top_eigenvalues, dict(k=0), "`k` must be a whole number from 1"),
        (spectral_density, dict(draws=1), "`draws` and `steps`"),
    ],
)
def test_option_that_cannot_be_meant_is_refused(function, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        function(KNOWN_MATRIX, generator=seeded(), **options)


def test_model_without_batches_is_refused(trained):
    with pytest.raises(ValueError, match="`batches` must be given with a model"):
        hessian_trace(trained.model, generator=seeded())


def test_a_seed_in_place_of_a_generator_is_refused(trained):
    with pytest.raises(TypeError, match="torch.Generator"):
        hessian_trace(trained.model, trained.rows, generator=0)


def test_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match="symmetric matrix"):
        hessian_trace(KNOWN_MATRIX[:3], generator=seeded())


def test_more_eigenvalues_than_a_zero_matrix_has_is_refused():
    with pytest.raises(ValueError, match="different eigenvalues"):
        top_eigenvalues(ZEROS, k=3, generator=seeded())


def test_direction_of_another_length_is_refused():
    with pytest.raises(ValueError, match="`v` must have shape"):
        curvature_along(KNOWN_MATRIX, v=torch.zeros(3))


def test_density_without_a_width_is_refused():
    density = spectral_density(ZEROS, generator=seeded())
    with pytest.raises(ValueError, match="`width` must be > 0"):
        density.at([0.0], 0.0)


def test_level_of_an_interval_is_a_share():
    with pytest.raises(ValueError, match=re.escape("`level` must lie in (0, 1)")):
        _mean_estimate([1.0, 2.0], 2, "by hand").interval(1.0)


class Columns:
    "Twice the identity; it notes how many vectors it is given at once."

    def __init__(self, P):
        self.P, self.like, self.widths = P, torch.zeros(1), []

    def __matmul__(self, V):
        self.widths.append(V.shape[1])
        return 2 * V


@pytest.mark.parametrize("most, widths", [(2**27, [10, 5]), (40, [4, 4, 4, 3]), (1, [1] * 15)])
def test_vectors_of_a_large_model_come_a_few_at_a_time(monkeypatch, most, widths):
    "Ten of 135 million random bits each, with what they are drawn in, took 20 GB."
    monkeypatch.setattr(curvature, "_MOST_SIGNS", most)
    A = Columns(P=10)
    samples = curvature._sign_samples(A, 15, seeded(0))
    assert A.widths == widths
    assert samples.tolist() == [20.0] * 15
