"Dynamics: flows and learning curves against closed forms, their invariances, and refused input."

import re
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.special import log_softmax, softmax

from lensllm.kernels import dynamics
from lensllm.kernels.dynamics import (
    cross_entropy_flow,
    empirical_weights,
    kernel_learning_curve,
    measured_learning_curve,
    plot_learning_curve,
    squared_flow,
)

matplotlib.use("agg")
random_cases = settings(max_examples=25, derandomize=True, deadline=None, database=None)


def refused(text):
    "The next call must fail with an error that contains `text`."
    return pytest.raises(ValueError, match=re.escape(text))


def mean_loss(logits, labels):
    "Nats per example, shape (k,)."
    rows = np.arange(len(labels))
    return -log_softmax(logits, axis=-1)[..., rows, labels].mean(-1)


# Squared flow


@pytest.fixture(scope="module")
def six():
    "Kernel on six examples with four features, and residuals of two outputs."
    rng = np.random.default_rng(0)
    X, r0 = rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
    return X @ X.T, r0


def test_squared_flow_has_one_entry_per_time_and_residual(six):
    assert squared_flow(*six, [0.0, 0.5, 3.0], eta=2.0).shape == (3, 6, 2)


def test_squared_norm_of_the_flow_is_the_kernel_loss_of_lensllm(six):
    (K, r0), times = six, [0.0, 0.5, 3.0]
    F = [np.linalg.norm(expm(-2 * K / 6 * t) @ r0) ** 2 for t in times]
    norm = (squared_flow(K, r0, times, eta=2.0) ** 2).sum((1, 2))
    np.testing.assert_allclose(norm, F, rtol=1e-10)


def test_squared_flow_of_one_example():
    np.testing.assert_allclose(squared_flow([[2.0]], [3.0], [1.0]), [[3 * np.exp(-2)]])


@pytest.mark.parametrize(
    "K, r0, times, eta, message",
    [
        (-np.eye(2), [1.0, 1.0], [1.0], 1.0, "`K` must be positive semi-definite"),
        (np.eye(2), [1.0, 1.0], [2.0, 1.0], 1.0, "`times` must be >= 0 and strictly rising"),
        (np.eye(2), [1.0, 1.0], [1.0], 0, "`eta` must be > 0, got 0"),
        (np.eye(2), [1.0, 1.0, 1.0], [1.0], 1.0, "`r0` must be finite, of shape (2,)"),
        (
            np.eye(2),
            [1.0, 1.0],
            [1e300],
            1e300,
            "`eta` times `times` must be finite and strictly rising",
        ),
    ],
)
def test_squared_flow_refuses(K, r0, times, eta, message):
    with refused(message):
        squared_flow(K, r0, times, eta=eta)


random_flows = given(
    seed=st.integers(0, 2**31), n=st.integers(1, 8), d=st.integers(1, 8), a=st.floats(0.01, 100)
)


def random_flow(seed, n, d):
    "Kernel, residuals, times, and the generator that made them."
    rng = np.random.default_rng(seed)
    X, r0 = rng.normal(size=(n, d)), rng.normal(size=n)
    return X @ X.T, r0, np.cumsum(rng.uniform(0.1, 2, 4)), rng


def assert_near(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-10, rtol=1e-8)


@random_cases
@random_flows
def test_no_residual_grows(seed, n, d, a):
    K, r0, times, _ = random_flow(seed, n, d)
    norms = np.linalg.norm([r0, *squared_flow(K, r0, times)], axis=1)
    assert (np.diff(norms) <= 1e-12).all()


@random_cases
@random_flows
def test_two_stretches_of_time_make_one(seed, n, d, a):
    K, r0, times, _ = random_flow(seed, n, d)
    r = squared_flow(K, r0, times)
    assert_near(squared_flow(K, r[1], [times[3] - times[1]])[0], r[3])


@random_cases
@random_flows
def test_a_larger_kernel_or_rate_is_faster_by_as_much(seed, n, d, a):
    K, r0, times, _ = random_flow(seed, n, d)
    r = squared_flow(K, r0, times)
    assert_near(squared_flow(a * K, r0, times / a), r)
    assert_near(squared_flow(K, r0, times / a, eta=a), r)


@random_cases
@random_flows
def test_order_of_examples_does_not_matter_to_the_flow(seed, n, d, a):
    K, r0, times, rng = random_flow(seed, n, d)
    order = rng.permutation(n)
    shuffled = squared_flow(K[np.ix_(order, order)], r0[order], times)
    assert_near(shuffled, squared_flow(K, r0, times)[:, order])


