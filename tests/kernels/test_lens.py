"LensLLM's law and hints: the matrix exponential, conversions, regressions, and refused input."

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from lensllm.curves.table import CurveSet, load_benchmark
from lensllm.forecast.fit import fit_law
from lensllm.forecast.laws import RECTIFIED
from lensllm.kernels.dynamics import kernel_learning_curve, squared_flow
from lensllm.kernels.lens import (
    LensLaw,
    _fitted_parameters,
    _ridge_prediction,
    curve_hint,
    hint_of,
    kernel_features,
    learn_hints,
    lens_law,
)

ETA = 0.5
EIGVALS = 1 / np.arange(1.0, 33) ** 1.5
D = 200 * 2.0 ** np.arange(14)
PARAMETERS = dict(B=700.0, D_l=160.0, beta=0.4, E=1.1)


def refused(text, error=ValueError):
    "The next call must fail with an error that contains `text`."
    return pytest.raises(error, match=re.escape(text))


@pytest.fixture(scope="module")
def six():
    "Features of six rows, rank 4, and a residual."
    rng = np.random.default_rng(0)
    return rng.normal(size=(6, 4)), 2 * rng.normal(size=6)


@pytest.fixture(scope="module")
def K(six):
    return six[0] @ six[0].T


@pytest.fixture(scope="module")
def r0(six):
    return six[1]


@pytest.fixture(scope="module")
def lens(K, r0):
    return lens_law(K, r0, eta=ETA)


@pytest.fixture(scope="module")
def big():
    "A kernel whose loss spans sizes like those of the shipped curves."
    return LensLaw(np.r_[EIGVALS, 0.0], np.r_[300 * EIGVALS, 2.0], 0.1)


@pytest.fixture(scope="module")
def gpt2():
    "Sizes and losses of GPT-2 on FLAN."
    return load_benchmark("flan").curve("gpt2")


# F


def test_dF_is_the_derivative_of_F(lens):
    complex_step = lens.F(2.0 + 1e-20j).imag / 1e-20
    np.testing.assert_allclose(lens.dF(2.0), complex_step, rtol=1e-13)


def test_dF_is_the_difference_of_matrix_exponentials(lens, K, r0):
    after, before = (np.sum((expm(-ETA * K / 6 * t) @ r0) ** 2) for t in (2 + 1e-4, 2 - 1e-4))
    np.testing.assert_allclose(lens.dF(2.0), (after - before) / 2e-4, rtol=1e-6)


def test_F_is_the_squared_norm_of_the_flow(lens, K, r0):
    times = np.array([0.3, 2.0, 40.0])
    flow = squared_flow(K, r0, times, eta=ETA)
    np.testing.assert_allclose(lens.F(times), (flow**2).sum(1), rtol=1e-12)


def test_eigenvalues_are_those_of_the_kernel_over_its_rows(lens, K):
    np.testing.assert_allclose(lens.eigvals, np.linalg.eigvalsh(K)[::-1] / 6, atol=1e-14)


def test_kernel_object_brings_its_residual_and_outputs_add_up(lens, K, r0):
    kernel = SimpleNamespace(K=torch.tensor(K), residual=torch.tensor(np.c_[r0, 3 * r0]))
    both = lens_law(kernel, eta=ETA)
    np.testing.assert_allclose(both.F([0.0, 2.0]), 10 * lens.F([0.0, 2.0]), rtol=1e-12)


@pytest.mark.parametrize("t, message", [([2.0, -1.0], "got -1"), (np.nan, "got nan")])
@pytest.mark.parametrize("method", ["F", "dF", "D_l_of"])
def test_steps_below_zero_are_refused(lens, method, t, message):
    with refused("`t` must be steps >= 0, " + message):
        getattr(lens, method)(t)


def test_single_precision_finds_the_null_space_too(lens, K, r0):
    coarse = lens_law(K.astype(np.float32), r0, eta=ETA)
    np.testing.assert_allclose(coarse.floor, lens.floor, rtol=1e-3)


def test_null_space_in_float32_is_that_of_the_features():
    for seed in range(200):
        Y = np.random.default_rng(seed).normal(size=(4, 2)).astype(np.float32)
        law = lens_law(Y @ Y.T, np.ones(4), eta=1.0)
        assert (law.eigvals > 0).sum() == 2, seed


def test_lists_and_whole_numbers_are_vectors():
    listed = LensLaw([1.0, 0.0], [2.0, 3.0], 0.1)
    assert listed.floor == 3
    np.testing.assert_allclose(listed.F(5.0), 3 + 2 * np.exp(-1))
    assert LensLaw([1, 0], [2, 3], 1).floor == 3


