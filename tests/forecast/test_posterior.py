"All candidates at once: quadratures against draws, shrinkage by hand, hints, families, oddities."

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm.curves.table import CurveSet, load_benchmark
from lensllm.forecast.fit import fit_law
from lensllm.forecast.kalman import Hint, damping, draw_losses, motion_of, panel
from lensllm.forecast.laws import RECTIFIED
from lensllm.forecast.calibration import AS_PREDICTED, held_elsewhere
from lensllm.forecast.posterior import SHARED_ERROR, Posterior, fit_posterior, in_percent
from lensllm.forecast.prior import as_prior
from scipy.special import ndtr
from scipy.stats import kstest

props = settings(max_examples=10, derandomize=True, deadline=None, database=None)
TARGET = 1638400
BENT = dict(B=(300, 600), D_l=(100, 200), beta=(0.35, 0.45))


def crowd(sizes, noise=0.003, n=12, seed=0, **ranges):
    "Rectified curves with parameters drawn from ranges, and noise on ln(loss)."
    rng, D = np.random.default_rng(seed), np.asarray(sizes)
    curves = []
    for i in range(n):
        params = {name: rng.uniform(*limits) for name, limits in ranges.items()}
        loss = RECTIFIED(D.astype(float), **params) * np.exp(noise * rng.normal(size=len(D)))
        curves.append(pd.DataFrame(dict(model=f"m{i}", train_size=D, test_loss=loss)))
    return CurveSet(pd.concat(curves).assign(task="crowd"))


@pytest.fixture(scope="module")
def seen(flan):
    return flan.up_to(12800)


@pytest.fixture(scope="module")
def post(seen):
    return fit_posterior(seen, TARGET)


# --- what comes back


def test_all_candidates_and_the_other_task_are_in(post):
    assert (len(post.models), post.learned_from) == (30, ("gigaword",))


def test_weights_and_probabilities_add_up_to_one(post):
    np.testing.assert_allclose(post.weight.sum(), 1)
    np.testing.assert_allclose(post.best()[0].sum(), 1, atol=1e-6)


def test_quantiles_enclose_the_mean(post):
    assert (post.quantile(0.05) < np.exp(post.mean())).all()
    assert (np.exp(post.mean()) < post.quantile(0.95)).all()


@pytest.mark.parametrize(
    "p, words",
    [
        (0.0, "less than 1%"),
        (0.005, "less than 1%"),
        (0.0051, "1%"),
        (0.5, "50%"),
        (0.994, "99%"),
        (0.995, "more than 99%"),
        (1.0, "more than 99%"),
    ],
)
def test_a_probability_is_never_nothing_or_all(p, words):
    assert in_percent(p) == words


def test_repr_is_a_head_and_five_candidates(post):
    lines = repr(post).splitlines()
    assert lines[0] == "30 candidates at 1,638,400 examples, by floored and rectified"
    assert len(lines) == 8


def test_a_law_named_twice_counts_once(flan):
    once = fit_posterior(flan.up_to(800), 12800, laws=("rectified", "rectified"))
    assert once.weight.sum().round(9) == 1.0
    assert len(once.weight) == 14


# --- the winner's curse

LOW = np.array([0.3, 0.1, 0.5, 0.2, 0.9, 0.8, 0.15, 0.7, 0.25, 0.6])
UNEVEN = np.array([0.01, 0.09] * 5)


def one_component(m, v):
    "A posterior that predicts these."
    nothing = dict.fromkeys(("models", "target", "law", "panel", "endpoints", "surprise"))
    return Posterior(weight=np.ones(1), m=m[None], v=v[None], learned_from=(), **nothing)


@pytest.mark.parametrize(
    "n, better, caution",
    [(10, 5, 2.0), (3, 3, 1.0), (7, 4, 1.0)],  # three are their own better half
)
def test_shrinkage_is_bayes_rule_with_the_better_half(n, better, caution):
    m, v = LOW[:n], UNEVEN[:n]
    half = np.sort(m)[:better]
    weight = caution / half.var()
    by_hand = np.maximum(m, (m / v + weight * half.mean()) / (1 / v + weight))
    np.testing.assert_allclose(one_component(m, v).shrunk(caution), by_hand)


@pytest.mark.parametrize("m", [LOW[:1], np.full(6, 0.4)], ids=["one", "all the same"])
def test_nothing_is_shrunk_without_a_spread(m):
    np.testing.assert_allclose(one_component(m, UNEVEN[: len(m)]).shrunk(), m)