# Cross-entropy flow


@pytest.fixture(scope="module")
def twelve():
    "Kernel on twelve examples, logits of three classes, and labels."
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(12, 20)) * np.arange(1.0, 21) ** -0.5, rng.integers(0, 3, 12)
    return X @ X.T, rng.normal(size=(12, 3)), labels


@pytest.fixture(scope="module")
def long_flow(twelve):
    return cross_entropy_flow(*twelve, np.r_[0.0, np.geomspace(0.1, 1e3, 30)])


def test_cross_entropy_flow_has_one_entry_per_time_and_logit(long_flow):
    assert long_flow.shape == (31, 12, 3)


def test_cross_entropy_flow_starts_at_the_given_logits(twelve, long_flow):
    np.testing.assert_allclose(long_flow[0], twelve[1], rtol=1e-12)


def test_logits_of_an_example_keep_their_sum(twelve, long_flow):
    np.testing.assert_allclose(long_flow.sum(-1), np.tile(twelve[1].sum(-1), (31, 1)), atol=1e-6)


@random_cases
@random_flows
def test_cross_entropy_never_rises(seed, n, d, a):
    K, _, times, rng = random_flow(seed, n, d)
    logits0, labels = rng.normal(size=(n, 3)), rng.integers(0, 3, n)
    logits = cross_entropy_flow(K, logits0, labels, np.r_[0.0, times])
    assert (np.diff(mean_loss(logits, labels)) <= 1e-6).all()


def test_zero_kernel_moves_no_logit():
    logits0 = [[1.0, 0.0], [0.0, 2.0]]
    moved = cross_entropy_flow(np.zeros((2, 2)), logits0, [0, 0], [0.0, 9.0])[-1]
    np.testing.assert_allclose(moved, [[1, 0], [0, 2]], rtol=1e-12)


def test_no_time_is_no_move():
    assert cross_entropy_flow([[1.0]], [[0.0, 1.0]], [0], [0.0]).tolist() == [[[0.0, 1.0]]]


def test_equal_examples_with_different_labels_end_undecided():
    logits0 = [[3.0, 0.0], [3.0, 0.0]]
    clash = cross_entropy_flow(np.ones((2, 2)), logits0, [0, 1], [1e6])[0]
    np.testing.assert_allclose(softmax(clash, axis=1), 0.5, atol=1e-4)


@pytest.mark.parametrize("times, scale", [([1e-310], 1.0), ([1e-300, 1e-290], 1e9)])
def test_times_far_from_one_do_not_hang(times, scale):
    "To first order the logits are t (Y - 1/2)/n."
    logits = cross_entropy_flow(scale * np.eye(2), np.zeros((2, 2)), [0, 1], times)[0, 0]
    np.testing.assert_allclose(logits / times[0] / scale, [0.25, -0.25], rtol=1e-6)


def test_a_solver_that_gives_up_is_an_error_with_its_message(monkeypatch):
    failure = SimpleNamespace(success=False, message="step size becomes too small")
    monkeypatch.setattr(dynamics, "solve_ivp", lambda *args, **options: failure)
    with refused("got up to 1 where it says: step size becomes too small; end earlier"):
        cross_entropy_flow(np.eye(2), np.zeros((2, 2)), [0, 1], [1.0])


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(times=[-1.0]), "`times` must be >= 0"),
        (dict(times=[1e-200, 2e-200], eta=1e-200), "got [0. 0.]; choose a unit of time"),
        (
            dict(logits0=np.zeros((2, 1)), labels=[0, 0]),
            "`logits0` must be finite, of shape (n, C) with C >= 2",
        ),
        (dict(K=np.eye(3)), "`K` must have 2 or 4 rows"),
        (dict(labels=[0, 2]), "whole numbers in 0..1, got shape (2,) with [0 2]"),
        (dict(rtol=1e-20), "`rtol` and `atol` must lie in"),
    ],
)
def test_cross_entropy_flow_refuses(change, message):
    arguments = dict(K=np.eye(2), logits0=np.zeros((2, 2)), labels=[0, 1], times=[1.0])
    with refused(message):
        cross_entropy_flow(**arguments | change)


