"Policies: what runs cost, what is proposed next and why, and what is refused."

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm.choose.policies import (
    POLICIES,
    Hyperband,
    Plan,
    PricedPlan,
    Race,
    _belief,
    _price_slack,
    as_policy,
    budget_share,
    never_run,
    plan,
    run_costs,
)
from lensllm.curves.table import CurveSet, load_benchmark
from lensllm.forecast.posterior import fit_posterior

TARGET = 1_638_400
TWO = dict(
    model=["moe", "t5"],
    train_size=[200, 200],
    test_loss=[2.0, 2.0],
    n_params=[8e9, 3e8],
    active_params=[1e9, np.nan],
    encoder_params=[np.nan, 1e8],
    hours=[3.0, np.nan],
)


@pytest.fixture(scope="module")
def opened(flan):
    "FLAN after the opening of a race: all candidates up to 800 examples."
    return flan.where((flan.frame.train_size > 0) & (flan.frame.train_size <= 800))


@pytest.fixture(scope="module")
def uneven(flan):
    "Every second candidate seen to 800 examples, the others to 102,400."
    last = np.where(flan.frame.model.isin(flan.models[1::2]), 800, 102400)
    return flan.where(flan.frame.train_size <= last)


# Costs


def test_a_decoder_costs_six_flop_per_parameter_and_token(flan, costs):
    assert costs.loc["gpt2", 400] == 6 * flan.n_params()["gpt2"] * 400


def test_experts_and_encoders_are_charged_for_the_parameters_that_work():
    prices = run_costs(CurveSet(pd.DataFrame(TWO)), [100], tokens=(30, 10))[100]
    mixture, encoder_decoder = 6 * 1e9 * 40 * 100, 6 * (1e8 * 30 + 2e8 * 10) * 100
    np.testing.assert_allclose(prices, [mixture, encoder_decoder])


def test_every_candidate_needs_one_price_of_its_own():
    message = "`hours` must hold a finite price >= 0 for every model; t5 has none"
    with pytest.raises(ValueError, match=re.escape(message)):
        run_costs(CurveSet(pd.DataFrame(TWO)), column="hours")


@pytest.mark.parametrize("hours", ["3,5", -3.0])
def test_prices_are_numbers_of_at_least_zero(hours):
    two = CurveSet(pd.DataFrame(TWO | dict(hours=[hours, 1.0])))
    message = f"`hours` must hold numbers >= 0; model moe, train_size 200 has {hours}"
    with pytest.raises(ValueError, match=re.escape(message)):
        run_costs(two, column="hours")


def test_a_size_without_a_price_costs_as_much_per_example_as_the_nearest():
    two = CurveSet(pd.DataFrame(TWO | dict(hours=[3.0, 1.0])))
    prices = run_costs(two, [100, 400], column="hours")
    assert prices.to_numpy().tolist() == [[1.5, 6.0], [0.5, 2.0]]


def costs_without_parameters(flan):
    known = flan.frame.n_params.where(flan.frame.model != "gpt2")
    run_costs(CurveSet(flan.frame.assign(n_params=known)))


def costs_without_sizes(flan):
    run_costs(flan, [0])


def costs_of_an_unknown_column(flan):
    run_costs(flan, column="dollars")


