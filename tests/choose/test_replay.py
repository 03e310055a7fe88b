"Replays: what a policy may see, what it pays, how its choice is judged, and what is refused."

import json
import re

import numpy as np
import pandas as pd
import pytest
from lensllm.choose.policies import POLICIES, Plan, Policy, run_costs
from lensllm.choose.replay import TRACE, pareto, pareto_summary, simulate
from lensllm.curves.table import CurveSet

TARGET = 1_638_400


@pytest.fixture(scope="module")
def study(flan):
    "The race on FLAN with 2% of the cost of full tuning."
    return simulate("race", flan, 0.02)


@pytest.fixture(scope="module")
def all_runs(flan):
    "Every model on every size."
    return [(model, size) for model in flan.models for size in flan.sizes]


def poisoned(curves, trace):
    "The curves with every loss destroyed that was not bought."
    frame, bought = curves.frame.copy(), set(zip(trace.model, trace.train_size))
    unseen = np.array([run not in bought for run in zip(frame.model, frame.train_size)])
    at_target = (frame.train_size == max(curves.sizes)).to_numpy()
    random = np.random.default_rng(0).uniform(1, 9, int((unseen & at_target).sum()))
    frame.loc[unseen & ~at_target, "test_loss"] = np.nan
    frame.loc[unseen & at_target, "test_loss"] = random
    part = CurveSet(curves.frame, unit=curves.unit)
    part.frame = frame
    return part


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_never_needs_what_it_has_not_paid_for(flan, policy):
    clean = simulate(policy, flan, 0.01)
    blind = simulate(policy, poisoned(flan, clean.trace), 0.01)
    pd.testing.assert_frame_equal(clean.trace, blind.trace)
    assert clean.choice == blind.choice


# What a replay says


def test_money_left_over_goes_to_candidates_behind_the_last_two(study):
    def runs_of(why):
        return set(study.trace.model[study.trace.why.str.startswith(why)])

    assert runs_of("what is left of the budget") - runs_of("round 2 of 2")


def test_json_contract(study):
    data = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert list(data) == [
        "policy",
        "choice",
        "relative_accuracy",
        "regret",
        "cost_fraction",
        "p_best",
        "why",
        "trace",
    ]
    assert list(data["trace"][0]) == TRACE


def test_spending_rises_to_the_budget_at_most(study):
    assert study.cost_fraction <= 0.02
    assert study.trace.cost_fraction.is_monotonic_increasing


def test_the_picture_has_a_row_per_candidate_and_the_choice_in_bold(study, closed_figures):
    labels = study.plot().get_yticklabels()
    assert len(labels) == 30
    assert [label.get_text() for label in labels if label.get_fontweight() == "bold"] == [
        "Cerebras-GPT-2.7B"
    ]


def test_a_replay_without_runs_can_be_drawn(flan, closed_figures):
    simulate("race", flan, 1e-9).plot()


# Failures, beginnings and prices


def test_no_choice_where_every_candidate_fails(flan, all_runs):
    nobody = simulate("race", flan, 0.02, failed=all_runs)
    assert (nobody.choice, nobody.why) == (None, "every candidate has failed")
    assert 0 < nobody.cost_fraction < 0.02
    assert nobody.trace.test_loss.isna().all()
    assert repr(nobody) == "race: no choice; every candidate has failed"


def test_a_failed_candidate_drops_out(flan):
    study = simulate("race", flan, 0.02, failed=[("facebook/opt-1.3b", 400)])
    assert study.choice not in (None, "facebook/opt-1.3b")
    assert study.trace.query("model == 'facebook/opt-1.3b'").train_size.max() <= 800


def test_a_budget_for_no_run_makes_no_choice(flan):
    poor = simulate("race", flan, 1e-9)
    assert poor.choice is None
    assert len(poor.trace) == 0
    assert poor.why == "the budget does not cover one run"


def test_a_single_candidate_is_the_right_choice(flan):
    alone = simulate("race", flan.filter(model="gpt2"), 0.02)
    assert (alone.choice, alone.relative_accuracy) == ("gpt2", 100.0)


def test_runs_that_exist_before_the_study_are_not_made_again(flan, all_runs):
    warm = [(model, size) for model, size in all_runs if 0 < size <= 6400]
    study = simulate("race", flan, 0.02, warm=warm)
    assert not (study.trace.train_size <= 6400).any()


def test_runs_that_cost_nothing_find_the_best(flan):
    free = run_costs(flan)
    free[:] = 0.0
    study = simulate("race", flan, 0.02, costs=free)
    assert study.choice == flan.at(TARGET).idxmin()
    assert study.cost_fraction == 0.0


def test_full_tuning_with_all_the_money_is_right(flan):
    assert simulate("full", flan, 1.0).relative_accuracy == 100.0