# Learning curves of a population


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_kappa_solves_its_equation(ridge):
    lam, D = np.arange(1.0, 1001) ** -1.5, np.array([3.0, 30.0, 300.0])
    kappa = dynamics._kappa(lam, D, ridge)
    modes = kappa[:, None] * lam / (lam * D[:, None] + kappa[:, None])
    np.testing.assert_allclose(kappa, ridge + modes.sum(1), rtol=1e-12)


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_effective_dimension_at_kappa_is_the_number_of_examples(ridge):
    lam, D = np.arange(1.0, 1001) ** -1.5, np.array([3.0, 30.0, 300.0])
    kappa = dynamics._kappa(lam, D, ridge)
    dimension = (lam / (lam + (kappa / D)[:, None])).sum(1)
    np.testing.assert_allclose(dimension, D * (1 - ridge / kappa), rtol=1e-10)


def test_before_any_data_the_error_is_the_target():
    assert kernel_learning_curve([1.0], [2.0], 0) == 4.0


def test_without_modes_nothing_is_learned_and_nothing_fitted():
    curve = kernel_learning_curve([0.0, 0.0], [1.0, 1.0], [0.0, 5.0], noise=1.0)
    assert curve.tolist() == [0.0, 0.0]


random_curves = given(
    seed=st.integers(0, 2**31),
    m=st.integers(1, 12),
    ridge=st.sampled_from([0.0, 0.01, 1.0, 100.0]),
    noise=st.sampled_from([0.0, 0.5]),
    a=st.floats(0.01, 100),
)


def random_curve(seed, m):
    "Eigenvalues, weights of two outputs, and sizes from 0 on."
    rng = np.random.default_rng(seed)
    lam, w = np.exp(rng.normal(size=m) * 3), rng.normal(size=(m, 2))
    return lam, w, np.r_[0.0, np.sort(rng.uniform(0, 3 * m, 8))]


def assert_same_curve(found, expected, lam, w):
    power = (w.T**2 * lam).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * power)


@random_cases
@random_curves
def test_curve_never_rises_without_noise_and_noise_adds(seed, m, ridge, noise, a):
    lam, w, D = random_curve(seed, m)
    noisy = kernel_learning_curve(lam, w, D, ridge=ridge, noise=noise)
    quiet = kernel_learning_curve(lam, w, D, ridge=ridge)
    assert (np.diff(quiet) <= 1e-9 * quiet[0]).all()
    assert (noisy >= quiet * (1 - 1e-9)).all()
    assert_same_curve(noisy[0], (w.T**2 * lam).sum(), lam, w)


@random_cases
@random_curves
def test_scaling_kernel_ridge_and_weights_together_changes_nothing(seed, m, ridge, noise, a):
    lam, w, D = random_curve(seed, m)
    curve = kernel_learning_curve(lam, w, D, ridge=ridge, noise=noise)
    scaled = kernel_learning_curve(a * lam, w / np.sqrt(a), D, ridge=a * ridge, noise=noise)
    assert_same_curve(scaled, curve, lam, w)


@random_cases
@random_curves
def test_errors_of_the_outputs_add_up(seed, m, ridge, noise, a):
    lam, w, D = random_curve(seed, m)
    curve = kernel_learning_curve(lam, w, D, ridge=ridge, noise=noise)
    outputs = [kernel_learning_curve(lam, v, D, ridge=ridge, noise=noise) for v in w.T]
    assert_same_curve(sum(outputs), curve, lam, w)


@random_cases
@random_curves
def test_a_mode_that_the_kernel_lacks_carries_no_target(seed, m, ridge, noise, a):
    lam, w, D = random_curve(seed, m)
    curve = kernel_learning_curve(lam, w, D, ridge=ridge, noise=noise)
    more_lam, more_w = np.r_[lam, 0.0], np.vstack([w, [7, 7]])
    longer = kernel_learning_curve(more_lam, more_w, D, ridge=ridge, noise=noise)
    assert_same_curve(longer, curve, lam, w)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(ridge=-1), "`ridge` must be >= 0, got -1"),
        (dict(noise=np.nan), "`noise` must be a finite number, got nan"),
        (dict(eigvals=[1.0, -1.0]), "`eigvals` must be finite and >= 0"),
        (dict(target_weights=[1.0]), "`target_weights` must be finite, of shape (2,)"),
        (dict(D=-3), "`D` must be a number of examples >= 0, got -3"),
    ],
)
def test_kernel_learning_curve_refuses(change, message):
    arguments = dict(eigvals=[1.0, 1.0], target_weights=[1.0, 1.0], D=[1.0])
    with refused(message):
        kernel_learning_curve(**arguments | change)