def test_no_caution_is_no_shrinkage(post):
    np.testing.assert_array_equal(post.shrunk(0.0), post.mean())


def test_equal_knowledge_keeps_the_order():
    shrunk = one_component(LOW, np.full(10, 0.01)).shrunk()
    np.testing.assert_array_equal(shrunk.argsort(), LOW.argsort())


def test_shrinkage_lowers_regret_where_knowledge_is_unequal():
    rng, spread = np.random.default_rng(0), np.where(np.arange(20) % 2, 0.2, 0.05)
    truth = 0.1 * rng.normal(size=(10_000, 20))
    predicted = truth + spread * rng.normal(size=truth.shape)
    shrunk = np.array([one_component(m, spread**2).shrunk() for m in predicted])
    group = np.arange(len(truth))

    def regret(score):
        return (truth[group, score.argmin(1)] - truth.min(1)).mean()

    assert regret(shrunk) < 0.75 * regret(predicted)


# --- quadratures against 200,000 draws from the same mixture

N_DRAWS = 200_000


@pytest.fixture(scope="module")
def draws(post):
    "Losses with errors of their own, and with errors in common."
    rng = np.random.default_rng(0)
    component = rng.choice(len(post.weight), N_DRAWS, p=post.weight)
    own = rng.normal(size=(N_DRAWS, 30))
    common = rng.normal(size=(N_DRAWS, 1))
    mixed = np.sqrt(SHARED_ERROR) * common + np.sqrt(1 - SHARED_ERROR) * own
    m, s = post.m[component], np.sqrt(post.v[component])
    s = s * post.scales.typical_own
    return np.exp(m + s * own), np.exp(m + s * mixed)


def test_p_best_agrees_with_draws(post, draws):
    drawn = np.bincount(draws[0].argmin(1), minlength=30) / N_DRAWS
    np.testing.assert_allclose(post.best()[0], drawn, atol=4 * 0.5 / np.sqrt(N_DRAWS))