@pytest.mark.parametrize("policy", ["full", "subtuning", "uniform"])
def test_a_budget_that_just_covers_the_runs_is_enough(flan, policy):
    cents = np.random.default_rng(0).integers(1, 99, (7, len(flan.sizes) - 1)).cumsum(1)
    models, sizes = flan.models[:7], [size for size in flan.sizes if size > 0]
    prices = pd.DataFrame(cents / 100, index=models, columns=sizes)
    total, runs = prices.iloc[:, -1].sum(), 7
    if policy == "uniform":
        total, runs = prices.to_numpy().sum(), prices.size
    share = total / prices.iloc[:, -1].sum()
    study = simulate(policy, flan.filter(model=models), share, costs=prices)
    assert len(study.trace) == runs


def test_names_texts_and_columns_are_understood(flan):
    by_name = simulate("subtuning", "flan", "2%")
    by_table = simulate("subtuning", flan, 0.02, costs=run_costs(flan))
    pd.testing.assert_frame_equal(by_name.trace, by_table.trace)

    hours = run_costs(flan).stack().rename("hours").rename_axis(["model", "train_size"])
    priced = CurveSet(flan.frame.merge(hours.reset_index(), how="left"), unit=flan.unit)
    by_column = simulate("subtuning", priced, "2%", costs="hours")
    pd.testing.assert_frame_equal(by_name.trace, by_column.trace)


def test_a_target_below_the_largest_size_ignores_larger_sizes(flan):
    study = simulate("race", flan, 0.02, target=102_400)
    assert study.trace.train_size.max() <= 102_400
    cut = simulate("race", flan.up_to(102_400), 0.02)
    pd.testing.assert_frame_equal(study.trace, cut.trace)


# What is refused


class Spender(Policy):
    "Wants the dearest run again and again."

    name = "spender"

    def next(self, seen, costs, budget):
        return Plan([(costs.index[0], costs.columns[-1])])


def overspending(flan):
    simulate(Spender(), flan, 1e-6)


def repeating(flan):
    simulate(Spender(), flan, 1.0)


def negative_budget(flan):
    simulate("race", flan, -1)


def curves_with_a_hole(flan):
    hole = (flan.frame.model == "gpt2") & (flan.frame.train_size == 400)
    simulate("race", flan.where(~hole), 0.02)


def target_between_sizes(flan):
    simulate("full", flan, 1.0, target=300)


def target_beyond_sizes(flan):
    simulate("full", flan, 1.0, target=10**6)


def warm_run_of_an_unknown_model(flan):
    simulate("full", flan, 1.0, warm=[("gpt5", 400)])


def failed_run_of_an_unknown_size(flan):
    simulate("full", flan, 1.0, failed=[("gpt2", 300)])


def prices_without_a_model(flan):
    simulate("full", flan, 1.0, costs=run_costs(flan).drop(index="gpt2"))


def prices_without_a_size(flan):
    simulate("full", flan, 1.0, costs=run_costs(flan).drop(columns=400))


def subsets_of_too_many(flan):
    pareto(["full"], [flan], size=31)


@pytest.mark.parametrize(
    "call, message",
    [
        (overspending, "`policy` spender must stay within its budget"),
        (repeating, "must propose runs that do not exist yet"),
        (negative_budget, "`budget` must lie in [0, 1e+06]"),
        (curves_with_a_hole, "must be complete up to the target; gpt2 has no run at 400"),
        (target_between_sizes, "where choices are judged, got 300"),
        (target_beyond_sizes, "where choices are judged, got 1,000,000"),
        (warm_run_of_an_unknown_model, "`warm` and `failed` must name runs in the table"),
        (failed_run_of_an_unknown_size, "`warm` and `failed` must name runs in the table"),
        (prices_without_a_model, "every size up to the target, gpt2 is missing"),
        (prices_without_a_size, "every size up to the target, 400 is missing"),
        (subsets_of_too_many, "`size` must lie between 2 and the 30 candidates"),
    ],
)
def test_refused_with_the_rule(flan, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(flan)


# Many studies


@pytest.fixture(scope="module")
def few(flan):
    "Ten subsets and three policies."
    return pareto(["halving", "uniform", "subtuning"], [flan], [0.01, 0.02], draws=10)


def test_the_same_seed_gives_the_same_studies(flan, few):
    again = pareto(["halving", "uniform", "subtuning"], [flan], [0.01, 0.02], draws=10)
    pd.testing.assert_frame_equal(few, again)


def test_no_study_spends_more_than_its_budget(few):
    assert (few.cost_fraction <= few.budget).all()


def test_draws_without_a_choice_are_counted_and_left_out_of_the_means():
    half = pd.DataFrame(
        dict(
            policy="p",
            task="t",
            budget=0.1,
            draw=range(4),
            choice=["a", "b", None, None],
            relative_accuracy=[90.0, 80.0, np.nan, np.nan],
            regret=[0.1, 0.2, np.nan, np.nan],
            cost_fraction=0.1,
        )
    )
    row = pareto_summary(half).iloc[0]
    assert row.relative_accuracy == pytest.approx(85.0)
    assert row.se == pytest.approx(5.0)
    assert (row.no_choice, row.draws) == (2, 4)