def test_a_law_equals_only_itself():
    first, second = (LensLaw([1.0, 0.0], [2.0, 3.0], 0.1) for _ in range(2))
    assert first != second


def test_one_row_has_a_closed_form():
    "F = 9 exp(-4 t)."
    one = lens_law([[4.0]], [3.0], eta=0.5)
    np.testing.assert_allclose(one.F(0.5), 9 * np.exp(-2), rtol=1e-12)
    np.testing.assert_allclose(one.t_of(9 * np.exp(-2)), 0.5, rtol=1e-12)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(residual=np.ones(5)), "of shape (6,) or (6, C), got shape (5,)"),
        (dict(residual=np.full(6, np.nan)), "`residual` must be finite"),
        (dict(kernel=np.full((6, 6), np.nan)), "`kernel` must be finite"),
        (dict(kernel=np.eye(6) + np.triu(np.ones((6, 6)))), "`kernel` must be symmetric"),
        (dict(kernel=-np.eye(6)), "`kernel` must be positive semi-definite"),
        (dict(eta=0.0), "`eta` must be a learning rate > 0, got 0"),
    ],
)
def test_lens_law_refuses(change, message):
    arguments = dict(kernel=np.eye(6), residual=np.ones(6), eta=0.1)
    with refused(message):
        lens_law(**arguments | change)


@pytest.mark.parametrize(
    "eigvals, weights, message",
    [
        (np.ones(3), np.ones(2), "two vectors of one length"),
        ([1.0, -1.0], np.ones(2), "`eigvals` must be finite and >= 0, got -1"),
    ],
)
def test_lens_law_of_vectors_refuses(eigvals, weights, message):
    with refused(message):
        LensLaw(eigvals, weights, 0.1)


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31), n=st.integers(1, 8), rank=st.integers(1, 8), out=st.integers(1, 3)
)
def test_F_falls_is_convex_and_does_not_depend_on_the_order(seed, n, rank, out):
    rng = np.random.default_rng(seed)
    X, r = rng.normal(size=(n, rank)), rng.normal(size=(n, out))
    law, order, t = lens_law(X @ X.T, r, eta=0.3), rng.permutation(n), np.linspace(0, 5, 21)
    F = law.F(t)
    assert (np.diff(F) <= 0).all()
    assert (np.diff(F, 2) >= -1e-12 * F[0]).all()
    assert (np.diff(np.log(law._reachable(t).sum(-1)), 2) >= -1e-9).all()
    shuffled = lens_law((X @ X.T)[np.ix_(order, order)], r[order], eta=0.3)
    np.testing.assert_allclose(shuffled.F(t), F, rtol=1e-9)
    exact = [np.sum((expm(-0.3 * X @ X.T / n * s) @ r) ** 2) for s in t]
    np.testing.assert_allclose(F, exact, rtol=1e-9, atol=1e-11 * F[0])


# Steps and pre-learned sizes


def test_floor_itself_takes_no_step(lens):
    with refused("`D_l` must lie in"):
        lens.t_of(lens.floor)


@pytest.fixture(scope="module")
def slow():
    "A law whose second half takes more steps than there are numbers."
    return LensLaw([1.0, 1e-310], [1.0, 1.0], 1.0)


def test_a_size_beyond_all_steps_is_refused(slow):
    with refused("Newton's method did not converge"):
        slow.t_of(0.5)


def test_a_size_within_reach_of_a_slow_kernel_has_its_step(slow):
    np.testing.assert_allclose(slow.F(slow.t_of(1.5)), 1.5)


def test_nine_decades_of_eigenvalues_convert():
    wide, sizes = LensLaw(np.geomspace(1, 1e-9, 40), np.ones(40), 1.0), [0.5, 3.0, 39.9]
    np.testing.assert_allclose(wide.D_l_of(wide.t_of(sizes)), sizes, rtol=1e-10)


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31), n=st.integers(1, 8), rank=st.integers(1, 8), out=st.integers(1, 3)
)
def test_sizes_and_steps_convert_there_and_back(seed, n, rank, out):
    rng = np.random.default_rng(seed)
    X, r = rng.normal(size=(n, rank)), rng.normal(size=(n, out))
    law = lens_law(X @ X.T, r, eta=0.3)
    D_l = law.floor + (law.cap - law.floor) * rng.uniform(0.01, 1, 5)
    np.testing.assert_allclose(law.D_l_of(law.t_of(D_l)), D_l, rtol=1e-10)
    first, last = law.law().bounds["t"]
    back = [law.from_rectified(**law.to_rectified(1.0, 0.3, 0.0, t))["t"] for t in (first, last)]
    np.testing.assert_allclose(back, [0.0, last], rtol=1e-5, atol=1e-9 * last)