@pytest.mark.parametrize(
    "call, message",
    [
        (costs_without_parameters, "`n_params` must be known to count FLOP; gpt2 has none"),
        (costs_without_sizes, "`sizes` must hold"),
        (costs_of_an_unknown_column, "got 'dollars'"),
    ],
)
def test_costs_refuse_with_the_rule(flan, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(flan)


# The race


def test_the_race_opens_with_every_candidate(costs, whole):
    first = Race().next(None, costs, 0.02 * whole)
    assert len(first) == 90
    assert {size for _, size in first} == {200, 400, 800}


def test_the_race_is_the_same_in_any_order_of_candidates(opened, costs, whole):
    shuffled = costs.sample(frac=1, random_state=0)
    one, other = (Race().next(opened, c, 0.02 * whole) for c in (costs, shuffled))
    assert set(one) == set(other)


def test_no_money_no_run(costs):
    nothing = Race().next(None, costs, 0.0)
    assert list(nothing) == []
    assert nothing.why == "the budget does not cover one run"
    assert Hyperband().next(None, costs, 0.0).why == "the budget does not cover what is due next"


def test_the_race_stops_when_it_is_sure_enough(opened, costs, whole):
    stopped = Race(p_best=0.05).next(opened, costs, 0.02 * whole)
    assert not stopped
    assert stopped.why.startswith("P(best) of")


def test_the_race_stops_when_little_can_be_lost(opened, costs, whole):
    stopped = Race(regret=1.0).next(opened, costs, 0.02 * whole)
    assert not stopped
    assert "expected regret" in stopped.why


def test_a_choice_that_was_seen_briefly_may_still_lose_to_a_known_candidate(flan, costs, whole):
    two = ["facebook/opt-1.3b", "google/switch-base-8"]
    is_known = flan.frame.model == two[1]
    is_brief = (flan.frame.model == two[0]) & (flan.frame.train_size <= 6400)
    proposed = Race().next(flan.where(is_known | is_brief), costs.loc[two], whole)
    assert "no run can change" not in proposed.why


def test_a_single_candidate_is_chosen_without_a_run(opened, costs, whole):
    proposed = Race().next(opened.filter(model="gpt2"), costs.loc[["gpt2"]], whole)
    assert list(proposed) == []
    assert proposed.choice == "gpt2"


def test_nothing_is_claimed_while_candidates_were_never_run(opened, costs):
    part = Race().next(opened.where(opened.frame.model == "gpt2"), costs, 0.0)
    assert not part
    assert np.isnan(part.p_best)


@pytest.mark.parametrize("caution", [0.0, 1.0])
def test_the_choice_of_the_race_follows_shrinkage(uneven, costs, whole, caution):
    post = fit_posterior(uneven, TARGET, laws=("rectified",))
    choice = Race(caution=caution).next(uneven, costs, 0.05 * whole).choice
    assert choice == post.models[post.shrunk(caution).argmin()]


def test_caution_can_change_the_choice(uneven, costs, whole):
    choices = {
        Race(caution=caution).next(uneven, costs, 0.05 * whole).choice for caution in (0.0, 1.0)
    }
    assert len(choices) == 2


def test_the_front_is_ordered_by_shrunk_predictions(uneven, costs):
    post = fit_posterior(uneven, TARGET, laws=("rectified",))
    order = [post.models[i] for i in post.shrunk().argsort()]
    assert _belief(Race(), uneven, costs).order == order


def test_workers_limit_the_runs_that_are_proposed(opened, costs, whole):
    assert len(Race(workers=2).next(opened, costs, 0.02 * whole)) == 2


def test_a_run_that_costs_nothing_goes_straight_to_the_target(opened, costs, whole):
    free = costs.copy()
    free.loc["gpt2"] = 0.0
    assert ("gpt2", TARGET) in Race().next(opened, free, 0.02 * whole)


@pytest.mark.parametrize(
    "setting, message",
    [
        (dict(caution=-1), "`caution` must be finite and >= 0, got -1"),
        (dict(caution=np.inf), "`caution` must be finite and >= 0, got inf"),
        (dict(growth=1.0), "`growth` must be finite and > 1, got 1.0"),
        (dict(growth=np.nan), "`growth` must be finite and > 1, got nan"),
        (dict(finalists=0), "`finalists` must be a whole number from 1 to 1e18, got 0"),
        (dict(start=0), "`start` must be a whole number of examples from 1 to 1e18, got 0"),
        (dict(workers=0), "`workers` must be a whole number from 1 to 1e18, got 0"),
    ],
)
def test_settings_that_make_no_race_are_refused(setting, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Race(**setting)


# All policies


@settings(max_examples=15, derandomize=True, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31), policy=st.sampled_from(list(POLICIES)), share=st.floats(-0.1, 0.3)
)
def test_a_plan_is_affordable_and_names_new_runs_only(seed, policy, share):
    flan = load_benchmark("flan")
    costs = run_costs(flan)
    whole = costs[TARGET].sum()
    kept = np.random.default_rng(seed).random(len(flan.frame)) < 0.3
    seen = flan.where(kept & (flan.frame.train_size <= 12800).to_numpy())
    proposed = as_policy(policy).next(seen, costs, share * whole)
    price = sum(costs.at[run] for run in proposed)
    assert price <= max(share, 0) * whole + 2 * _price_slack(costs)
    assert not set(zip(seen.frame.model, seen.frame.train_size)) & set(proposed)
    assert len(set(proposed)) == len(proposed)


@pytest.mark.parametrize("policy", ["halving", "hyperband", "race"])
def test_zero_shot_losses_choose_nobody(flan, costs, whole, policy):
    zero_shot = flan.where(flan.frame.train_size == 0)
    assert as_policy(policy).next(zero_shot, costs, 0.02 * whole).choice is None


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="`policy` must be one of race"):
        as_policy("luck")


# Budgets