# Learning curves from a measured kernel


@pytest.fixture(scope="module")
def three_features():
    "Features and targets of forty examples: much of the targets is out of the kernel's reach."
    rng = np.random.default_rng(5)
    return rng.normal(size=(40, 3)), rng.normal(size=40)


@pytest.fixture(scope="module")
def out_of_reach(three_features):
    X, y = three_features
    return y - X @ np.linalg.lstsq(X, y)[0]


def test_empirical_weights_split_the_power_of_the_targets(three_features, out_of_reach):
    X, y = three_features
    modes = empirical_weights(X @ X.T, y)
    assert len(modes.eigvals) == 3
    np.testing.assert_allclose(modes.rest, (out_of_reach**2).mean(), rtol=1e-10)
    power = (modes.weights**2 * modes.eigvals).sum() + modes.rest
    np.testing.assert_allclose(power, (y**2).mean(), rtol=1e-10)


def test_measured_curve_is_that_of_least_squares(three_features, out_of_reach):
    "Least squares on d of D features has error s²/(1 - d/D)."
    X, y = three_features
    least_squares = (out_of_reach**2).sum() / 37 / (1 - 3 / np.array([20.0, 40.0]))
    curve = measured_learning_curve(X @ X.T, y, [20.0, 40.0])
    np.testing.assert_allclose(curve, least_squares, rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ridge", [1e100, 1e300])
def test_measured_curve_of_a_huge_ridge_is_flat(ridge):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 20)), rng.normal(size=8)
    curve = measured_learning_curve(X @ X.T, y, [0, 3, 8], ridge=ridge)
    np.testing.assert_allclose(curve, np.mean(y**2))


def test_measured_curve_of_a_zero_kernel_is_flat(three_features):
    _, y = three_features
    flat = measured_learning_curve(np.zeros((40, 40)), y, [0, 9])
    np.testing.assert_allclose(flat, (y**2).mean())


def test_noise_is_infinite_with_as_many_examples_as_features(three_features):
    X, y = three_features
    assert measured_learning_curve(X @ X.T, y, [3.0]).tolist() == [np.inf]


def test_target_within_the_span_is_found_exactly(three_features):
    X, _ = three_features
    curve = measured_learning_curve(X @ X.T, X @ [1.0, 2.0, 3.0], [0.0, 3.0, 4.0, 40.0])
    assert curve[0] > 1
    assert curve[1] == 0
    assert (curve[1:] < 1e-20).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(D=[3.0]), "`D` must lie in [0, 2]"),
        (dict(ridge=-1.0), "`ridge` must be >= 0"),
    ],
)
def test_measured_learning_curve_refuses(change, message):
    arguments = dict(K=np.eye(2), y=[1.0, 1.0], D=[1.0])
    with refused(message):
        measured_learning_curve(**arguments | change)


def test_empirical_weights_refuse_too_few_targets():
    with refused("`y` must be finite, of shape (2,)"):
        empirical_weights(np.eye(2), [1.0])


# Plot


@pytest.fixture
def plot():
    "`plot_learning_curve`; the figures are closed afterwards."
    yield plot_learning_curve
    plt.close("all")


def test_plot_has_log_axes_and_one_set_of_bars_per_case(plot):
    ax = None
    for scale in (1.0, 2.0):
        errors = [scale * 3.0, scale * 1.0]
        ax = plot([2, 8], errors, at=[2, 8], measured=errors, stderr=[0.1, 0.1], ax=ax)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert len(ax.containers) == 2


def test_zero_is_a_gap_in_the_line(plot):
    ax = plot([0, 2, 4, 8], [5.0, 4.0, 1.0, 0.0])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [np.nan, 4, 1, np.nan])
    assert "falls 4-fold from 2 to 4" in ax.get_title(loc="left")


def test_peak_is_a_gap_in_the_line(plot):
    ax = plot([2, 4, 8], [1.0, np.inf, 3.0])
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), [1, np.nan, 3])
    assert "rises 3-fold" in ax.get_title(loc="left")


def test_plot_refuses_sizes_and_errors_of_two_lengths():
    with refused("`D` and `E_g` must have one shape"):
        plot_learning_curve([1, 2], [1.0])
