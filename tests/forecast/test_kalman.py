"The filter against finite differences, closed forms, normal distributions and random draws."

import re

import numpy as np
import pytest
from lensllm.curves.table import CurveSet
from lensllm.forecast.kalman import (
    FLOOR_SHARE,
    LOG_SLOPE_RANGE,
    OPEN,
    SLOPE_REVERSION,
    Cov,
    Growth,
    Hint,
    Motion,
    State,
    _hint_observation,
    _rectified_slope,
    _slope_moments,
    _step,
    damping,
    draw_losses,
    evidence,
    expected_growth,
    filter_curves,
    look_ahead,
    motion_of,
    panel,
    with_families,
    with_hints,
)
from lensllm.forecast.laws import RECTIFIED

BENT = dict(B=90.0, D_l=15.0, beta=0.4)
STRAIGHT = dict(B=9.0, D_l=0.0, beta=0.2)
TYPICAL = np.array([[0.05, 0.0, np.log(0.18), np.log(0.006), np.log(0.055), np.log(0.4), 0.0]])
OTHER = np.array([[0.1, 0.1, np.log(0.3), np.log(0.004), np.log(0.04), np.log(0.5), 0.0]])
MEANS = ("level", "log_slope", "growth")
FAMILY_OF = {
    "gpt2": "GPT2",
    "gpt2-large": "GPT2",
    "gpt2-xl": "GPT2",
    "t5-small": "T5",
    "t5-base": "T5",
    "microsoft/phi-2": "Phi",
}


def leaves(state):
    "All numbers of a state in one array."
    return np.array([*state[:4], *state.cov])


def means(state):
    "Level, log slope and growth, shape (values, candidates, 3)."
    return np.stack(state[:3], axis=-1)


def last_state(curves, shared, motion):
    *_, step = filter_curves(curves, shared, motion)
    return step.state


# --- one step


def noise_free(law, x, k=1.0):
    "The model's noise-free path through the sizes exp(x), started on the rectified law."
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    first, power = RECTIFIED(np.exp(x[:1]), **law), np.exp(law["beta"] * x[0])
    slope = np.log(law["beta"] * power / (law["D_l"] + power) * (1 - law["E"] / first)) * one
    growth = one * law["beta"] * k
    state = State(np.log(first)[None], slope, growth, slope, Cov(*[zero] * 6))
    for h in np.diff(x):
        state = _step(state, np.full((1, 1), h), Growth(growth, zero), Motion(k, law["E"]))
    return np.exp(state.level[0, 0])


def miss(law, steps_per_doubling=1, k=1.0):
    "Relative distance from the law after 13 doublings."
    start, n = np.log(200), 13 * steps_per_doubling + 1
    x = np.linspace(start, start + 13 * np.log(2), n)
    return noise_free(law, x, k) / RECTIFIED(np.exp(x[-1:]), **law)[0] - 1


@pytest.mark.parametrize("law, k", [(BENT, 1.0), (STRAIGHT, 0.0)], ids=["rectified", "power"])
def test_mean_is_the_law_without_a_floor(law, k):
    np.testing.assert_allclose(miss(law | dict(E=0.0), k=k), 0, atol=1e-8)


@pytest.mark.parametrize("law, k", [(BENT, 1.0), (STRAIGHT, 0.0)], ids=["rectified", "power"])
def test_mean_is_the_law_above_a_floor_in_small_steps(law, k):
    np.testing.assert_allclose(miss(law | dict(E=0.5), 200, k), 0, atol=1e-6)


def test_error_above_a_floor_falls_fast_with_the_step():
    floored = BENT | dict(E=0.5)
    assert abs(miss(floored)) > 50 * abs(miss(floored, 10))


def start(cov):
    "A state in the middle of a curve."
    level, log_slope, growth, anchor = 0.5, np.log(0.3), 0.4, np.log(0.2)
    entries = [np.full((1, 1), value) for value in (level, log_slope, growth, anchor, *cov)]
    return State(*entries[:4], Cov(*entries[4:]))


