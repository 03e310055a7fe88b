"Single-curve fits: planted curves, lmfit's own numbers, bounds, outliers, refusals."

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm.curves.table import load_benchmark
from lensllm.forecast.fit import (
    _covariance,
    _predictions_that_fit,
    _rounding_sd,
    _values_that_fit,
    fit_law,
)
from lensllm.forecast.laws import LAWS, RECTIFIED
from scipy import optimize, stats

props = settings(max_examples=25, derandomize=True, deadline=None, database=None)
TRUE = dict(B=30.0, D_l=20.0, beta=0.5, E=1.8)
SIZES = np.geomspace(200, 1e6, 14)
SHORT = np.geomspace(200, 4e5, 12)


def noise(seed, n):
    return np.random.default_rng(seed).normal(size=n)


@pytest.fixture(scope="module")
def gpt2(flan):
    return flan.curve("gpt2")


@pytest.fixture(scope="module")
def part(gpt2):
    "A fit to the sizes up to 102,400."
    return fit_law("rectified", gpt2[0][:10], gpt2[1][:10])


@pytest.fixture(scope="module")
def planted():
    "A fit to a curve of known parameters with 0.2% noise."
    loss = RECTIFIED(SIZES, **TRUE) * (1 + 0.002 * noise(0, SIZES.size))
    return fit_law("rectified", SIZES, loss)


@pytest.fixture(scope="module")
def spoilt(gpt2):
    "GPT-2's curve with one outlier."
    loss = gpt2[1].copy()
    loss[6] *= 1.3
    return loss


def test_planted_parameters_are_recovered_within_their_errors(planted):
    for name, value in TRUE.items():
        assert abs(planted.params[name] - value) < 4 * planted.stderr[name], name


def test_a_good_fit_has_no_flags(planted):
    assert planted.flags == ()


def test_one_standard_error_holds_the_truth_two_times_in_three():
    inside = []
    for seed in range(200):
        loss = RECTIFIED(SHORT, **TRUE) * np.exp(0.002 * noise(seed, SHORT.size))
        fit = fit_law("rectified", SHORT, loss, n_starts=1)
        if fit.cov is not None:
            inside.append(
                [abs(fit.params[p] - v) < fit.stderr[p] for p, v in TRUE.items() if fit.stderr[p]]
            )
    share = np.mean(sum(inside, []))
    expected = stats.t.cdf(1, 8) - stats.t.cdf(-1, 8)
    assert abs(share - expected) < 3 * np.sqrt(expected * (1 - expected) / len(inside))


def test_errors_and_criteria_are_those_of_lmfit(planted):
    result = planted.result
    np.testing.assert_allclose(planted.sigma**2, result.redchi, rtol=1e-9)
    np.testing.assert_allclose(planted.cov, result.covar, rtol=1e-4)
    np.testing.assert_allclose([planted.aic, planted.bic], [result.aic, result.bic], rtol=1e-9)


def test_prediction_interval_by_hand(planted):
    g = RECTIFIED.grad([1e7], **planted.params)[0] / RECTIFIED([1e7], **planted.params)
    variance = planted.result.redchi + g @ planted.result.covar @ g
    half = stats.t.ppf(0.95, 10) * np.sqrt(variance)
    upper = planted.predict(1e7, 0.9).high / planted.predict(1e7)
    np.testing.assert_allclose(np.log(upper), half, rtol=1e-4)


@pytest.fixture(scope="module")
def rounded():
    "Five points of two decimals, four parameters: residuals may be small by luck."
    few = np.array([200, 400, 800, 1600, 3200])
    return fit_law(
        "rectified", few, np.round(RECTIFIED(few, B=120.0, D_l=30.0, beta=0.4, E=2.0), 2)
    )


def test_rounding_is_an_error_of_its_own(rounded):
    expected = 0.01 / np.sqrt(12) / np.exp(np.log(rounded.loss).mean())
    np.testing.assert_allclose(_rounding_sd(rounded.loss), expected)


def test_sigma_is_not_below_the_rounding(rounded):
    assert rounded.sigma >= _rounding_sd(rounded.loss)
    assert _rounding_sd(rounded.loss) > 0


def test_losses_with_all_their_digits_have_no_rounding(rounded):
    assert _rounding_sd(rounded.loss * np.pi) == 0


