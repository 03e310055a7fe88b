"Hindcasts on the table at hand, and what they say of the next error."

import numpy as np
import pandas as pd
import pytest

from lensllm.curves.table import CurveSet, load_benchmark
from lensllm.forecast.calibration import (
    AS_PREDICTED,
    HELD_ELSEWHERE,
    OWN_CHANGE,
    OWN_SCALE,
    SHARED_SCALE,
    Hindcast,
    error_scales,
    held_elsewhere,
    hindcast_of,
    hindcasts,
)
from lensllm.forecast.kalman import panel
from lensllm.forecast.laws import RECTIFIED
from lensllm.forecast.posterior import fit_posterior
from lensllm.forecast.prior import as_prior, shared_mode

TARGET = 1_638_400


def told(shared=0.0, own=1.0, shared_sd=0.001, candidates=20):
    "A hindcast that saw these errors."
    return Hindcast(1.0, shared, shared_sd, own, candidates)


def hindcasts_of(seen, law="rectified"):
    prior = as_prior("transfer", panel(seen))
    curves = prior.annotate(panel(seen))
    mode = shared_mode(curves, law, *prior.pooled(law))
    return hindcasts(curves, mode, *prior.pooled(law))


@pytest.fixture(scope="module")
def flan():
    return load_benchmark("flan")


@pytest.fixture(scope="module")
def post(flan):
    return fit_posterior(flan.up_to(12800), TARGET)


# --- what hindcasts see


@pytest.mark.parametrize("name, seen", [("flan", 25600), ("wmt19", 25600), ("mini/define", 800)])
def test_a_hindcast_is_what_a_new_fit_of_the_shorter_curves_errs(name, seen):
    task = load_benchmark(name).complete()
    sizes = [size for size in task.sizes if 0 < size <= seen]
    found = hindcasts_of(task.up_to(seen))
    for hidden, hindcast in enumerate(found, start=1):
        refit = fit_posterior(
            task.up_to(sizes[-1 - hidden]), seen, laws="rectified", calibrated=False
        )
        error = np.log(task.at(seen)[refit.models]) - refit.mean()
        shared = np.median(error) / np.log(seen / sizes[-1 - hidden])
        np.testing.assert_allclose(hindcast.shared, shared, atol=0.012)
        assert hindcast.candidates == len(task.models)


def test_each_candidate_is_cut_at_its_own_end(flan):
    seen = flan.up_to(12800)
    shorter = seen.frame[(seen.frame.model != "gpt2") | (seen.frame.train_size <= 3200)]
    found = hindcasts_of(CurveSet(shorter))
    assert [hindcast.candidates for hindcast in found] == [30, 30, 30]
    np.testing.assert_allclose([h.distance for h in found], np.log([2, 4, 8]))


def test_the_spread_is_counted_about_what_all_share():
    ones, own = np.ones(9), 0.01 * np.array([-4, -3, -2, -1, 0, 1, 2, 3, 4])
    alone, moved = (hindcast_of(2 * ones, shift + own, 0.02 * ones) for shift in (0.0, 0.6))
    np.testing.assert_allclose([alone.shared, moved.shared], [0, 0.3], atol=1e-12)
    np.testing.assert_allclose([alone.own, moved.own], np.std(own) / 0.02)


def test_one_candidate_far_off_counts_for_three_deviations_of_the_others():
    ones, own = np.ones(11), 0.01 * np.arange(-5, 6)
    error = np.where(own == own.max(), 50.0, own)
    found = hindcast_of(ones, error, 0.02 * ones)
    robust_sd = 1.4826 * 0.03 / 0.02
    expected = np.sqrt(((own[:-1] / 0.02) ** 2).sum() + (3 * robust_sd) ** 2) / np.sqrt(11)
    np.testing.assert_allclose(found.own, expected)


def test_two_sizes_allow_no_hindcast_and_leave_what_other_tables_say(flan):
    seen = flan.up_to(400)
    assert hindcasts_of(seen) == []
    scales = fit_posterior(seen, TARGET).scales
    np.testing.assert_array_equal(scales.shared, error_scales([]).shared)
    np.testing.assert_allclose(np.log(scales.shared[2]), SHARED_SCALE[0], atol=0.02)


def test_a_single_candidate_tells_of_the_shared_error_alone(flan):
    alone = flan.filter(model=["gpt2"]).up_to(12800)
    found = hindcasts_of(alone)
    assert len(found) == 3
    assert all(np.isnan(hindcast.own) for hindcast in found)
    np.testing.assert_allclose(np.log(error_scales(found).own[1]), OWN_SCALE[0])


# --- what they say of the next error


def test_larger_errors_widen_both_scales():
    small = error_scales([told(0.002, 0.5)] * 3)
    large = error_scales([told(0.08, 4.0)] * 3)
    assert (large.shared > 2 * small.shared).all()
    assert (large.own > 2 * small.own).all()


def test_shared_errors_leave_the_own_scale_alone():
    np.testing.assert_array_equal(error_scales([told(0.1)]).own, error_scales([told(0.0)]).own)


