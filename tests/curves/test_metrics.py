"Agreement, intervals and cost: closed forms, second implementations, invariances and refusals."

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm.curves.metrics import (
    chosen,
    flops,
    agreement,
    cost_fraction,
    coverage,
    crps,
    kendall,
    pearson,
    regret,
    relative_accuracy,
    spearman,
    top_k_recall,
    width,
)
from scipy import stats

SCORES, LOSSES = [3.0, 2.0, 1.0], [1.5, 1.4, 2.4]  # the choice is the second best
AGREEMENTS = [pearson, spearman, kendall, relative_accuracy, regret]
props = settings(max_examples=25, derandomize=True, deadline=None, database=None)


def raises(text):
    "A ValueError whose message holds this text."
    return pytest.raises(ValueError, match=re.escape(text))


# Agreement


def test_regret_is_the_loss_above_the_best():
    assert regret(SCORES, LOSSES) == 1.5 - 1.4


def test_relative_accuracy_lies_between_worst_and_best():
    np.testing.assert_allclose(relative_accuracy(SCORES, LOSSES), 90)


def test_any_choice_is_right_where_all_losses_are_equal():
    assert relative_accuracy([1, 2], [3, 3]) == 100.0


def test_scores_that_rise_as_losses_fall_agree_perfectly():
    np.testing.assert_allclose(pearson([1, 2, 3], [3, 2, 1]), 100)


def test_equal_scores_agree_with_nothing():
    assert pearson([1, 1, 1], [3, 2, 1]) == 0.0


@pytest.mark.parametrize("ours, theirs", [(spearman, stats.spearmanr), (kendall, stats.kendalltau)])
def test_rank_correlations_are_those_of_scipy_with_ties(ours, theirs):
    rng = np.random.default_rng(0)
    scores, losses = (rng.integers(0, 8, 30).astype(float) for _ in range(2))
    expected = theirs(scores, -losses).statistic
    np.testing.assert_allclose(ours(scores, losses), expected, atol=1e-12)


def test_one_of_the_two_best_is_recalled():
    assert top_k_recall([3, 2, 1, 0], [1, 9, 2, 8], k=2) == 0.5


def random_case(seed, k):
    "Scores and losses of k candidates."
    rng = np.random.default_rng(seed)
    return rng.normal(size=k), rng.uniform(1, 4, k), rng.permutation(k)


@pytest.mark.parametrize("measure", AGREEMENTS)
@props
@given(seed=st.integers(0, 2**31), k=st.integers(2, 12))
def test_the_order_of_candidates_changes_nothing(measure, seed, k):
    scores, losses, order = random_case(seed, k)
    np.testing.assert_allclose(
        measure(scores[order], losses[order]), measure(scores, losses), atol=1e-9
    )


@pytest.mark.parametrize("measure", AGREEMENTS)
@props
@given(
    seed=st.integers(0, 2**31),
    k=st.integers(2, 12),
    scale=st.floats(0.1, 10),
    shift=st.floats(-5, 5),
)
def test_the_unit_of_the_score_changes_nothing(measure, seed, k, scale, shift):
    scores, losses, _ = random_case(seed, k)
    np.testing.assert_allclose(
        measure(scale * scores + shift, losses), measure(scores, losses), atol=1e-6
    )


@props
@given(seed=st.integers(0, 2**31), k=st.integers(2, 12))
def test_accuracy_and_regret_stay_in_their_ranges(seed, k):
    scores, losses, _ = random_case(seed, k)
    assert 0 <= relative_accuracy(scores, losses) <= 100
    assert regret(scores, losses) >= 0
    best = [relative_accuracy(-losses, losses), regret(-losses, losses)]
    np.testing.assert_allclose(best, [100, 0], atol=1e-9)