def test_expected_regret_agrees_with_draws_of_shared_errors(post, draws):
    drawn = (draws[1] - draws[1].min(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(post.best()[1], drawn, rtol=0.02)


@pytest.mark.parametrize("x", [0.0, 0.02, 0.1])
def test_within_agrees_with_draws(x, post, draws):
    choice = post.quantile(0.5).argmin()
    drawn = (draws[0][:, choice] - draws[0].min(1) <= x).mean()
    np.testing.assert_allclose(post.within(x), drawn, atol=4 * 0.5 / np.sqrt(N_DRAWS))


def test_p_best_where_one_is_known_300_times_better_than_the_other(post):
    two = replace(
        post,
        models=["sure", "vague"],
        weight=np.ones(1),
        m=np.array([[0.0, 0.3]]),
        v=np.array([[0.001, 0.3]]) ** 2,
        scales=AS_PREDICTED,
    )
    np.testing.assert_allclose(two.best()[0], [ndtr(1.0), ndtr(-1.0)], atol=2e-3)


# --- phases


@pytest.mark.parametrize(
    "ranges, phase",
    [
        (dict(B=(3000, 3300), D_l=(900, 1100), beta=(0.5, 0.6)), "pre-power"),
        (dict(B=(9, 12), D_l=(0, 0.1), beta=(0.2, 0.3)), "power"),
    ],
    ids=["before the bend", "far behind it"],
)
def test_planted_phases_are_recognised(ranges, phase):
    curves = crowd(200 * 2 ** np.arange(8), **ranges, E=(0, 0))
    phases = fit_posterior(curves, TARGET).phase().phase
    assert phases.value_counts().idxmax() == phase


def test_probability_of_a_phase_agrees_with_draws(post):
    motion, _, state = post.endpoints[0]
    cov = state.cov.matrix[0, 3, 1:, 1:]
    mean = [state.log_slope[0, 3], state.growth[0, 3]]
    log_slope, growth = np.random.default_rng(0).multivariate_normal(mean, cov, size=100_000).T
    damped = damping(state.level[0], motion)[3] * np.exp(log_slope)
    growing = growth - damped - 0.05 * (log_slope - state.anchor[0, 3])
    drawn = (growing < np.log(1.1) / np.log(2)).mean()
    first_component = replace(post, weight=np.eye(len(post.weight))[0])
    np.testing.assert_allclose(drawn, first_component.phase().p_power.iloc[3], atol=0.02)


# --- doubts


def test_a_jump_is_doubted(gigaword):
    doubts = fit_posterior(gigaword.up_to(12800), TARGET).doubts()
    assert any(
        doubt.startswith("facebook/bart-base: at 12,800 its loss is") and "below" in doubt
        for doubt in doubts
    )


def test_a_spike_is_doubted_and_not_the_way_back(seen):
    spike = (seen.frame.model == "gpt2-large") & (seen.frame.train_size == 1600)
    spiked = seen.frame.assign(test_loss=seen.frame.test_loss * np.where(spike, 1.3, 1.0))
    doubts = fit_posterior(CurveSet(spiked), TARGET).doubts()
    places = [doubt.split(" its loss")[0] for doubt in doubts if doubt.startswith("gpt2-large")]
    assert places == ["gpt2-large: at 1,600"]


def test_the_distance_is_told_by_what_it_has_meant_elsewhere(seen):
    doubts = fit_posterior(seen, TARGET).doubts()
    ratio, held, truths = held_elsewhere(TARGET / max(seen.sizes))
    assert any(f"at {ratio} times the largest size seen" in doubt for doubt in doubts)
    assert any(f"held {held} of {truths} losses" in doubt for doubt in doubts)


@pytest.mark.parametrize("times, is_further", [(512, False), (1024, True)])
def test_further_than_any_table_has_shown_is_said(seen, times, is_further):
    doubts = fit_posterior(seen, times * max(seen.sizes)).doubts()
    assert any("is further than any table has shown" in doubt for doubt in doubts) == is_further


def test_at_the_size_seen_no_distance_is_doubted(seen):
    doubts = fit_posterior(seen, max(seen.sizes)).doubts()
    assert not any("times the largest size seen" in doubt for doubt in doubts)


@pytest.mark.parametrize(
    "name, what",
    [("pet/boolq", "noise: "), ("gemstones/dclm", "growth of the slopes: "), ("gigaword", None)],
)
def test_a_table_unlike_what_the_prior_knows_is_named(name, what):
    task = load_benchmark(name).complete()
    sizes = [size for size in task.sizes if size > 0]
    doubts = fit_posterior(task.up_to(sizes[-3]), sizes[-1]).doubts()
    unlike = [doubt for doubt in doubts if "knows no table like this one" in doubt]
    assert len(unlike) == (what is not None)
    assert all(what in doubt for doubt in unlike)


# --- simulation-based calibration

LADDER, AHEAD = 200 * 2 ** np.arange(7), 12_800 * np.array([2, 8, 64])


def table_of(sizes, losses):
    "Curves of one task; losses of shape (candidates, sizes)."
    rows = [
        pd.DataFrame(dict(model=f"m{i}", train_size=sizes, test_loss=loss))
        for i, loss in enumerate(losses)
    ]
    return CurveSet(pd.concat(rows).assign(task="drawn"))


def drawn_task(seed, law, candidates=8):
    "Curves measured to 12,800 examples, and the true ln(loss) at the targets ahead."
    rng, sizes = np.random.default_rng(seed), np.r_[LADDER, AHEAD]
    first = np.exp(rng.normal(1, 0.2, candidates))
    blank = panel(table_of(sizes, np.repeat(first[:, None], len(sizes), axis=1)))
    mean, sd = as_prior("transfer", blank).pooled(law)
    shared = mean + sd * rng.normal(size=len(mean))
    true, measured = draw_losses(blank, shared, motion_of(blank, law), seed=seed)
    return table_of(LADDER, np.exp(measured[:, : len(LADDER)])), true[:, len(LADDER) :].T


def ranks_of_truths(law, last_seen, tasks):
    "P(ln loss below the true one), shape (tasks, targets, candidates)."
    for seed in range(tasks):
        seen, truths = drawn_task(seed, law)
        seen = seen.up_to(last_seen)
        post = fit_posterior(seen, AHEAD[0], laws=law, robust=False, calibrated=False)
        there = [post.at(target) for target in AHEAD]
        yield [p.weight @ ndtr((truth - p.m) / np.sqrt(p.v)) for p, truth in zip(there, truths)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "law, last_seen",
    [("rectified", 12_800), ("floored", 12_800), ("power", 12_800), ("rectified", 400)],
)
def test_ranks_of_the_truth_are_uniform_on_curves_drawn_from_the_prior(law, last_seen):
    ranks = np.array(list(ranks_of_truths(law, last_seen, tasks=30)))
    for target in range(len(AHEAD)):
        one_per_task = ranks[:, target, 0]
        assert kstest(one_per_task, "uniform").pvalue > 0.01
        for p in (0.5, 0.9):
            held = (np.abs(ranks[:, target] - 0.5) < p / 2).mean(1)  # candidates share much
            assert abs(held.mean() - p) < 3.5 * held.std() / np.sqrt(len(held))


# --- against lmfit


def test_clean_curves_are_predicted_as_by_lmfit():
    clean = crowd(200 * 2 ** np.arange(11), noise=0.002, n=8, **BENT, E=(0, 0.6))
    ours, distances = fit_posterior(clean, TARGET), []
    for model, m, s in zip(ours.models, ours.mean(), ours.sd()):
        fitted = fit_law(RECTIFIED, *clean.curve(model)).predict(TARGET, 0.6827).iloc[0]
        joint_sd = np.hypot(np.exp(m) * s, (fitted.high - fitted.low) / 2)
        distances.append((np.exp(m) - fitted.loss) / joint_sd)
    assert np.abs(distances).max() < 2
    assert np.sqrt(np.mean(np.square(distances))) < 1.2


# --- hints


class Hinted:
    "Twelve planted curves seen at three sizes, and a hint about each, true within its spread."

    def __init__(self):
        rng, D, spread = np.random.default_rng(1), 200 * 2.0 ** np.arange(14), [0.3, 0.05, 0.2]
        truth, curves = {}, []
        for i in range(12):
            beta, first = rng.uniform(0.15, 0.5), rng.uniform(2, 4)
            D_l = np.exp(rng.normal(1, 1.2)) * 200**beta
            E = first * rng.uniform(0, 0.4)
            truth[f"m{i}"] = dict(B=(first - E) * (D_l + 200**beta), D_l=D_l, beta=beta, E=E)
        for model, params in truth.items():
            loss = RECTIFIED(D, **params) * np.exp(0.006 * rng.normal(size=D.size))
            curves.append(pd.DataFrame(dict(model=model, train_size=D.astype(int), test_loss=loss)))
        planted = CurveSet(pd.concat(curves).assign(task="planted"))
        self.hints = {}
        for model, p in truth.items():
            mean = [np.log(p["D_l"]), p["beta"], p["E"]] + np.array(spread) * rng.normal(size=3)
            self.hints[model] = Hint(mean, spread)
        self.short, self.true = planted.up_to(800), planted.at(TARGET)
        self.without, self.with_all = self.fit(None), self.fit(self.hints)

    def fit(self, hints):
        return fit_posterior(self.short, TARGET, hints=hints)

    def squared_error(self, post):
        return np.mean((post.mean() - np.log(self.true[post.models])) ** 2)


@pytest.fixture(scope="module")
def planted():
    return Hinted()


def test_true_hints_bring_predictions_closer_and_narrow_them(planted):
    assert planted.squared_error(planted.with_all) < planted.squared_error(planted.without)
    assert planted.with_all.sd().mean() < planted.without.sd().mean()


def test_hints_of_infinite_spread_change_nothing(planted):
    empty = {model: Hint(hint.mean, [np.inf] * 3) for model, hint in planted.hints.items()}
    nothing = planted.fit(empty)
    np.testing.assert_array_equal([nothing.m, nothing.v], [planted.without.m, planted.without.v])
    np.testing.assert_array_equal(nothing.weight, planted.without.weight)


def test_what_candidates_share_is_learned_from_losses_alone(planted):
    np.testing.assert_array_equal(planted.with_all.weight, planted.without.weight)


def test_a_hint_moves_its_own_candidate_and_no_other(planted):
    one = planted.fit({"m3": planted.hints["m3"]})
    moved = (one.m != planted.without.m).any(0)
    assert [model for model, moves in zip(one.models, moved) if moves] == ["m3"]


# --- families


@pytest.fixture(scope="module")
def longer(flan):
    return flan.up_to(25600)


def test_unknown_families_are_no_families(longer):
    nameless = CurveSet(longer.frame.assign(family="", model="x" + longer.frame.model))
    np.testing.assert_allclose(
        fit_posterior(nameless, TARGET, prior="generic").m,
        fit_posterior(longer, TARGET, prior="generic", family_share=0.0).m,
        rtol=1e-12,
    )


def test_the_prior_knows_families_that_the_table_does_not(longer):
    nameless = CurveSet(longer.frame.assign(family=""))
    np.testing.assert_array_equal(
        fit_posterior(nameless, TARGET).m, fit_posterior(longer, TARGET).m
    )


def test_a_family_moves_its_members(longer):
    apart, together = (
        fit_posterior(longer, TARGET, family_share=0.0),
        fit_posterior(longer, TARGET),
    )
    members = [i for i, model in enumerate(apart.models) if model.startswith("gpt2")]
    assert (np.abs(together.mean() - apart.mean())[members] > 0.001).all()


# --- properties


@props
@given(seed=st.integers(0, 2**31), c=st.floats(0.2, 5))
def test_order_does_not_matter_and_scaled_losses_scale_predictions(seed, c):
    seen = load_benchmark("flan").up_to(6400)
    scaled = seen.frame.assign(test_loss=c * seen.frame.test_loss)
    shuffled = CurveSet(scaled.sample(frac=1, random_state=seed))
    plain, moved = fit_posterior(seen, TARGET), fit_posterior(shuffled, TARGET)
    by_name = [moved.models.index(model) for model in plain.models]
    np.testing.assert_allclose(np.exp(moved.mean())[by_name], c * np.exp(plain.mean()), rtol=1e-4)
    np.testing.assert_allclose(moved.sd()[by_name], plain.sd(), rtol=1e-3)


def test_what_lies_beyond_the_sizes_seen_changes_nothing(flan, post):
    later = flan.frame.train_size > 12800
    poisoned = CurveSet(flan.frame.assign(test_loss=flan.frame.test_loss.mask(later, 9.0)))
    np.testing.assert_array_equal(fit_posterior(poisoned.up_to(12800), TARGET).m, post.m)


def test_further_sizes_narrow_predictions(flan, post):
    sds = [
        fit_posterior(flan.up_to(3200), TARGET).sd().mean(),
        post.sd().mean(),
        fit_posterior(flan.up_to(51200), TARGET).sd().mean(),
        fit_posterior(flan.up_to(204800), TARGET).sd().mean(),
    ]
    assert (np.diff(sds) < 0).all()


def test_a_known_error_widens_predictions(seen):
    vague = CurveSet(seen.frame.assign(test_loss_se=0.1))
    alone = [fit_posterior(c, TARGET, calibrated=False).sd().mean() for c in (vague, seen)]
    assert alone[0] > 1.2 * alone[1]


@pytest.mark.parametrize("law", ["floored", "rectified"])
def test_noise_widens_predictions_on_average(law):
    widths = []
    for noise in (0.005, 0.01, 0.02):
        sizes, draws = 200 * 2 ** np.arange(7), range(4)
        curves = [crowd(sizes, noise=noise, seed=s, **BENT, E=(0, 0.2)) for s in draws]
        widths.append(np.mean([fit_posterior(c, TARGET, laws=law).sd().mean() for c in curves]))
    assert (np.diff(widths) > 0).all()


def test_a_jump_spoils_the_prediction_only_without_robustness(gigaword):
    bart, off = "facebook/bart-base", {}
    for robust in (True, False):
        post = fit_posterior(gigaword.up_to(12800), TARGET, robust=robust)
        predicted = np.exp(post.mean()[post.models.index(bart)])
        off[robust] = abs(predicted / gigaword.at(TARGET)[bart] - 1)
    assert off[True] < 0.5 * off[False]


# --- edge cases

ODD = {
    "two points": lambda f: f[f.train_size.isin([200, 400])],
    "constant": lambda f: f.assign(test_loss=2.0),
    "rising": lambda f: f.assign(test_loss=1 + f.train_size / 12800),
    "one candidate": lambda f: f[f.model == "gpt2"],
    "one point": lambda f: f[f.train_size == 200],
    "gaps": lambda f: f.sample(frac=0.6, random_state=0),
    "two seeds": lambda f: pd.concat([f, f.assign(seed=1)]),
    "one in percent": lambda f: f.assign(
        test_loss=f.test_loss.where(f.model != "gpt2", 100 * f.test_loss)
    ),
    "some exact": lambda f: f.assign(test_loss_se=np.where(f.train_size < 1000, 0.0, np.nan)),
    "huge errors": lambda f: f.assign(test_loss_se=1e9),
    "tiny losses": lambda f: f.assign(test_loss=1e-9 * f.test_loss),
    "unknown sizes": lambda f: f.assign(n_params=np.nan, family=""),
}


def odd_posterior(name, seen):
    return fit_posterior(CurveSet(ODD[name](seen.frame)), TARGET)


@pytest.mark.parametrize("name", ODD)
def test_odd_tables_give_finite_numbers(name, seen):
    post = odd_posterior(name, seen)
    assert np.isfinite(post.frame().drop(columns="phase").to_numpy()).all()
    assert np.isfinite(post.within(0.01))
    assert all(isinstance(doubt, str) and doubt for doubt in post.doubts())


@pytest.mark.parametrize(
    "name, text",
    [
        ("two points", "rests on 2 sizes"),
        ("constant", "does not fall"),
        ("rising", "does not fall"),
        ("one in percent", "gpt2: its first loss is 1.3e+02 times the others'"),
    ],
)
def test_odd_curves_are_doubted(name, text, seen):
    assert any(text in doubt for doubt in odd_posterior(name, seen).doubts())


def test_sizes_above_the_target_are_left_out(flan, seen):
    whole = fit_posterior(flan, 12800)
    assert whole.target == 12800
    np.testing.assert_array_equal(whole.mean(), fit_posterior(seen, 12800).mean())


def test_curves_that_cannot_be_continued_are_refused_by_name_or_finite():
    rows = dict(
        model=["a", "a", "b", "b"],
        train_size=[10, 10**6] * 2,
        test_loss=[1.0, 1e-100, 1.0, 0.5],
    )
    try:
        wild = fit_posterior(CurveSet(pd.DataFrame(rows)), 10**7)
    except ValueError as e:
        assert "`seen` must hold curves that can be continued" in str(e)
    else:
        assert np.isfinite(wild.frame().drop(columns="phase").to_numpy()).all()


@pytest.mark.parametrize(
    "options, kind, message",
    [
        (dict(family_share=2), ValueError, "`family_share` must lie in [0, 1], got 2"),
        (
            dict(laws=("cubic",)),
            ValueError,
            "`laws` must be one of floored, rectified, power, one_break, got 'cubic'",
        ),
        (dict(hints=dict(gpt2=3.0)), TypeError, "`hints` must map models to Hints, got 3.0"),
        (dict(hints="wrong"), TypeError, "`hints` must map models to Hints, got 'wrong'"),
        (
            dict(hints=dict(gpt3=Hint([1, 0.3, 1], [1, 1, 1]))),
            ValueError,
            "`hints` must name a candidate, got 'gpt3'; there are: MBZUAI/LaMini-GPT-124M",
        ),
    ],
    ids=["family_share", "laws", "no hint", "no mapping", "no candidate"],
)
def test_an_option_that_makes_no_sense_is_refused(options, kind, message, flan):
    with pytest.raises(kind, match=re.escape(message)):
        fit_posterior(flan.up_to(800), 12800, **options)


def test_an_infinite_target_is_refused(flan):
    message = "`target` must be a whole number of examples from 1 to 1e18, got inf"
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_posterior(flan, np.inf)


def test_a_model_without_a_run_above_size_zero_is_refused(seen):
    frame = seen.frame[(seen.frame.model != "gpt2") | (seen.frame.train_size == 0)]
    with pytest.raises(ValueError, match="every model; gpt2 has none"):
        fit_posterior(CurveSet(frame), TARGET)


@pytest.mark.parametrize(
    "question, message",
    [
        (lambda post: post.shrunk(np.inf), "`caution` must be finite and >= 0, got inf"),
        (lambda post: post.quantile(1), "`p` must lie in (0, 1), got 1"),
        (
            lambda post: post.at(6400),
            "must not lie below the largest size seen (12,800), got 6,400",
        ),
        (lambda post: post.at("many"), "`size` must be a whole number of examples"),
        (lambda post: post.within(-1), "`x` must be finite and >= 0"),
        (lambda post: post.within(0.1, "nobody"), "`model` must be a candidate, got 'nobody'"),
    ],
    ids=["caution", "quantile", "below what was seen", "no size", "negative", "no candidate"],
)
def test_a_question_that_has_no_answer_is_refused(question, message, post):
    with pytest.raises(ValueError, match=re.escape(message)):
        question(post)
