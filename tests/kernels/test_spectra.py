"Spectra: what holds of every kernel, where rounding ends, and which input is refused."

import re
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensllm.kernels.spectra import (
    centred_alignment,
    condition_number,
    decay_exponent,
    effective_dimension,
    spectrum,
    target_alignment,
)

matplotlib.use("agg")
random_kernels = settings(max_examples=25, derandomize=True, deadline=None, database=None)


def refused(text, error=ValueError):
    "The next call must fail with an error that contains `text`."
    return pytest.raises(error, match=re.escape(text))


def power_kernel(n, alpha, seed, m=1500):
    "Kernel on n examples whose population has eigenvalues n i^-alpha, i = 1..m."
    Z = np.random.default_rng(seed).normal(size=(n, m))
    return (Z * np.arange(1.0, m + 1) ** -alpha) @ Z.T


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(40, 5))


@pytest.fixture(scope="module")
def coarse(features):
    "A kernel made in float32."
    return features.astype(np.float32) @ features.astype(np.float32).T


@pytest.fixture(scope="module")
def power_law():
    return power_kernel(200, 1.5, seed=0)


@pytest.fixture(scope="module")
def power_law_decay(power_law):
    return decay_exponent(power_law)


@pytest.fixture
def plot():
    "`Spectrum.plot` of a kernel; the figures are closed afterwards."
    yield lambda K, **options: spectrum(K).plot(**options)
    plt.close("all")


# Spectrum


def test_spectrum_gives_the_kernel_back(features):
    K = features @ features.T
    s = spectrum(K)
    np.testing.assert_allclose(s.K, K, atol=1e-12 * s.eigvals[0])


def test_clipped_eigenvalues_are_zero(features):
    assert spectrum(features @ features.T).eigvals.min() == 0


def test_negative_eigenvalues_beyond_rounding_are_refused(features):
    with refused("`K` must be positive semi-definite"):
        spectrum(features @ features.T - np.eye(40))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n, d", [(4, 2), (6, 3), (8, 7), (40, 5)])
def test_rank_is_the_number_of_features(n, d, dtype):
    for seed in range(200):
        X = np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)
        assert spectrum(X @ X.T).rank == d, seed


def test_precision_of_a_kernel_object_counts_like_that_of_an_array(coarse):
    assert spectrum(coarse).rank == 5
    assert spectrum(SimpleNamespace(K=coarse)).floor == spectrum(coarse).floor


def test_integers_count_as_float64():
    assert spectrum([[2, 0], [0, 1]]).floor == 2 * 2 * np.finfo(float).eps


def test_negative_eigenvalue_within_the_stated_error_is_rounding():
    rough = np.diag([1.0, 0.1, -0.01])
    assert spectrum(SimpleNamespace(K=rough, error=0.02)).rank == 2
    with refused("`K` must be positive semi-definite"):
        spectrum(rough)


def test_one_example_has_one_eigenvalue():
    single = spectrum([[4.0]])
    assert single.rank == 1
    assert condition_number(single) == 1.0
    assert effective_dimension(single, 4.0) == 0.5


def test_zero_kernel_has_no_direction():
    zero = spectrum(np.zeros((3, 3)))
    assert zero.rank == 0
    assert effective_dimension(zero, 1.0) == 0.0
    with refused("all zero for a condition number"):
        condition_number(zero)


def test_same_example_four_times_has_rank_one():
    twice = spectrum(np.ones((4, 4)))
    assert twice.rank == 1
    assert condition_number(twice) == np.inf


@pytest.mark.parametrize(
    "K, error, message",
    [
        ([[np.nan]], ValueError, "`K` must be finite, got 1 NaN"),
        (np.ones((2, 3)), ValueError, "square matrix (n, n) with n >= 1, got shape (2, 3)"),
        (np.ones((0, 0)), ValueError, "got shape (0, 0)"),
        ("kernel.npz", TypeError, "`K` must be a matrix of real numbers, got str"),
        (np.eye(2) * 1j, TypeError, "got ndarray of complex128"),
    ],
    ids=["nan", "rectangle", "empty", "text", "complex"],
)
def test_what_is_no_kernel_is_refused(K, error, message):
    with refused(message, error):
        spectrum(K)


# Effective dimension and condition number


def test_effective_dimension_falls_to_the_rank_and_not_below_it(features):
    d_eff = effective_dimension(features @ features.T, [1e-9, 1e-12, 1e-15, 1e-18])
    np.testing.assert_allclose(d_eff, 5, rtol=1e-9)