@pytest.mark.parametrize(
    "measure, scores, losses, message",
    [
        (pearson, [1, 2], [1, 2, 3], "two vectors of one length"),
        (regret, [1], [1], "at least 2 models"),
        (spearman, [1, np.nan], [1, 2], "must be finite"),
        (
            agreement,
            pd.Series(dict(a=1.0, b=2.0)),
            pd.Series(dict(a=1.0, c=2.0)),
            "only one of them has 'b'",
        ),
    ],
)
def test_scores_that_cannot_be_compared_are_refused(measure, scores, losses, message):
    with raises(message):
        measure(scores, losses)


def test_no_more_can_be_recalled_than_there_are():
    with raises("`k` must lie in 1..2, got 3"):
        top_k_recall([1, 2], [1, 2], k=3)


# Intervals and forecasts


def test_coverage_counts_the_ends():
    assert coverage([0, 0, 0], [1, 1, 1], [0.5, 1, 2]) == 2 / 3


def test_width_is_a_mean():
    assert width([0, 1], [1, 4]) == 2.0


def test_a_forecast_without_spread_scores_its_absolute_error():
    assert crps([[1.0, 1.0]], [0.25, 0.75], [2.0]) == 1.0


def test_a_normal_forecast_has_the_score_of_the_closed_form():
    levels = (np.arange(2000) + 0.5) / 2000
    z = np.array([-1.0, 0.0, 2.5])
    closed = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    quantiles = np.tile(stats.norm.ppf(levels), (3, 1))
    np.testing.assert_allclose(crps(quantiles, levels, z), closed.mean(), rtol=2e-3)


@pytest.mark.parametrize(
    "measure, arguments, message",
    [
        (coverage, ([0, 2], [1, 1], [0, 0]), "does at position 1"),
        (coverage, ([0, 0], [1, 1], [0, np.nan]), "`truth` must not be NaN; it is at position 1"),
        (width, ([0], [1, 3]), "vectors of one length > 0, got shapes (1,), (2,)"),
        (width, ([], []), "vectors of one length > 0"),
        (crps, ([[1.0]], [0.5], [np.nan]), "`truth` must not be NaN"),
        (
            crps,
            ([[1.0, 1.0]], [0.8, 0.9], [2.0]),
            "must be spread evenly over (0, 1), got 2 of them from 0.8",
        ),
        (crps, ([[1.0, 1.0]], [0.9, 0.1], [2.0]), "`levels` must rise within (0, 1)"),
        (crps, ([[np.nan, 1.0]], [0.25, 0.75], [2.0]), "one is in row 0"),
    ],
)
def test_intervals_and_forecasts_with_a_mistake_are_refused(measure, arguments, message):
    with raises(message):
        measure(*arguments)


# Cost


def test_a_ladder_costs_the_same_share_whatever_the_models(flan):
    spent = cost_fraction(flan.up_to(12800).frame, 1638400)
    np.testing.assert_allclose(spent, 127 * 200 / 1638400)  # 200 + 400 + … + 12,800


def test_experts_are_counted_by_the_parameters_that_work():
    experts = pd.DataFrame(
        dict(
            model=["moe", "moe", "small"],
            n_params=8e9,
            active_params=[1e9, np.nan, 2e9],
            train_size=[200, 400, 400],
        )
    )
    expected = (200 + 400 + 2 * 400) / (800 + 2 * 800)
    np.testing.assert_allclose(cost_fraction(experts, 800), expected)


def test_a_model_of_unknown_size_has_no_cost():
    frame = pd.DataFrame(dict(model=["x"], n_params=[np.nan], train_size=[200]))
    with raises("x has none"):
        cost_fraction(frame, 400)


@pytest.mark.parametrize("scores", [[1.0, float("nan")], [], None, ["x"]])
def test_no_candidate_is_chosen_by_an_unknown_score(scores):
    with pytest.raises(ValueError, match="`scores` must be"):
        chosen(scores)


@pytest.mark.parametrize(
    "wrong", [dict(examples=-1), dict(tokens=float("nan")), dict(epochs=-2), dict(examples=1e308)]
)
def test_a_cost_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
        flops(**dict(n_params=1e8, examples=100) | wrong)