# The law


@pytest.mark.parametrize("end", ["cap", "lowest"])
def test_law_and_rectified_law_agree_at_the_ends_of_the_range(big, end):
    first, last = big.law().bounds["t"]
    t, D_l = (first, big.cap) if end == "cap" else (last, big._lowest_D_l)
    rectified = PARAMETERS | dict(D_l=D_l)
    converted = big.from_rectified(**rectified)
    np.testing.assert_allclose(converted["t"], t, rtol=1e-9)
    loss = big.law()(D, **converted)
    np.testing.assert_allclose(loss, RECTIFIED(D, **rectified), rtol=1e-12)
    back = big.from_rectified(**big.to_rectified(**converted))
    np.testing.assert_allclose(back["t"], t, rtol=1e-6)


@pytest.mark.parametrize("outside", ["above the cap", "floor", "just above the floor", "nan"])
def test_sizes_outside_the_range_of_the_law_are_refused(big, outside):
    D_l = {
        "above the cap": big.cap * 1.001,
        "floor": big.floor,
        "just above the floor": big.floor + 1e-7 * (big.cap - big.floor),
        "nan": np.nan,
    }[outside]
    with refused("`D_l` must"):
        big.from_rectified(**PARAMETERS | dict(D_l=D_l))


def test_gradient_in_t_is_the_difference_of_losses(big):
    at, h = big.from_rectified(**PARAMETERS), 1e-5
    after, before = (big.law()(D, **at | dict(t=at["t"] + sign * h)) for sign in (1, -1))
    gradient = big.law().grad(D, **at)[:, 3]
    np.testing.assert_allclose(gradient, (after - before) / (2 * h), rtol=1e-5)


def test_starting_points_lie_within_the_bounds(big):
    bounds = big.law().bounds
    for start in big.law().starts(D, RECTIFIED(D, **PARAMETERS)):
        for parameter, value in start.items():
            low, high = bounds[parameter]
            assert low <= value <= high, parameter


def test_curve_beyond_the_cap_is_held_there_and_doubted(gpt2):
    low = LensLaw(EIGVALS, 60 * EIGVALS / EIGVALS.sum(), 0.1)
    fit = fit_law(low.law(), *gpt2)
    np.testing.assert_allclose(low.D_l_of(fit.params["t"]), low.cap)
    assert any("`t` ended at its bound 0" in flag for flag in fit.flags)
    assert "above the kernel's cap of 60" in low.doubts(fit)[0]


def test_curve_below_the_floor_is_doubted(gpt2):
    high = LensLaw(np.r_[EIGVALS, 0], np.r_[EIGVALS, 900.0], 0.1)
    assert "below the kernel's floor of 900" in high.doubts(fit_law(high.law(), *gpt2))[0]


@pytest.fixture(scope="module")
def free_fit(big, gpt2):
    return fit_law(big.law(), *gpt2)


def test_curve_within_the_range_is_not_doubted(big, free_fit):
    assert not big.doubts(free_fit)


def test_given_the_fitted_step_the_curve_is_the_same_and_not_doubted(big, gpt2, free_fit):
    given_t = fit_law(big.law(free_fit.params["t"]), *gpt2)
    np.testing.assert_allclose(given_t.predict(gpt2[0]), free_fit.predict(gpt2[0]), rtol=1e-4)
    assert big.doubts(given_t) == []


# Hints from numbers and curves


def test_hint_refuses_a_size_of_zero():
    with refused("`D_l` must be > 0, got 0"):
        hint_of(D_l=(0.0, 1.0))


@pytest.fixture(scope="module")
def predicted():
    "Theory's curve for a kernel with a power-law spectrum."
    i = np.arange(1.0, 20_001)
    return kernel_learning_curve(i**-1.5, i**-0.15, D[:7], ridge=500.0)


COVARIANCE = np.array([[0.25, 0.03, 0.1], [0.03, 0.01, 0.01], [0.1, 0.01, 0.09]])


def test_of_a_covariance_what_concerns_size_and_exponent_is_kept(predicted):
    precision = curve_hint(D[:7], predicted, spread=COVARIANCE).precision
    np.testing.assert_allclose(precision[:2, :2], np.linalg.inv(COVARIANCE[:2, :2]), rtol=1e-9)
    assert np.abs(precision[2]).max() < 1e-5


def test_with_a_scale_the_whole_covariance_is_kept(predicted):
    hint = curve_hint(D[:7], predicted, spread=COVARIANCE, scale=2.0)
    np.testing.assert_allclose(hint.spread, COVARIANCE)