def test_prediction_with_and_without_interval_agree(part):
    assert part.predict(1638400)[0] == part.predict(1638400, 0.9).loss[0]


def test_intervals_are_nested(part):
    narrow, wide = part.predict(1638400, 0.5), part.predict(1638400, 0.9)
    assert wide.low[0] < narrow.low[0] < narrow.loss[0]
    assert narrow.loss[0] < narrow.high[0] < wide.high[0]


def test_plot_has_log_axes_points_and_a_labelled_band(part, gpt2):
    ax = part.plot(1638400)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), gpt2[1][:10])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "90% prediction interval" in labels


def test_profile_interval_holds_estimate_and_truth(planted):
    with warnings.catch_warnings():  # lmfit says where a bound stops the walk
        warnings.simplefilter("ignore")
        profile = planted.profile_interval()
    for row in profile.itertuples():
        assert row.low < row.estimate < row.high
        assert row.low < TRUE[row.parameter] < row.high


def test_profile_of_an_undetermined_fit_is_refused(gpt2):
    with pytest.raises(ValueError, match="an optimum that the data determine"):
        fit_law("rectified", gpt2[0][:4], gpt2[1][:4]).profile_interval()


def test_profile_of_a_robust_fit_is_refused(gpt2, spoilt):
    with pytest.raises(ValueError, match="has no likelihood"):
        fit_law("rectified", gpt2[0], spoilt, robust="cauchy").profile_interval()


@props
@given(seed=st.integers(0, 2**31), c=st.floats(0.2, 5))
def test_scaled_and_shuffled_losses_scale_the_prediction(seed, c):
    rng = np.random.default_rng(seed)
    D = np.geomspace(200, 2e5, 11)
    params = dict(
        B=rng.uniform(20, 60),
        D_l=rng.uniform(5, 40),
        beta=rng.uniform(0.3, 0.5),
        E=rng.uniform(0.8, 2),
    )
    loss = RECTIFIED(D, **params) * np.exp(0.003 * rng.normal(size=D.size))
    order = rng.permutation(D.size)
    plain, scaled = fit_law("rectified", D, loss), fit_law("rectified", D[order], c * loss[order])
    np.testing.assert_allclose(scaled.predict(1e6), c * plain.predict(1e6), rtol=1e-3)
    np.testing.assert_allclose(scaled.rmsd_log, plain.rmsd_log, rtol=1e-4)


def test_an_outlier_hardly_moves_the_robust_fit(gpt2, spoilt):
    D, loss = gpt2
    clean = fit_law("rectified", D, loss).predict(6553600)[0]
    plain = fit_law("rectified", D, spoilt).predict(6553600)[0]
    robust = fit_law("rectified", D, spoilt, robust="cauchy").predict(6553600)[0]
    assert abs(robust / clean - 1) < 0.25 * abs(plain / clean - 1)


def test_errors_of_a_robust_fit_do_not_count_the_outlier_in_full(gpt2, spoilt):
    plain = fit_law("rectified", gpt2[0], spoilt).sigma
    robust = fit_law("rectified", gpt2[0], spoilt, robust="cauchy").sigma
    assert robust < 0.2 * plain


def test_a_bound_that_only_the_outlier_asked_for_is_left():
    bent = RECTIFIED(SHORT, B=300.0, D_l=60.0, beta=0.4, E=1.0)
    bent = bent * np.exp(0.003 * noise(0, SHORT.size))
    bent[-1] *= 0.9
    assert fit_law("rectified", SHORT, bent).params["E"] == 0
    robust = fit_law("rectified", SHORT, bent, robust="cauchy").params["E"]
    assert 0.8 < robust < 1.2


def test_as_many_parameters_as_points_have_an_infinite_interval(gpt2):
    four = fit_law("rectified", gpt2[0][:4], gpt2[1][:4])
    assert four.predict(1e6, 0.9)[["low", "high"]].to_numpy().tolist() == [[0, np.inf]]


def test_a_parameter_at_its_bound_is_flagged(flan):
    fit = fit_law("rectified", *flan.curve("t5-small"))  # E ends at 0
    assert fit.held == ("E",)
    assert any("`E` is unknown: any floor from 0 to " in flag for flag in fit.flags)