@pytest.mark.parametrize(
    "budget, whole, priced, share",
    [
        ("2%", 400, False, 0.02),
        (" 2% ", 0, False, 0.02),
        (0.02, 400, False, 0.02),
        ("0.02", 0, False, 0.02),
        ("200%", 400, False, 2.0),
        (1, 400, False, 1.0),
        (8, 400, True, 0.02),
        (0.5, 400, True, 0.00125),
        ("2%", 400, True, 0.02),
        (200, 400, False, 0.5),
        ("1e3", 1e5, False, 0.01),
    ],
)
def test_a_budget_is_a_share_or_an_amount(budget, whole, priced, share):
    assert budget_share(budget, whole, priced=priced) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize(
    "budget, whole, message",
    [
        ("lots", 400, "`budget` must be a share such as 2% or 0.02, or an amount, got 'lots'"),
        ("lots", 0, "`budget` must be a share such as 2% or 0.02, got 'lots'"),
        ("-1%", 400, "`budget` must be a share such as 2% or 0.02, or an amount, got '-1%'"),
        (0, 400, "`budget` must be a share"),
        (np.nan, 400, "`budget` must be a share"),
        (2, 400, "or FLOP above 100, got 2; write 2% for that many hundredths"),
        ("150", 0, "`budget` must be a share such as 2% or 0.02, got 150; write 150%"),
    ],
)
def test_a_budget_that_is_neither_is_refused(budget, whole, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        budget_share(budget, whole)


# A plan for a table


@pytest.fixture(scope="module")
def hours():
    "Two candidates, with prices in hours: 1 hour per 200 examples and 2 hours per 200 examples."
    return pd.DataFrame(
        dict(
            model=["small", "small", "large", "large"],
            train_size=[200, 400, 200, 400],
            test_loss=[3.0, 2.9, 3.1, 2.8],
            hours=[1.0, 2.0, 2.0, 4.0],
        )
    )


@pytest.fixture(scope="module")
def after_opening():
    "The plan for FLAN with all candidates run up to 800 examples."
    return plan("flan", "2%", up_to=800)


def test_a_plan_is_what_the_policy_proposes_for_the_rest_of_the_money(
    after_opening, opened, costs, whole
):
    spent = costs.loc[:, :800].sum().sum()
    proposed = Race().next(opened, costs, 0.02 * whole - spent)
    assert list(after_opening) == list(proposed)
    assert after_opening.choice == proposed.choice
    assert after_opening.spent_fraction == pytest.approx(spent / whole, rel=1e-12)
    assert after_opening.prices == [costs.at[run] for run in proposed]


def test_a_plan_stays_within_its_budget(after_opening):
    planned = after_opening.runs.cost_fraction.sum()
    assert planned > 0
    assert after_opening.spent_fraction + planned <= after_opening.budget_fraction == 0.02


def test_json_contract_of_a_plan(after_opening):
    data = json.loads(json.dumps(after_opening.to_dict(), allow_nan=False))
    assert list(data) == [
        "task",
        "policy",
        "target",
        "unit",
        "budget_fraction",
        "spent_fraction",
        "left_out",
        "first_look_fraction",
        "doubts",
        "choice",
        "p_best",
        "expected_regret",
        "why",
        "runs",
    ]
    assert list(data["runs"][0]) == ["model", "train_size", "cost", "cost_fraction"]
    assert (data["task"], data["policy"], data["unit"]) == ("flan", "race", "token")


def test_a_plan_prints_its_runs_and_where_the_study_stands(after_opening):
    text = repr(after_opening)
    first_model, first_size = after_opening[0]
    assert text.startswith("race on flan, for 1,638,400 examples: round 1 of 2")
    assert f"{first_model}     {first_size:,}" in text
    assert "chosen now: cerebras/Cerebras-GPT-2.7B, the best of all with probability" in text
    assert "budget 2.000%" in text


def test_a_plan_takes_a_path_and_prices_of_ones_own(hours, tmp_path):
    hours.to_csv(tmp_path / "mine.csv", index=False)
    of_path = plan(tmp_path / "mine.csv", 30, target=3200, costs="hours")
    of_frame = plan(hours, "30", target=3200, costs="hours")
    assert list(of_path) == list(of_frame)
    assert of_path.task == "mine"
    assert of_path.whole == 48.0
    assert of_path.spent_fraction == 9 / 48


def test_a_plan_takes_a_policy_with_settings():
    some = plan("flan", "2%", up_to=800, policy=Race(workers=3))
    assert len(some) == 3
    assert some.policy == "race"


def test_a_failed_candidate_is_paid_and_not_run_again():
    everyone = plan("flan", "2%", up_to=800)
    failed = everyone[0][0]
    rest = plan("flan", "2%", up_to=800, failed=[failed])
    assert rest.spent_fraction == everyone.spent_fraction
    assert failed not in {model for model, _ in rest}


def test_a_spent_budget_is_said_and_leaves_nothing_to_run(hours):
    nothing = plan(hours, "0.01%", target=3200, costs="hours")
    assert not nothing
    assert "the runs that exist have cost the budget" in nothing.remarks()
    assert "(no runs)" in repr(nothing)


def test_a_budget_for_full_tuning_is_doubted_unless_that_is_the_policy(hours):
    doubt = "as the policy full does from the first run"
    race, full = (
        plan(hours, "300%", target=3200, costs="hours", policy=p) for p in ("race", "full")
    )
    assert any(doubt in remark for remark in race.remarks())
    assert not any(doubt in remark for remark in full.remarks())


def test_candidates_of_which_nothing_will_be_known_are_named():
    zero = pd.DataFrame(
        {"model": ["a", "b", "huge"], "n_params": [1e8, 1e8, 1e11], "0": [4.0, 4.0, 4.0]}
    )
    proposed = plan(zero, "0.01%", target=1_000_000)
    assert proposed.left_out == ["huge"]
    assert any("never run, nor among these runs: huge," in r for r in proposed.remarks())
    share = 100 * proposed.first_look
    assert any(f"a first look costs {share:.3g}% of full tuning" in r for r in proposed.remarks())
    np.testing.assert_allclose(proposed.first_look, 1e11 * 200 / (1.002e11 * 1e6))


def test_nothing_is_left_out_before_anything_is_run_or_planned():
    assert never_run(["a"], pd.DataFrame(dict(model=["a"], train_size=[0])), []) == []


@pytest.mark.parametrize("metric, flag", [(None, "read as scores"), ("loss", "rising task")])
def test_rising_curves_are_doubted(metric, flag):
    scores = pd.DataFrame(
        {"model": list("abc"), "n_params": 1e8, "200": [60, 59, 61], "400": [62, 61, 62]}
        | {"800": [64, 66, 63], "1600": [66, 69, 64]}
    )
    doubts = plan(CurveSet(scores, metric=metric), "90%", target=3200).doubts
    assert any(flag in doubt for doubt in doubts)


def test_what_a_policy_does_not_know_is_none_in_json(hours):
    data = plan(hours, 30, target=3200, costs="hours", policy="halving").to_dict()
    assert data["p_best"] is None
    assert data["expected_regret"] is None


def test_a_priced_plan_is_a_plan():
    priced = PricedPlan(
        Plan([("a", 200)], "why", "a"),
        [3.0],
        12.0,
        task="t",
        policy="race",
        target=800,
        unit=None,
        budget_fraction=0.5,
        spent_fraction=0.0,
    )
    assert priced == [("a", 200)]
    assert isinstance(priced, Plan)
    assert priced.runs.cost_fraction.tolist() == [0.25]


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(budget=None), "`budget` must be given for a table"),
        (dict(budget="lots"), "`budget` must be a share such as 2%"),
        (dict(budget="2%", policy="luck"), "`policy` must be one of race"),
        (
            dict(budget="2%", target=400),
            "`target` must not lie below a size that was run (1,638,400)",
        ),
        (dict(budget="2%", failed=["gpt5"]), "`failed` must name a candidate, got 'gpt5'"),
        (dict(budget="2%", costs="hours"), "`column` must be one of the table's"),
    ],
)
def test_plan_refuses_in_one_line(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        plan("flan", **settings)
    assert "\n" not in str(refused.value)


def test_plan_needs_a_candidate(hours):
    with pytest.raises(ValueError, match="`failed` must leave a candidate, got all of them"):
        plan(hours, "50%", target=3200, costs="hours", failed=["small", "large"])


@pytest.mark.parametrize("name", POLICIES)
def test_sizes_are_whole_numbers_of_python(name):
    "A study's store keeps them, which NumPy's numbers would turn into bytes."
    costs = pd.DataFrame([[1.0, 2.0], [1.0, 2.0]], index=["a", "b"], columns=[100, 200])
    runs = POLICIES[name]().next(None, costs, 6.0)
    assert runs
    assert {type(size) for _, size in runs} == {int}


def test_a_race_that_cannot_pay_its_opening_says_what_it_would_take():
    curves = CurveSet(dict(model=["a", "b"], n_params=[1e8, 1e8], **{"200": [2, 9], "400": [1, 8]}))
    costs = run_costs(curves)
    plan = Race(prior="generic").next(curves.up_to(200), costs, 0.2 * costs[400].sum())
    assert not plan
    assert plan.choice == "a"
    assert plan.why == (
        "the opening is not complete: 2 runs at 400 examples would take 80% of full tuning more"
    )
    assert len(Race().next(curves.up_to(200), costs, costs[400].sum())) == 2


def test_runs_without_the_columns_of_a_run_are_refused():
    with pytest.raises(ValueError, match="`model` must be a column; the table has name"):
        never_run(["a"], pd.DataFrame(dict(name=["a"])), [])