def test_scale_turns_the_prediction_into_nats():
    hint = curve_hint(D, RECTIFIED(D, **PARAMETERS) / 3, spread=np.eye(3), scale=3.0)
    np.testing.assert_allclose(hint.mean, [np.log(160), 0.4, 1.1], rtol=1e-4)


def test_power_law_has_a_small_size_not_zero():
    hint = curve_hint(D, 9 * D**-0.2, spread=[1.0, 1.0, 1.0])
    np.testing.assert_allclose(hint.mean[0], np.log(0.01 * 200**0.2), rtol=0.05)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(spread=[1.0, 1.0]), "`spread` must be 3 standard deviations, or a covariance (3, 3)"),
        (dict(spread=np.eye(2)), "`spread` must be 3 standard deviations, or a covariance (3, 3)"),
        (dict(spread=1.0), "`spread` must be 3 standard deviations, or a covariance (3, 3)"),
        (dict(spread=np.ones(3), scale=-1.0), "`scale` must be > 0"),
        (dict(spread=np.ones(3), scale=0.0), "`scale` must be > 0"),
        (dict(spread=np.ones(3), scale=np.nan), "`scale` must be a finite number"),
    ],
)
def test_curve_hint_refuses(options, message):
    with refused(message):
        curve_hint(D, 1 / D, **options)


# Features of a kernel


@pytest.fixture(scope="module")
def power_law_features():
    "Features of 64 rows whose kernel has exponent 1.5."
    return np.random.default_rng(6).normal(size=(64, 400)) * np.arange(1.0, 401) ** -0.75


@pytest.fixture(scope="module")
def measured(power_law_features):
    Z = power_law_features
    return kernel_features(Z @ Z.T, Z[:, 0], eta=0.1, t=20)


def test_effective_dimension_is_taken_at_the_mean_eigenvalue(power_law_features, measured):
    K = power_law_features @ power_law_features.T
    smoother = K @ np.linalg.inv(K + np.eye(64) * np.trace(K) / 64)
    np.testing.assert_allclose(measured.effective_dimension, np.trace(smoother), rtol=1e-10)


def test_alignment_is_that_of_kernel_and_residual(power_law_features, measured):
    K, r = power_law_features @ power_law_features.T, power_law_features[:, 0]
    np.testing.assert_allclose(
        measured.alignment, r @ K @ r / (np.linalg.norm(K) * (r @ r)), rtol=1e-10
    )


def test_kernel_of_few_rows_has_no_decay(K, r0):
    assert np.isnan(kernel_features(K, r0, eta=0.1, t=20).decay)


def test_features_of_a_kernel_object_are_those_of_its_parts(power_law_features, measured):
    Z = power_law_features
    kernel = SimpleNamespace(K=Z @ Z.T, residual=Z[:, 0])
    pd.testing.assert_series_equal(kernel_features(kernel, eta=0.1, t=20), measured)


@pytest.mark.parametrize(
    "residual, t, message",
    [
        ([0.0, 0.0], 1.0, "`residual` must not be all zero"),
        ([1.0, 1.0], 1e4, "`t` must leave some residual"),
    ],
)
def test_kernel_features_refuse(residual, t, message):
    with refused(message):
        kernel_features(np.eye(2), residual, eta=1.0, t=t)


# Hints learned from known curves


@pytest.fixture(scope="module")
def planted():
    "Curves of 40 rectified laws, their true ln D_l, and features that know of them."
    rng, n = np.random.default_rng(0), 40
    f1, f2 = rng.normal(size=(2, n))
    beta = np.clip(0.32 + 0.08 * f2 + 0.03 * rng.normal(size=n), 0.1, 0.7)
    L_1 = rng.uniform(2, 4, n)
    ln_D_l = 1 + 1.2 * f1 + 0.3 * rng.normal(size=n) + beta * np.log(200)
    E, models, rows = L_1 * rng.uniform(0, 0.4, n), [f"m{i}" for i in range(n)], []
    for i, model in enumerate(models):
        B = (L_1[i] - E[i]) * (np.exp(ln_D_l[i]) + 200 ** beta[i])
        loss = RECTIFIED(D, B=B, D_l=np.exp(ln_D_l[i]), beta=beta[i], E=E[i])
        loss = loss * np.exp(0.006 * rng.normal(size=D.size))
        rows += [("planted", model, int(d), v) for d, v in zip(D, loss, strict=True)]
    table = pd.DataFrame(rows, columns=["task", "model", "train_size", "test_loss"])
    truth = pd.Series(ln_D_l, index=models)
    return CurveSet(table), truth, pd.DataFrame(dict(f1=f1, f2=f2), index=models)