def test_one_degree_of_freedom_is_flagged():
    fit = fit_law("rectified", [200, 400, 800, 1600, 3200], [3.0, 2.6, 2.4, 2.3, 2.25])
    assert any("one difference to tell the error by" in flag for flag in fit.flags)


def test_a_constant_curve_is_fitted_and_flagged(gpt2):
    flat = fit_law("rectified", gpt2[0][:6], np.full(6, 2.0))
    assert flat.flags
    assert np.isfinite(flat.predict(1e6)).all()


def test_a_zigzag_is_not_followed_and_its_first_flag_says_why(gpt2):
    zigzag = fit_law("rectified", gpt2[0][:4], [2.0, 2.5, 2.1, 2.6])
    assert zigzag.rmsd_log > 0.1
    assert zigzag.flags[0].startswith(
        "4 parameters on 4 sizes leave nothing to tell an error by"  # E is held
    )


@pytest.mark.parametrize("name", LAWS)
def test_every_law_fits_a_real_curve(name, gpt2):
    most = 0.08 if name == "vanilla" else 0.015  # the vanilla law is convex in log-log
    assert fit_law(name, *gpt2).rmsd_log < most


@pytest.mark.parametrize(
    "D, loss, message",
    [
        ([200, 400, 800], [4, 3, 2], "needs as many sizes above 0, got 3"),
        ([0, 1, 2, 3], [1, 1, 1, 1], "`D` must be finite and > 0, got 0.0 at position 0"),
        ([1, 2, 3, 4], [1, 1, -1, 1], "`loss` must be finite and > 0, got -1.0 at position 2"),
        ([1, 2], [1, 2, 3], "two vectors of one length"),
        ([1, 1, 2, 3], [1, 1, 1, 1], "must not repeat a size"),
    ],
    ids=["short", "zero", "negative", "shapes", "twice"],
)
def test_a_curve_that_cannot_be_fitted_is_refused(D, loss, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_law("rectified", D, loss)


@pytest.mark.parametrize(
    "law, options, message",
    [
        ("rectified", dict(robust="l2"), "`robust` must be"),
        ("rectified", dict(n_starts=0), "`n_starts` must be"),
        ("kaplan", {}, "must be one of vanilla"),
    ],
    ids=["robust", "n_starts", "law"],
)
def test_an_option_that_does_not_exist_is_refused(law, options, message, gpt2):
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_law(law, *gpt2, **options)


def test_a_parameter_at_its_bound_is_known_as_such():
    steady = fit_law("rectified", [200, 400, 800, 1600, 3200], [3.0, 2.9, 2.8, 2.7, 2.6])
    assert "E" in steady.held
    assert steady.params["E"] == 0
    D = 200.0 * 2 ** np.arange(8)
    assert fit_law("rectified", D, 30 / (20 + D**0.5) + 1.8).held == ()


# Floors that have not shown, and other parameters at their bounds

DOUBLING = 200.0 * 2 ** np.arange(7)
AHEAD = DOUBLING[-1] * np.array([8, 78, 500])


@pytest.fixture(scope="module")
def no_floor():
    "A clean power curve in three decimals: its floor has not shown."
    return fit_law("rectified", DOUBLING, np.round(10 * DOUBLING**-0.2, 3))


@pytest.fixture(scope="module")
def straight():
    "A curve that falls by a tenth per doubling; E ends at 0."
    return fit_law("rectified", DOUBLING, [3.0, 2.9, 2.8, 2.7, 2.6, 2.5, 2.4])


def band_with_bounds_known(fit, D, interval):
    "ln(low) and ln(high) by the delta method, parameters at bounds taken as known."
    g = fit.law.grad(D, **fit.params) / fit.predict(D)[:, None]
    cov = _covariance(fit, fit.held)
    half = stats.t.ppf((1 + interval) / 2, fit.dof) * np.sqrt(
        fit.sigma**2 + np.einsum("mi,ij,mj->m", g, cov, g)
    )
    return np.log(fit.predict(D)) - half, np.log(fit.predict(D)) + half


@pytest.mark.parametrize("digits", [3, 4, 15])
def test_a_clean_curve_without_a_floor_says_that_the_floor_is_unknown(digits):
    fit = fit_law("rectified", DOUBLING, np.round(10 * DOUBLING**-0.2, digits))
    assert any("`E` is unknown: any floor from 0 to " in flag for flag in fit.flags)


def test_the_band_of_a_curve_without_a_floor_reaches_from_none_to_a_possible_one(no_floor):
    _, floor = _values_that_fit(no_floor, "E")
    band = no_floor.predict([AHEAD[-1], 1e12], 0.9)
    truth = 10 * AHEAD[-1] ** -0.2
    assert 0.95 * truth < band.low[0] < truth  # as E = 0 gives it
    assert floor > 0.2
    assert band.high[1] > floor


def test_a_floor_at_its_bound_makes_the_band_wider_than_a_known_one(straight):
    _, high = band_with_bounds_known(straight, AHEAD, 0.9)
    band = straight.predict(AHEAD, 0.9)
    assert straight.held == ("E",)
    assert (np.log(band.high) > high + 0.01).all()
    assert (band.high > 2.3).all()  # the floor may lie just below the lowest loss
    assert (band.low < band.loss).all()


@pytest.mark.parametrize("interval", [0.5, 0.9])
def test_the_profile_of_a_good_fit_is_its_delta_method(planted, interval):
    profiled = np.log(_predictions_that_fit(planted, [2e6, 1e7], interval))
    band = np.log(planted.predict([2e6, 1e7], interval)[["low", "high"]].to_numpy().T)
    np.testing.assert_allclose(profiled, band, atol=0.1 * np.diff(band, axis=0).max())


def test_intervals_of_interior_fits_are_those_of_the_delta_method(planted):
    low, high = band_with_bounds_known(planted, AHEAD, 0.9)
    band = planted.predict(AHEAD, 0.9)
    np.testing.assert_allclose(np.log([band.low, band.high]), [low, high], rtol=1e-12)


def least_squares_with(fit, D, y):
    "Sum of squares of the fit's curve with a measurement y at D, by scipy from several starts."
    sizes, target = np.r_[fit.D, D], np.r_[np.log(fit.loss), y]
    lowest, highest = np.array(list(fit.law.bounds.values())).T

    def residual(theta):
        return np.log(fit.law.fn(sizes, **dict(zip(fit.law.params, theta, strict=True)))) - target

    costs = []
    for start in [fit.params, *fit.law.starts(sizes, np.exp(target), 3)]:
        inside = np.clip(list(start.values()), lowest + 1e-9, highest - 1e-9)
        found = optimize.least_squares(
            residual, inside, bounds=(lowest, highest), x_scale="jac", max_nfev=2000
        )
        costs.append(2 * found.cost)
    return min(costs)


@pytest.mark.parametrize("end", ["low", "high"])
def test_at_the_ends_of_the_band_the_sum_of_squares_has_risen_by_t(straight, end):
    D = AHEAD[0]
    y = np.log(straight.predict(D, 0.9)[end][0])
    risen = least_squares_with(straight, D, y) - (straight.residuals**2).sum()
    t = stats.t.ppf(0.95, straight.dof)
    np.testing.assert_allclose(np.sqrt(risen) / max(straight.sigma, 1e-3), t, rtol=0.01)


def test_the_profile_of_a_parameter_at_its_bound_is_one_sided(straight):
    profile = straight.profile_interval().set_index("parameter")
    assert profile.at_bound["E"] == "low"
    assert profile.low["E"] == profile.estimate["E"] == 0
    assert 2 < profile.high["E"] < 2.6
    assert profile.at_bound["beta"] != "low and high"


def test_no_interval_says_why():
    fit = fit_law("vanilla", DOUBLING, 10 * DOUBLING**-0.2)
    assert fit.predict(1e6, 0.9)[["low", "high"]].to_numpy().tolist() == [[0, np.inf]]
    assert any("so there is no interval" in flag for flag in fit.flags)


def test_nine_in_ten_measurements_lie_in_the_90_percent_band_of_unclear_floors():
    rng = np.random.default_rng(3)
    inside = []
    while len(inside) < 30:
        D_l, beta, E = rng.uniform(10, 300), rng.uniform(0.35, 0.65), rng.uniform(0.8, 2.2)
        B = (rng.uniform(3, 5) - E) * (D_l + 200**beta)
        truth = RECTIFIED(np.r_[DOUBLING, AHEAD], B=B, D_l=D_l, beta=beta, E=E)
        loss = truth * np.exp(0.006 * rng.normal(size=10))
        fit = fit_law("rectified", DOUBLING, loss[:7], n_starts=1)
        if fit.flags:
            band = fit.predict(AHEAD[1], 0.9)
            inside.append(band.low[0] <= loss[8] <= band.high[0])
    assert stats.binom.cdf(sum(inside), len(inside), 0.9) > 0.01


# Inputs from the field


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("law", ["rectified", "vanilla", "pow4", "mmf4"])
@pytest.mark.parametrize(
    "D, loss",
    [
        (DOUBLING, [0.42, 0.42, 0.4, 0.4, 0.4, 0.38, 0.38]),
        (DOUBLING, [1, 1, 1, 0.5, 0.5, 0.25, 0.25]),
        (DOUBLING, np.ones(7)),
        (DOUBLING * 1e9, 2 + 8 * DOUBLING**-0.3),
        (DOUBLING[:4], [3, 2.9, 2.8, 2.7]),
        (DOUBLING, [2.0, 2.5, 2.1, 2.6, 2.0, 2.7, 2.2]),
        (DOUBLING, 1 + DOUBLING / DOUBLING[-1]),
    ],
    ids=["coarse grid", "error rates", "all wrong", "billions", "four sizes", "zigzag", "rising"],
)
def test_odd_curves_are_fitted_without_a_warning(law, D, loss):
    fit = fit_law(law, D, loss)
    band = fit.predict(np.array([2.0, 500.0]) * D[-1], 0.9)
    assert (band.low <= band.loss).all()
    assert (band.loss <= band.high).all()


@pytest.mark.parametrize(
    "D, loss, message",
    [
        (DOUBLING[:2], [3, 2], "needs as many sizes above 0, got 2"),
        (DOUBLING[:4], [1, 0.5, 0.5, 0], "`loss` must be finite and > 0, got 0.0 at position 3"),
    ],
    ids=["two sizes", "error rate of 0"],
)
def test_what_cannot_be_fitted_is_refused_in_one_line(D, loss, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        fit_law("rectified", D, loss)
    assert "\n" not in str(caught.value)


LADDER = np.array([200, 400, 800, 1600, 3200, 6400])
LADDER_LOSSES = 2 + 8 * LADDER**-0.3


@pytest.mark.parametrize(
    "D, loss",
    [
        (LADDER[::-1], LADDER_LOSSES[::-1]),
        (LADDER.astype("int32"), LADDER_LOSSES.astype("float64")),
        (list(map(int, LADDER)), list(map(float, LADDER_LOSSES))),
        (pd.Series(LADDER, index=range(10, 16)), pd.Series(LADDER_LOSSES, index=range(20, 26))),
    ],
    ids=["unsorted", "int32", "lists", "series of other indexes"],
)
def test_a_curve_is_fitted_alike_however_it_is_held(D, loss):
    assert fit_law("rectified", D, loss).params == pytest.approx(
        fit_law("rectified", LADDER, LADDER_LOSSES).params, rel=1e-6, abs=1e-6
    )


@pytest.mark.parametrize("unit", [1e9, 1 / 6400], ids=["billions of tokens", "fractions"])
def test_the_unit_of_sizes_changes_no_prediction(unit):
    usual, other = (fit_law("rectified", LADDER * scale, LADDER_LOSSES) for scale in (1.0, unit))
    ahead = np.array([12_800.0, 102_400.0])
    np.testing.assert_allclose(other.predict(ahead * unit), usual.predict(ahead), rtol=1e-4)


def test_a_band_has_no_notches(flan):
    "A refit that stops too early, half-way along a valley of floors, leaves one."
    name = next(model for model in flan.models if model.endswith("gpt2"))
    D, loss = flan.up_to(12_800).curve(name)
    band = fit_law("rectified", D, loss).predict(np.geomspace(15_000, 100_000, 24), interval=0.9)
    assert (np.diff(band.high) < 1e-3).all()


def test_a_solver_that_stopped_names_no_range_of_floors():
    curve = load_benchmark("mini/headline").filter(model=["neox-books"]).wide().iloc[0]
    fit = fit_law("m4", curve.index[1:], curve.to_numpy()[1:])
    assert not fit.result.success
    assert any("a solver that stopped cannot say which floors fit" in flag for flag in fit.flags)
    assert not any("any floor from" in flag for flag in fit.flags)