def test_effective_dimension_does_not_count_float32_rounding(coarse):
    np.testing.assert_allclose(effective_dimension(coarse, 1e-18), 5, rtol=1e-9)


def test_condition_number_of_a_kernel_is_the_squared_one_of_its_features(features):
    K = features.T @ features
    np.testing.assert_allclose(condition_number(K), np.linalg.cond(features) ** 2, rtol=1e-12)


@pytest.mark.parametrize(
    "K, kappa, message",
    [
        (np.eye(2), 0.0, "`kappa` must be > 0, got 0"),
        ([1.0, -1.0], 1.0, "finite and >= 0, got -1"),
    ],
)
def test_effective_dimension_refuses(K, kappa, message):
    with refused(message):
        effective_dimension(K, kappa)


# Decay exponent


def test_power_law_has_no_bend(power_law_decay):
    assert abs(power_law_decay.bend) < 3 * power_law_decay.bend_se


def test_unit_and_constant_direction_change_nothing_but_the_scale(power_law, power_law_decay):
    same = decay_exponent(7 * power_law + 300)
    np.testing.assert_allclose(same[:8], power_law_decay[:8], rtol=1e-6)


def test_exponent_of_a_bent_spectrum_lies_between_its_two():
    i = np.arange(1.0, 1501)
    Z = np.random.default_rng(1).normal(size=(200, 1500))
    bent = decay_exponent((Z * np.where(i < 20, 1 / i, 20**1.5 * i**-2.5)) @ Z.T)
    assert 1 < bent.value < 2.5


def test_too_few_examples_are_refused():
    with refused("at least 8 examples"):
        decay_exponent(np.eye(3))


def test_flat_spectrum_has_no_exponent():
    message = (
        "`K` shows only 0.0 effective ranks, and a decay exponent needs about 4; draw more examples"
    )
    with refused(message):
        decay_exponent(np.eye(30))


def test_float32_rounding_does_not_pass_for_effective_ranks():
    low_rank = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    with refused("`K` shows only 3.0 effective ranks"):
        decay_exponent(low_rank @ low_rank.T)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(ranks=(2, 80)), "90% of what `K` shows"),
        (dict(interval=95), "`interval` must lie in (0, 1)"),
    ],
)
def test_decay_exponent_refuses(options, message):
    with refused(message):
        decay_exponent(power_kernel(60, 2.0, seed=3), **options)


# Plot


@pytest.fixture(scope="module")
def centred_eigvals(power_law):
    K = power_law
    return np.linalg.eigvalsh(K - K.mean(0) - K.mean(1)[:, None] + K.mean())[::-1]


def test_axes_are_logarithmic(plot, power_law, power_law_decay):
    ax = plot(power_law, decay=power_law_decay)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_points_are_the_eigenvalues_of_the_centred_kernel(
    plot, power_law, power_law_decay, centred_eigvals
):
    ax = plot(power_law, decay=power_law_decay)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), centred_eigvals[:199], rtol=1e-9)
    assert "constant direction" in ax.get_xlabel()


def test_line_has_the_fitted_slope_and_the_title_its_interval(plot, power_law, power_law_decay):
    ax = plot(power_law, decay=power_law_decay)
    (rank_0, rank_1), (eigval_0, eigval_1) = ax.lines[1].get_data()
    slope = np.log(eigval_0 / eigval_1) / np.log(rank_1 / rank_0)
    np.testing.assert_allclose(slope, power_law_decay.value, rtol=1e-6)
    interval = f"{power_law_decay.low:.2f} to {power_law_decay.high:.2f}"
    assert interval in ax.get_title(loc="left")


def test_a_constant_moves_neither_points_nor_line(
    plot, power_law, power_law_decay, centred_eigvals
):
    ax, shifted = plot(power_law, decay=power_law_decay), plot(power_law + 300)
    np.testing.assert_allclose(shifted.lines[0].get_ydata(), centred_eigvals[:199], rtol=1e-9)
    np.testing.assert_allclose(shifted.lines[1].get_ydata(), ax.lines[1].get_ydata(), rtol=1e-6)


def test_plot_of_an_uncentred_decay_shows_all_eigenvalues(plot, power_law):
    K = power_law + 300
    ax = plot(K, decay=decay_exponent(K, centred=False))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), spectrum(K).eigvals)
    assert ax.get_xlabel() == "rank"