@pytest.fixture(scope="module")
def fitted(planted):
    "Parameters fitted to the planted curves."
    curves, _, _ = planted
    return np.array([_fitted_parameters(*curves.curve(m)) for m in curves.models])


def test_features_that_know_nothing_give_the_spread_of_the_candidates(planted):
    curves, truth, features = planted
    noise = np.random.default_rng(3).normal(size=(40, 2))
    blind = learn_hints(pd.DataFrame(noise, index=features.index), curves)
    assert np.sqrt(blind["m0"].spread[0, 0]) > 0.8 * truth.std()
    assert np.std([hint.mean[0] for hint in blind.values()]) < 0.5 * truth.std()


def test_constant_features_give_the_mean_of_the_others(planted, fitted):
    curves, _, features = planted
    constant = learn_hints(features.assign(f1=1.0, f2=2.0), curves)
    np.testing.assert_allclose(constant["m0"].mean, fitted[1:].mean(0))
    assert np.sqrt(constant["m0"].spread[0, 0]) > 0.9 * np.std(fitted[:, 0])


@pytest.fixture(scope="module")
def before_and_after(planted):
    "Hints of twelve models, before and after the curve of m0 is replaced by another."
    curves, _, features = planted
    frame = curves.frame
    other_loss = frame.test_loss.where(frame.model != "m0", 9 / frame.train_size**0.1)
    changed = CurveSet(frame.assign(test_loss=other_loss))
    return tuple(learn_hints(features.head(12), known) for known in (curves, changed))


@pytest.mark.parametrize("part", ["mean", "spread"])
def test_a_hint_never_looks_at_its_own_curve(before_and_after, part):
    before, after = (getattr(hints["m0"], part) for hints in before_and_after)
    np.testing.assert_allclose(after, before, rtol=1e-12)


def test_hints_of_the_others_look_at_it(before_and_after):
    before, after = before_and_after
    assert after["m1"].spread[0, 0] > 1.1 * before["m1"].spread[0, 0]


@pytest.mark.parametrize(
    "change, error, message",
    [
        (
            lambda f: dict(new=f[["f1"]]),
            ValueError,
            "`new` must have the columns f1, f2, got f1",
        ),
        (
            lambda f: dict(features=f * np.nan),
            ValueError,
            "`features` must hold finite numbers, got 80 that are not",
        ),
        (
            lambda f: dict(features=f.assign(f1="large")),
            TypeError,
            "`features` must be a DataFrame of numbers",
        ),
        (lambda f: dict(new={"m0": 1.0}), TypeError, "`new` must be a DataFrame of numbers"),
        (lambda f: dict(curves=f), TypeError, "`curves` must be a CurveSet, got DataFrame"),
    ],
    ids=["columns", "missing", "words", "no table", "no curves"],
)
def test_learn_hints_refuses(planted, change, error, message):
    curves, _, features = planted
    with refused(message, error):
        learn_hints(**dict(features=features, curves=curves) | change(features))


# The regression


@pytest.fixture(scope="module")
def regression():
    draws = (np.random.default_rng(seed).normal(size=(12, 3)) for seed in (4, 5))
    return tuple(draws)


def test_without_a_penalty_the_regression_is_least_squares(regression):
    X, Y = regression
    coefficients = np.linalg.lstsq(np.c_[np.ones(12), X], Y, rcond=None)[0]
    found = _ridge_prediction(X, Y, X[0], np.array([1e-12]))
    np.testing.assert_allclose(found, np.r_[1, X[0]] @ coefficients, rtol=1e-8)


def test_with_a_huge_penalty_the_regression_is_the_mean(regression):
    X, Y = regression
    found = _ridge_prediction(X, Y, X[0], np.array([1e12]))
    np.testing.assert_allclose(found, Y.mean(0), rtol=1e-8)


def test_features_that_repeat_each_other_give_hints():
    D = np.array([200, 400, 800, 1600, 3200])
    table = {str(size): (20 + np.arange(6)) * size**-0.3 + np.arange(6) / 9 for size in D}
    curves = CurveSet(dict(model=list("abcdef"), **table))
    once = pd.DataFrame({"x": np.arange(6.0)}, index=list("abcdef"))
    twice = once.assign(y=2 * once.x, z=-once.x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hints = learn_hints(twice, curves)
    for model, hint in learn_hints(once, curves).items():
        np.testing.assert_allclose(hints[model].mean, hint.mean, rtol=0.3, atol=0.05)