def test_a_median_that_is_not_known_says_little():
    vague = error_scales([told(0.1, shared_sd=0.3)])
    sharp = error_scales([told(0.1, shared_sd=0.001)])
    np.testing.assert_allclose(vague.shared, error_scales([]).shared, rtol=0.3)
    assert sharp.shared[2] > 1.8 * vague.shared[2]


def test_few_candidates_say_less_of_their_own_errors():
    few = error_scales([told(own=4.0, candidates=2)])
    many = error_scales([told(own=4.0, candidates=30)])
    assert many.own[1] > 1.2 * few.own[1] > 1.2 * error_scales([]).own[1]


def test_many_hindcasts_leave_a_spread_that_changes_from_one_to_the_next():
    low, _, high = np.log(error_scales([told(candidates=10_000)] * 1000).own)
    np.testing.assert_allclose((high - low) / (2 * np.sqrt(3)), OWN_CHANGE / np.sqrt(2), rtol=0.01)


def test_weights_of_scales_sum_to_one():
    np.testing.assert_allclose(error_scales([told()]).own_weight.sum(), 1)


@pytest.mark.parametrize(
    "bad", [[1.0], None, "text", [("a", 1)]], ids=["number", "None", "text", "tuple"]
)
def test_what_is_no_hindcast_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match="^`found` must"):
        error_scales(bad)


@pytest.mark.parametrize("ratio, nearest", [(1, 2), (2.7, 2), (2.9, 4), (78, 64), (1e6, 512)])
def test_the_record_of_the_nearest_distance_is_given(ratio, nearest):
    assert held_elsewhere(ratio) == (nearest, *HELD_ELSEWHERE[nearest])


@pytest.mark.parametrize("bad", [0.5, "far", None, np.nan])
def test_what_is_no_distance_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match="^`ratio` must"):
        held_elsewhere(bad)


# --- what the posterior makes of it


def test_calibration_moves_no_prediction(flan, post):
    alone = fit_posterior(flan.up_to(12800), TARGET, calibrated=False)
    assert alone.scales is AS_PREDICTED
    np.testing.assert_array_equal(post.mean(), alone.mean())
    np.testing.assert_allclose(post.quantile(0.5), alone.quantile(0.5), rtol=0.01)
    assert (post.sd() > alone.sd()).all()


def test_intervals_are_those_of_draws(post):
    rng, n = np.random.default_rng(0), 200_000
    component = rng.choice(len(post.weight), n, p=post.weight)
    own = rng.choice(post.scales.own, n, p=post.scales.own_weight)[:, None]
    shared = rng.choice(post.scales.shared, n)[:, None] * post.distance * rng.normal(size=(n, 1))
    error = own * np.sqrt(post.v[component]) * rng.normal(size=(n, 30))
    draws = post.m[component] + shared + error
    for p in (0.05, 0.25, 0.5, 0.95):
        below = (draws <= np.log(post.quantile(p))).mean(0)
        np.testing.assert_allclose(below, p, atol=4 * 0.5 / np.sqrt(n))
    np.testing.assert_allclose(post.sd(), draws.std(0), rtol=0.02)


def test_at_the_last_size_there_is_no_shared_error(flan):
    post = fit_posterior(flan.up_to(12800), 12800)
    np.testing.assert_array_equal(post.distance, 0)
    assert post.sd().max() < 0.05


def drawn_from_the_law(seed):
    "Eight curves of the rectified law, with noise of .6% but at three targets."
    rng = np.random.default_rng(seed)
    seen, targets = 200 * 2 ** np.arange(7), 12_800 * np.array([8, 78, 500])
    floor, rows = rng.uniform(0.8, 2.2), []
    for i in range(8):
        params = dict(
            B=np.exp(rng.uniform(np.log(4), np.log(40))),
            D_l=np.exp(rng.uniform(np.log(10), np.log(300))),
            beta=rng.uniform(0.35, 0.65),
            E=floor + rng.normal(0, 0.05),
        )
        loss = RECTIFIED(np.r_[seen, targets].astype(float), **params)
        loss[: len(seen)] *= np.exp(0.006 * rng.normal(size=len(seen)))
        sizes = np.r_[seen, targets]
        rows.append(pd.DataFrame(dict(model=f"m{i}", train_size=sizes, test_loss=loss)))
    return CurveSet(pd.concat(rows).assign(task="drawn"))


@pytest.mark.slow
def test_intervals_hold_on_curves_drawn_from_the_law():
    held = {8: [], 78: [], 500: []}
    for seed in range(12):
        curves = drawn_from_the_law(seed)
        whole = fit_posterior(curves.up_to(12800), 12_800 * 8)
        for times, inside in held.items():
            post = whole.at(12_800 * times)
            truth = curves.at(12_800 * times)[post.models]
            inside += list(truth.between(post.quantile(0.05), post.quantile(0.95)))
    assert all(np.mean(inside) >= 0.84 for inside in held.values())