@pytest.mark.parametrize("K", [np.zeros((3, 3)), [[4.0]]], ids=["zero", "one example"])
def test_nothing_to_draw_draws_no_point(plot, K):
    assert len(plot(K).lines[-1].get_xdata()) == 0


# Alignment


def test_nearly_constant_kernel_in_float32_is_refused():
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=(30, 30))
        K = (1.1 + 6e-8 * (noise + noise.T)).astype(np.float32)
        with refused("`K1` must differ between examples"):
            centred_alignment(K, np.eye(30))


def test_a_large_constant_direction_is_no_obstacle():
    small = np.outer(np.arange(30), np.arange(30)) * 1e-7
    K = (1 + small).astype(np.float32)
    np.testing.assert_allclose(centred_alignment(K, small), 1, atol=1e-3)


def test_centred_alignment_does_not_check_signs():
    small = np.outer(np.arange(30), np.arange(30)) * 1e-7
    np.testing.assert_allclose(centred_alignment(-small, small), -1)


@pytest.mark.parametrize(
    "K1, K2, message",
    [
        (np.eye(4), np.zeros((4, 4)), "`K2` must differ between examples"),
        (np.eye(2), np.eye(3), "same examples, got 2 and 3"),
    ],
)
def test_centred_alignment_refuses(K1, K2, message):
    with refused(message):
        centred_alignment(K1, K2)


@pytest.mark.parametrize(
    "K, y, message",
    [
        (np.eye(3), np.zeros(3), "no angle to nothing"),
        (np.eye(2), [1.0, 2.0, 3.0], "`y` must be finite, of shape (2,)"),
    ],
)
def test_target_alignment_refuses(K, y, message):
    with refused(message):
        target_alignment(K, y)


# Any kernel, with repeated rows too


@pytest.fixture(scope="module")
def random_kernel():
    "A kernel of random features, the targets, and a generator; the last row may repeat the first."

    def draw(seed, n, d):
        rng = np.random.default_rng(seed)
        X, Y = rng.normal(size=(n, d)), rng.normal(size=(n, 2))
        if d % 2:
            X[-1] = X[0]
        return X @ X.T, Y, rng

    return draw


any_kernel = given(
    seed=st.integers(0, 2**31), n=st.integers(2, 12), d=st.integers(1, 12), a=st.floats(1e-3, 1e3)
)


def assert_near(K, found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * K.trace())


@random_kernels
@any_kernel
def test_eigenvalues_descend_to_at_most_the_rank_and_add_up_to_the_trace(
    random_kernel, seed, n, d, a
):
    K, _, _ = random_kernel(seed, n, d)
    s = spectrum(K)
    assert s.rank <= min(n, d)
    assert (np.diff(s.eigvals) <= 0).all()
    assert_near(K, s.eigvals.sum(), K.trace())


@random_kernels
@any_kernel
def test_effective_dimension_falls_with_kappa_from_the_rank(random_kernel, seed, n, d, a):
    K, _, _ = random_kernel(seed, n, d)
    s, kappa = spectrum(K), np.geomspace(1e-3, 1e3, 5) * K.trace()
    d_eff = effective_dimension(s, kappa)
    assert (np.diff(d_eff) < 0).all()
    assert d_eff[0] <= s.rank + 1e-9
    assert_near(K, effective_dimension(a * K, a * kappa), d_eff)


@random_kernels
@any_kernel
def test_order_and_factor_do_not_matter(random_kernel, seed, n, d, a):
    K, Y, rng = random_kernel(seed, n, d)
    order = rng.permutation(n)
    shuffled = K[np.ix_(order, order)]
    assert_near(K, spectrum(shuffled).eigvals, spectrum(K).eigvals)
    assert_near(K, spectrum(a * K).eigvals / a, spectrum(K).eigvals)
    assert_near(K, target_alignment(a * shuffled, Y[order]), target_alignment(K, Y))
    if n > 2:
        L = Y @ Y.T
        moved = L[np.ix_(order, order)] + 3
        assert_near(K, centred_alignment(a * shuffled, moved), centred_alignment(K, L))


@random_kernels
@any_kernel
def test_alignments_lie_in_the_unit_interval(random_kernel, seed, n, d, a):
    K, Y, _ = random_kernel(seed, n, d)
    assert 0 <= target_alignment(K, Y) <= 1 + 1e-12
    if n > 2:
        assert -1e-12 <= centred_alignment(K, Y @ Y.T) <= 1 + 1e-12
        assert_near(K, centred_alignment(K, K), 1)