def moved(state):
    "One and a half e-folds further, without a floor."
    expected = Growth(np.full((1, 1), 0.3), 0.2)
    return _step(state, np.full((1, 1), 1.5), expected, Motion(1.0, 0.0))


def test_covariances_travel_by_the_derivatives_of_the_mean():
    certain, derivatives = start([0.0] * 6), []
    for name in MEANS:
        above = moved(certain._replace(**{name: getattr(certain, name) + 1e-6}))
        below = moved(certain._replace(**{name: getattr(certain, name) - 1e-6}))
        derivatives.append((means(above) - means(below))[0, 0] / 2e-6)
    J = np.stack(derivatives, axis=-1)
    P = np.array([[0.2, 0.03, 0.01], [0.03, 0.3, 0.02], [0.01, 0.02, 0.1]])
    noise = moved(certain).cov.matrix
    travelled = moved(start(Cov.from_matrix(P))).cov.matrix - noise
    np.testing.assert_allclose(travelled[0, 0], J @ P @ J.T, rtol=1e-6)


def test_damping_near_the_floor_and_below_it_is_bounded():
    levels = np.log([0.5, 1.0, 1.05, 2.0])
    np.testing.assert_allclose(damping(levels, Motion(1.0, 1.0)), [19, 19, 19, 3])


# --- curves as arrays


@pytest.fixture(scope="module")
def curves(flan):
    return panel(flan.up_to(12800))


@pytest.fixture(scope="module")
def uneven(flan):
    "GPT-2 seen to 800 only."
    frame = flan.up_to(12800).frame
    return panel(CurveSet(frame.query("model != 'gpt2' or train_size < 1000")))


def test_panel_holds_log_losses_in_the_order_of_the_table(curves, flan):
    assert curves.x.shape == (30, 7)
    np.testing.assert_allclose(np.exp(curves.y[3]), flan.curve(curves.models[3])[1][:7])


def test_short_rows_are_padded(uneven):
    assert list(uneven.on[uneven.models.index("gpt2")]) == [True] * 3 + [False] * 4


def test_unknown_families_are_empty_names(flan):
    families = dict(zip(flan.models, [None, np.nan, "a"] * 10))
    frame = flan.up_to(200).frame.assign(family=lambda f: f.model.map(families))
    assert list(panel(CurveSet(frame)).family) == ["", "", "a"] * 10


def test_a_model_needs_a_run_above_size_zero(flan):
    cut = CurveSet(flan.frame.query("model != 'gpt2' or train_size == 0"))
    with pytest.raises(ValueError, match="every model; gpt2 has none"):
        panel(cut)


def test_one_in_another_unit_has_a_floor_of_its_own(flan, curves):
    odd = flan.up_to(12800).frame
    odd = odd.assign(test_loss=odd.test_loss.where(odd.model != "gpt2", odd.test_loss / 100))
    floors = motion_of(panel(CurveSet(odd)), "floored").floor
    others = [model != "gpt2" for model in flan.models]
    np.testing.assert_allclose(
        floors[others], motion_of(curves, "floored").floor[others], rtol=0.02
    )
    np.testing.assert_allclose(
        floors[flan.models.index("gpt2")], FLOOR_SHARE * flan.curve("gpt2")[1][0] / 100
    )


def test_one_point_is_no_evidence(flan):
    single = panel(flan.filter(model="gpt2").up_to(200))
    assert evidence(single, TYPICAL, motion_of(single, "floored")) == [0.0]


# --- families


@pytest.fixture(scope="module")
def families(uneven):
    "Curves of two families whose members end at different sizes, and their states."
    family = np.array([FAMILY_OF.get(model, "") for model in uneven.models])
    curves = uneven._replace(family=family)
    motion, shared = motion_of(curves, "floored"), np.vstack([TYPICAL, OTHER])
    alone = last_state(curves, shared, motion)
    return curves, alone, expected_growth(curves, shared, motion)


@pytest.fixture(scope="module")
def together(families):
    curves, alone, expected = families
    return with_families(alone, curves, expected, 0.3)


@pytest.mark.parametrize("value", [0, 1])
def test_family_growths_are_one_normal_distribution(value, families, together):
    curves, alone, expected = families
    last, family = curves.x[:, -1].round(1), curves.family
    same = (family[:, None] == family) & (family != "")
    common = 0.3 * same * np.exp(-np.abs(last[:, None] - last))
    correlation = np.where(np.eye(30), 1.0, common)
    v, total = alone.cov.growth[value], expected.sd[value, 0] ** 2
    told = np.diag(1 / v - 1 / total)
    C = np.linalg.inv(np.linalg.inv(total * correlation) + told)
    surplus = (alone.growth - expected.mean)[value]
    np.testing.assert_allclose(
        together.growth[value], expected.mean[value] + C @ (surplus / v), rtol=1e-9
    )
    np.testing.assert_allclose(together.cov.growth[value], np.diag(C), rtol=1e-9)


def test_level_and_slope_follow_the_growth_linearly(families, together):
    _, alone, _ = families
    gain = alone.cov.matrix[..., 2] / alone.cov.growth[..., None]
    move = (together.growth - alone.growth)[..., None]
    less = (together.cov.growth - alone.cov.growth)[..., None, None]
    np.testing.assert_allclose(means(together) - means(alone), gain * move, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(
        together.cov.matrix - alone.cov.matrix,
        gain[..., None] * gain[..., None, :] * less,
        rtol=1e-7,
        atol=1e-12,
    )


def test_only_models_with_relatives_move(families, together):
    curves, alone, _ = families
    moves = (np.abs(together.growth - alone.growth) > 1e-6).all(0)
    moving = [model for model, moves_ in zip(curves.models, moves) if moves_]
    assert sorted(moving) == sorted(set(FAMILY_OF) - {"microsoft/phi-2"})


@pytest.mark.parametrize("case", ["nothing in common", "no families", "each its own family"])
def test_models_without_relatives_are_unchanged(case, families):
    curves, alone, expected = families
    share = 0.0 if case == "nothing in common" else 0.4
    if case == "no families":
        curves = curves._replace(family=np.full(30, ""))
    if case == "each its own family":
        curves = curves._replace(family=np.array(curves.models))
    unchanged = with_families(alone, curves, expected, share)
    np.testing.assert_allclose(leaves(unchanged), leaves(alone), rtol=1e-9, atol=1e-12)


def test_one_point_each_tells_a_family_nothing(flan):
    short = panel(flan.up_to(200))._replace(family=np.full(30, "one"))
    motion, shared = motion_of(short, "floored"), np.vstack([TYPICAL, OTHER])
    first = last_state(short, shared, motion)
    after = with_families(first, short, expected_growth(short, shared, motion), 1.0)
    np.testing.assert_allclose(leaves(after), leaves(first), rtol=1e-9, atol=1e-12)


def test_slopes_stay_in_range_whatever_a_family_tells(families):
    curves, alone, expected = families
    wild_cov = alone.cov._replace(slope_growth=-100 * np.abs(alone.cov.slope_growth))
    wild = alone._replace(log_slope=np.full_like(alone.log_slope, 1.0), cov=wild_cov)
    slopes = with_families(wild, curves, expected, 0.9).log_slope
    assert (slopes <= LOG_SLOPE_RANGE[1]).all()
    assert (slopes >= LOG_SLOPE_RANGE[0]).all()


# --- hints

GIVEN = Hint([5.0, 0.4, 1.1], [[0.09, 0.01, 0.0], [0.01, 0.01, 0.005], [0.0, 0.005, 0.04]])


def test_slope_and_growth_of_the_law_agree_with_differences():
    law, at, step = dict(B=700.0, D_l=160.0, beta=0.4, E=1.1), np.log(400.0), 1e-3

    def ln_loss(x):
        return np.log(RECTIFIED(np.exp(np.atleast_1d(x)), **law))[0]

    def ln_slope(x):
        return np.log((ln_loss(x - step) - ln_loss(x + step)) / (2 * step))

    growing = (ln_slope(at + step) - ln_slope(at - step)) / (2 * step)
    np.testing.assert_allclose(
        _rectified_slope(np.log(law["D_l"]), law["beta"], law["E"], at, np.exp(ln_loss(at))),
        [ln_slope(at), growing],
        rtol=1e-5,
    )


def test_cubature_agrees_with_400_000_draws():
    at = np.log(400.0)
    mean, cov = _slope_moments(
        np.array([GIVEN.mean]),
        np.array([GIVEN.spread]),
        np.array([at]),
        np.array([4.0]),
        np.array([1.5]),
    )
    draws = np.random.default_rng(0).multivariate_normal(GIVEN.mean, GIVEN.spread, 400_000).T
    slope, growing = _rectified_slope(draws[0], np.clip(draws[1], 0.01, 3), draws[2], at, 4.0)
    drawn = np.stack([slope, growing + 1.5 * np.exp(slope)])
    np.testing.assert_allclose(mean[0], drawn.mean(1), atol=4e-3)
    np.testing.assert_allclose(cov[0], np.cov(drawn), rtol=0.03)


class Before:
    "GPT-2 on FLAN before a hint, with what a hint about it is made of."

    def __init__(self, curves):
        self.curves, self.row = curves, curves.models.index("gpt2")
        self.motion = motion_of(curves, "floored")
        self.state = last_state(curves, TYPICAL, self.motion)
        row = [self.row]
        self.x, self.loss = curves.x[row, -1], np.exp(curves.y[row, -1])
        self.q = damping(curves.y[:, -1], self.motion)[row]

    def hinted(self, spread, mean=GIVEN.mean):
        return with_hints(self.state, self.curves, {"gpt2": Hint(mean, spread)}, self.motion)

    def of_gpt2(self, state):
        return means(state)[0, self.row], state.cov.matrix[0, self.row]


@pytest.fixture(scope="module")
def before(curves):
    return Before(curves)


def test_update_is_bayes_rule_in_its_other_form(before):
    H = np.array([[0, 1, 0], [0, -SLOPE_REVERSION, 1]])
    observed, precision = _hint_observation([GIVEN], before.x, before.loss, before.q)
    (mean, P), (new_mean, new_P) = (
        before.of_gpt2(state) for state in (before.state, before.hinted(GIVEN.spread))
    )
    C = np.linalg.inv(np.linalg.inv(P) + H.T @ precision[0] @ H)
    np.testing.assert_allclose(new_P, C, rtol=1e-7)
    anchor = before.state.anchor[0, before.row]
    seen = observed[0] - [0, SLOPE_REVERSION * anchor]
    expected = C @ (np.linalg.inv(P) @ mean + H.T @ precision[0] @ seen)
    np.testing.assert_allclose(new_mean, expected, rtol=1e-7)


def test_a_hint_moves_no_other_model(before):
    others = np.arange(30) != before.row
    after = before.hinted(GIVEN.spread)
    np.testing.assert_array_equal(leaves(after)[..., others], leaves(before.state)[..., others])


def test_a_sure_hint_puts_the_state_on_its_law(before):
    sure = before.hinted([1e-6] * 3)
    _, log_slope, growth = before.of_gpt2(sure)[0]
    anchor = sure.anchor[0, before.row]
    growing = growth - before.q[0] * np.exp(log_slope) - SLOPE_REVERSION * (log_slope - anchor)
    law = _rectified_slope(5.0, 0.4, 1.1, before.x[0], before.loss[0])
    np.testing.assert_allclose([log_slope, growing], law, atol=1e-3)


def test_an_infinite_spread_is_no_hint(before):
    assert before.hinted([np.inf] * 3) is before.state


def test_a_large_spread_is_hardly_a_hint(before):
    wide = before.hinted([1e4] * 3)
    np.testing.assert_allclose(leaves(wide), leaves(before.state), rtol=1e-3, atol=1e-6)


def test_one_parameter_tells_less_than_three_and_more_than_none(before):
    states = (
        before.hinted([1e-6] * 3),
        before.hinted(GIVEN.spread),
        before.hinted([0.3, np.inf, np.inf]),
        before.state,
    )
    sure, all_three, one, none = (state.cov.slope[0, before.row] for state in states)
    assert sure < all_three < one < none


def test_a_hint_that_says_nothing_observes_the_open_distribution(before):
    bend, beta, share = np.random.default_rng(1).normal(*OPEN, size=(400_000, 3)).T
    beta = np.clip(beta, 0.01, 3)
    floor = np.clip(share, 0, 0.95) * before.loss
    slope, growing = _rectified_slope(bend + beta * before.x, beta, floor, before.x, before.loss)
    nothing = Hint(GIVEN.mean, [1e4] * 3)
    observed, _ = _hint_observation([nothing], before.x, before.loss, before.q)
    drawn = [slope.mean(), (growing + before.q * np.exp(slope)).mean()]
    np.testing.assert_allclose(observed[0], drawn, atol=0.2)


@pytest.mark.parametrize(
    "mean, spread, message",
    [
        ([np.nan, 0.3, 1.0], [1, 1, 1], "`mean` must hold finite ln D_l, beta and E"),
        ([5.0, 0.3, 1.0], [1.0, 0.0, 1.0], "`spread` must be 3 standard deviations > 0"),
        ([5.0, 0.3, 1.0], -np.eye(3), "`spread` must be 3 standard deviations > 0"),
    ],
    ids=["mean", "zero spread", "negative covariance"],
)
def test_a_hint_that_is_no_distribution_is_refused(mean, spread, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Hint(mean, spread)


def test_more_sizes_than_the_filter_should_walk_are_refused_with_the_remedy():
    sizes = range(1, 600)
    curves = CurveSet(dict(model=["a"] * 599, train_size=sizes, test_loss=[3.0] * 599))
    with pytest.raises(
        ValueError, match="at most 256 sizes above 0 .* got 599 of a; keep one size in 3"
    ):
        panel(curves)


# --- curves from the model


def test_drawn_curves_begin_with_the_losses_given(flan):
    curves = panel(flan.up_to(6400))
    _, measured = draw_losses(curves, TYPICAL, motion_of(curves, "floored"), seed=0)
    np.testing.assert_allclose(measured[:, 0], curves.y[:, 0], rtol=1e-12)


def test_a_seed_gives_the_same_curves_and_another_seed_others(flan):
    curves = panel(flan.up_to(6400))
    motion = motion_of(curves, "floored")
    draws = [draw_losses(curves, TYPICAL[0], motion, seed=seed)[1] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2])[:, 1:].all()


def test_drawn_noise_is_as_large_as_said(flan):
    curves = panel(flan.up_to(6400))
    curves = curves._replace(noise_ratio=curves.noise_ratio * np.arange(1, 7) ** 2)
    motion, differences = motion_of(curves, "floored"), []
    for seed in range(40):
        true, measured = draw_losses(curves, TYPICAL, motion, seed=seed)
        differences.append(measured - true)
    expected = 0.006 * np.arange(1, 7)
    np.testing.assert_allclose(np.std(differences, axis=(0, 1)), expected, rtol=0.07)


def test_without_spread_and_noise_drawn_curves_take_the_filter_s_path(flan):
    curves, still = panel(flan.up_to(6400)), TYPICAL.copy()
    still[0, [2, 3, 5]] = -20  # spread of growth, noise, spread of slopes
    motion = motion_of(curves, "rectified")
    true, _ = draw_losses(curves, still, motion, seed=0)
    silent = curves._replace(y=true, known_variance=np.full(curves.y.shape, 1e4))
    np.testing.assert_allclose(last_state(silent, still, motion).level[0], true[:, -1], atol=1e-3)


def test_only_one_value_of_each_shared_parameter_is_drawn_from(flan):
    curves = panel(flan.up_to(6400))
    with pytest.raises(ValueError, match="^`shared` must hold one value of each"):
        draw_losses(curves, np.vstack([TYPICAL, OTHER]), motion_of(curves, "power"), seed=0)


def test_a_distance_is_given_for_each_candidate():
    flat = np.zeros(3)
    state = State(flat, flat, flat, flat, Cov(*[flat] * len(Cov._fields)))
    growth, motion = Growth(flat, flat), Motion(k=0.0, floor=flat)
    with pytest.raises(ValueError, match="one value for each of 3 candidates, got shape"):
        look_ahead(state, np.ones(2), growth, motion)
