"A study asks for what it can pay, enters what came, and makes the same runs however it is run."

import time
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from lensllm.choose.policies import POLICIES
from lensllm.curves.metrics import flops
from lensllm.tune import study as study_module
from lensllm.tune.recipe import Recipe
from lensllm.tune.store import Store
from lensllm.tune.study import Study, _absolute_task, new_study
from lensllm.tune.workers import Processes

THREE = dict(small=1e8, medium=4e8, large=1e9)
FIVE = {f"m{i}": 1e8 * (i + 1) for i in range(5)}


def truth(model, size):
    "Losses of three models whose curves cross."
    level = dict(small=2.2, medium=1.9, large=1.7)[model]
    return level + dict(small=8, medium=20, large=40)[model] * size**-0.5


def parallel(model, size):
    "Losses of five models whose curves do not cross."
    return 2 + int(model[1]) / 10 + 20 * size**-0.5


def begin(folder, candidates=THREE, budget=0.2, **options):
    "A study whose runs are made elsewhere."
    options = dict(task="sums", candidates=candidates, budget=budget, target=12800) | options
    return new_study(folder, **options)


def spend(study, loss=truth):
    "Make all runs that are proposed; all runs of the study, in order."
    while plan := study.ask():
        for model, size in plan:
            study.tell(model, size, loss(model, size))
    runs = study.store.runs()
    return list(zip(runs.model, runs.train_size))


# --- runs made elsewhere


def test_a_told_study_chooses_the_best_within_its_budget(tmp_path):
    study = begin(tmp_path / "s")
    runs = spend(study)
    assert study.choice() == "large"
    assert len(study.store.curves()) == len(runs)
    assert study.spent <= 0.2 * study.whole
    assert all(price > 0 for price in study.store.runs().price)


def test_an_opened_study_is_the_same(tmp_path):
    study = begin(tmp_path / "s")
    spend(study)
    again = Study(tmp_path / "s")
    assert again.ask() == study.ask()
    assert again.spent == study.spent


def test_a_look_ahead_changes_nothing(tmp_path):
    study = begin(tmp_path / "s", budget=0.04)
    spend(study)
    study.fund(0.2, keep=False)
    assert study.ask()
    assert list(Study(tmp_path / "s").ask()) == []


def test_more_money_continues_where_the_study_was(tmp_path):
    study = begin(tmp_path / "s", budget=0.04)
    before = spend(study)
    study.fund(0.2, keep=False)
    ahead = set(study.ask())
    study.fund(0.04, keep=False)
    study.fund(0.2)
    assert set(study.ask()) == ahead
    assert Study(tmp_path / "s").facts["budget"] == dict(share=0.2, size=None)
    after = spend(study)
    assert after[: len(before)] == before
    assert ahead and ahead <= set(after)
    assert 0.04 * study.whole < study.spent <= 0.2 * study.whole


def test_the_history_of_the_budget_is_kept(tmp_path):
    study = begin(tmp_path / "s", budget=0.04)
    study.fund(0.2)
    assert [share for share, _ in study.store.fact("funded")] == [0.04, 0.2]
    study.fund(0.2)
    assert len(study.store.fact("funded")) == 2  # the same again is no change


def test_less_than_was_spent_buys_nothing(tmp_path):
    study = begin(tmp_path / "s")
    spend(study)
    study.fund(0.01)
    assert list(study.ask()) == []


@pytest.mark.parametrize("share", [0, -1, float("nan"), float("inf"), True, None, "40%"])
def test_a_budget_that_is_no_share_is_refused(tmp_path, share):
    with pytest.raises(ValueError, match="`budget` must be a share > 0"):
        begin(tmp_path / "s").fund(share)


@pytest.mark.parametrize("policy", ["halving", "hyperband", "uniform", "subtuning", "full"])
def test_every_policy_continues_with_more_money(tmp_path, policy):
    study = begin(tmp_path / "s", candidates=FIVE, budget=0.3, policy=policy)
    before = spend(study, parallel)
    study.fund(0.6)
    after = spend(study, parallel)
    assert after[: len(before)] == before
    assert study.spent <= 0.6 * study.whole
    if policy == "subtuning":  # all of them at one size, or none
        runs = study.store.runs()
        assert runs.groupby("train_size").model.nunique().unique().tolist() == [5]


def test_what_is_planned_comes_first_and_one_candidate_is_no_race(tmp_path):
    study = begin(tmp_path / "s", candidates=dict(small=1e8, large=1e9))
    study.store.plan([("large", 100, 0)])
    study.tell("small", 100, 3.0)
    assert study.ask() == [("large", 100)]
    assert study.choice() == "small"


def test_losses_without_training_choose_nobody_and_rank_nobody(tmp_path):
    study = begin(tmp_path / "s", candidates=dict(small=1e8, large=1e9, idle=1e9))
    study.tell("idle", 0, 4.9)
    assert study.choice() is None
    study.tell("small", 100, 3.0)
    study.tell("large", 100, 2.9)
    assert set(study.ranking().frame.model) == {"small", "large"}


def test_a_size_off_the_ladder_has_a_price(tmp_path):
    study = begin(tmp_path / "s")
    study.tell("small", 150, 2.9)
    assert study.store.runs().price.iloc[-1] == flops(1e8, 150)


@pytest.mark.parametrize(
    "result, message",
    [
        (dict(test_loss=3.1), "must be what is known already, 2.9, got 3.1"),
        (dict(reason="lost"), "must be what is known already, 2.9, got a failure"),
        (dict(test_loss=2.9, test_loss_se=0.1), "got 2.9 ± 0.1"),
    ],
)
def test_another_result_is_refused_and_the_same_is_not(tmp_path, result, message):
    study = begin(tmp_path / "s")
    study.tell("small", 150, 2.9)
    study.tell("small", 150, 2.9)
    with pytest.raises(ValueError, match=message):
        study.tell("small", 150, **result)


@pytest.mark.parametrize(
    "run", [("small", 160, float("nan")), ("small", -5, 3.0), ("nobody", 100, 3.0)]
)
def test_a_refused_result_leaves_nothing(tmp_path, run):
    study = begin(tmp_path / "s")
    study.tell("small", 150, 2.9)
    before = study.store.runs()
    with pytest.raises(ValueError):
        study.tell(*run)
    pd.testing.assert_frame_equal(study.store.runs(), before)


def test_a_run_can_be_forgotten_and_corrected(tmp_path):
    study = begin(tmp_path / "s")
    study.tell("small", 150, 2.9)
    study.tell("small", 170, 2.8)
    study.forget("small", 170)
    assert len(study.store.runs()) == 1
    study.tell("small", 150, 3.1, correct=True)
    assert study.store.runs().test_loss.iloc[-1] == 3.1


def test_one_candidate_alone_cannot_be_ranked_while_another_may_come(tmp_path):
    study = begin(tmp_path / "s", candidates=dict(small=1e8, large=1e9))
    study.tell("small", 100, 3.0)
    with pytest.raises(ValueError, match="at least 2 models to be ranked"):
        study.ranking()


def test_a_candidate_that_failed_is_no_choice(tmp_path):
    study = begin(tmp_path / "s", candidates=dict(small=1e8, large=1e9))
    for size, loss in ((100, 3.0), (200, 2.8)):
        study.tell("small", size, loss)
    study.tell("small", 400, reason="diverged")
    with pytest.raises(ValueError, match="of a candidate that has not failed"):
        study.ranking()
    assert study.choice() is None


def test_the_last_candidate_left_is_ranked_alone(tmp_path):
    study = begin(tmp_path / "s", candidates=dict(small=1e8, large=1e9))
    for size, loss in ((100, 3.0), (200, 2.8)):
        study.tell("small", size, loss)
    study.tell("large", 100, reason="diverged")
    assert study.racing == ["small"]
    assert study.ranking().best == "small"
    assert len(study.ranking().frame) == 1


def test_a_told_study_makes_no_runs(tmp_path):
    with pytest.raises(ValueError, match="use ask and tell"):
        begin(tmp_path / "s").run()


def test_a_result_of_a_stranger_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`model` must be a candidate"):
        begin(tmp_path / "s").tell("tiny", 100, 2.0)


# --- runs made here


@pytest.fixture(scope="module")
def sums(tmp_path_factory, write_sums):
    return write_sums(tmp_path_factory.mktemp("sums") / "sums.jsonl")


@pytest.fixture(scope="module")
def models(tmp_path_factory, save_candidate):
    folder = tmp_path_factory.mktemp("models")
    return [
        save_candidate(folder, "thin", "gpt2", width=8),
        save_candidate(folder, "wide", "gpt2", width=32),
        save_candidate(folder, "pairs", "t5"),
    ]


@pytest.fixture(scope="module")
def quick(sums, models):
    "A study of seconds."
    return dict(
        task=sums,
        candidates=models,
        recipe=Recipe(rate=1e-2, passes=2, least_steps=10, checks=2),
        sizes=[50, 100, 200],
        budget_size=100,
        target=200,
    )


@pytest.fixture(scope="module")
def own(quick, tmp_path_factory):
    "The study when its runs are made, one after the other, in this process."
    study = new_study(tmp_path_factory.mktemp("own") / "s", **quick)
    study.run(device="cpu")
    return study


def with_settings(quick, **settings):
    return quick | dict(recipe=replace(quick["recipe"], **settings))


def same_results(table, other):
    "Equal but for rounding: sums made in another order may differ in the fifth digit."
    pd.testing.assert_frame_equal(table, other, rtol=1e-4)


def test_all_runs_are_made_once_and_ranked_by_bytes(own, result_table):
    runs = own.store.runs()
    assert len(result_table(own)) == 6
    assert set(runs.state) == {"done"}
    assert runs.result[0]["byte_loss"] == runs.test_loss[0]
    assert Study(own.store.folder).ask() == []
    own.run(device="cpu")
    assert own.store.runs().attempts.tolist() == [1] * 6


def test_workers_beside_make_the_same_runs(quick, own, result_table, tmp_path):
    beside = new_study(tmp_path / "s", **quick)
    beside.run(workers=2, device="cpu")
    same_results(result_table(beside), result_table(own))
    families = dict(beside.store.curves().frame[["model", "family"]].values)
    assert families == dict(thin="gpt2", wide="gpt2", pairs="t5")


def test_more_money_makes_more_runs_and_a_refusal_changes_nothing(quick, tmp_path):
    options = dict(budget_size=None, policy="uniform", budget=0.6)
    study = new_study(tmp_path / "s", **quick | options)
    study.run(device="cpu")
    before = len(study.store.runs())
    with pytest.raises(ValueError, match="`device` must be one that torch has"):
        study.run(device="nowhere", budget=1.2)
    assert Study(tmp_path / "s").facts["budget"]["share"] == 0.6
    study.run(device="cpu", budget=1.2)
    assert len(study.store.runs()) > before
    assert study.spent <= 1.2 * study.whole


def searches_of(study):
    facts = study.store.candidates().facts
    return pd.Series({model: about["search"] for model, about in facts.items()})


@pytest.fixture(scope="module")
def without_rate(quick):
    "Studies that look for their rates: a search is a part of the money, or most of it."

    def begin_one(folder, policy, passes, budget):
        options = dict(budget_size=None, policy=policy, budget=budget)
        return new_study(folder, **with_settings(quick, rate=None, passes=passes) | options)

    return begin_one


def work_off(study):
    "Enter made-up results for all that is proposed."
    while plan := study.ask():
        runs = [(model, size, 0) for model, size in plan]
        study.store.plan(runs, prices=study.priced(plan), why=plan.why)
        for run in runs:
            study.store.done(run, 3.0 - run[1] / 200, result=dict(rate=1e-2))


@pytest.mark.parametrize(
    "policy, passes, budget", [*((name, 60, 0.6) for name in POLICIES), ("race", 2, 0.5)]
)
def test_runs_and_searches_stay_within_the_budget(without_rate, tmp_path, policy, passes, budget):
    study = without_rate(tmp_path / "s", policy, passes, budget)
    search, prices = searches_of(study), study.prices
    asked = [("thin", 50), ("thin", 0), ("thin", 100), ("wide", 50)]
    expected = [
        prices.at["thin", 50] + search.thin,
        0,
        prices.at["thin", 100],
        prices.at["wide", 50] + search.wide,
    ]
    np.testing.assert_allclose(study.priced(asked), expected)
    np.testing.assert_allclose(study.whole, prices[200].sum() + search.sum())
    assert (search > 0).all()
    work_off(study)
    runs = study.store.runs()
    paid = sum(prices.at[model, size] for model, size in zip(runs.model, runs.train_size))
    np.testing.assert_allclose(study.spent, paid + search[runs.model.unique()].sum())
    assert study.spent <= budget * study.whole
    assert len(runs) or policy == "full"


@pytest.fixture
def searching(without_rate, tmp_path):
    "A race whose money goes mostly into one search, when all is spent."
    study = without_rate(tmp_path / "race", "race", 2, 0.5)
    work_off(study)
    return study


def test_a_run_made_elsewhere_has_searched_elsewhere(searching):
    study, search = searching, searches_of(searching)
    study.tell("wide", 150, 2.9)
    elsewhere = study.priced([("wide", 151)], told=True)[0]
    here = study.priced([("wide", 151)])[0]
    np.testing.assert_allclose(elsewhere + search.wide, here)
    study.store.plan([("wide", 151, 0)], prices=[here])
    planned = study.spent
    assert study.priced(study.ask()) == [study.store.runs().price.iloc[-1]]
    study.tell("wide", 151, 2.9)
    np.testing.assert_allclose(planned - study.spent, search.wide)  # nobody has searched here
    elsewhere = study.priced([("wide", 152)], told=True)[0]
    np.testing.assert_allclose(study.priced([("wide", 152)])[0], elsewhere + search.wide)


def test_a_study_that_goes_on_keeps_its_prices(searching, without_rate, monkeypatch):
    monkeypatch.setattr(study_module, "search_price", lambda *_: 1e30)
    again = without_rate(searching.store.folder, "race", 2, 0.5)
    assert again.spent == searching.spent


class FakeWorkers:
    "Workers that make nothing, and end one run at a time."

    def __init__(self):
        self.specs = []

    def submit(self, spec, progress):
        self.specs.append(spec)
        return spec

    def ready(self, busy):
        return list(busy)[:1]

    def result(self, spec):
        return dict(byte_loss=2.0, byte_loss_se=0.1, rate=1e-2)


@pytest.fixture
def patient(quick, tmp_path):
    "A study that has found its rates, by one search per candidate, with the specs of its runs."
    study = new_study(tmp_path / "patient", **with_settings(quick, rate=None))
    study.store.plan([(m, n, 0) for n, m in product((50, 100), ("thin", "wide"))])
    fake = FakeWorkers()
    study._work_off(fake, 4, "cpu", lambda *_: None)
    study.store.release()
    study.specs = fake.specs
    return study


def test_one_run_per_candidate_searches_and_the_others_wait(patient):
    rates = [spec["recipe"]["rate"] for spec in patient.specs]
    assert rates == [None, None, 1e-2, 1e-2]


def test_once_the_rates_are_known_runs_start_at_once(patient):
    patient.store.plan([(m, n, 1) for m in ("thin", "wide") for n in (50, 100)])
    claims = [patient.store.claim(in_turn=patient._waiting()) for _ in range(5)]
    assert [run is not None for run in claims] == [True] * 4 + [False]
    patient.store.release()


def test_an_interrupted_study_is_as_if_it_had_not_begun(quick, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    study = new_study(tmp_path / "s", **quick)
    with pytest.raises(KeyboardInterrupt):
        study.run(device="cpu", progress=interrupt)
    assert set(study.store.runs().state) == {"planned"}
    assert study.store.runs().attempts.sum() == 0


def test_a_device_that_is_not_there_is_refused(quick, tmp_path):
    study = new_study(tmp_path / "s", **quick)
    with pytest.raises(ValueError, match="`device` must be one that torch has here"):
        study.run(device="cuda:9")


def test_an_interrupt_stops_the_workers(own):
    spec = own._spec(("wide", 200, 0), "cpu") | dict(checkpoint=None)
    spec["recipe"] = spec["recipe"] | dict(passes=1e5, checks=1)
    with pytest.raises(KeyboardInterrupt), Processes(1) as pool:
        future = pool.submit(spec, None)
        while not future.running():
            time.sleep(0.05)
        working = list(pool.busy[future]._processes.values())
        raise KeyboardInterrupt
    for process in working:
        process.join(120)
    assert not any(process.is_alive() for process in working)


def test_a_folder_named_like_a_shipped_task_is_not_taken_for_it(tmp_path, monkeypatch):
    for name in ("headline", "mine"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert _absolute_task("headline") == "headline"
    assert _absolute_task("mine") == str((tmp_path / "mine").resolve())


@pytest.fixture(scope="module")
def climbing(quick):
    return with_settings(quick, ladder="continue") | dict(budget_size=200)


@pytest.fixture(scope="module")
def climbed(climbing, tmp_path_factory):
    study = new_study(tmp_path_factory.mktemp("up") / "s", **climbing)
    study.due_before = study.due
    study.run(device="cpu")
    return study


def test_a_ladder_that_continues_costs_the_way_from_size_to_size(climbed, quick, tmp_path):
    before = climbed.due_before
    paid = climbed.store.runs().pivot(index="model", columns="train_size", values="price")
    paid = paid.loc[before.index]
    np.testing.assert_array_equal(paid[50], before[50])
    assert (paid[100] < before[100]).all()
    assert (paid[200] < climbed.prices[200]).all()
    fresh = new_study(tmp_path / "fresh", **quick | dict(budget_size=200))
    assert climbed.spent < fresh.prices.sum().sum()


def test_a_size_below_the_ladder_costs_as_many_steps_as_its_smallest(climbed):
    prices = climbed.priced([("thin", 25), ("thin", 0)])
    assert prices == [climbed.prices.at["thin", 50], 0.0]


def test_workers_beside_climb_the_same_ladder(climbing, climbed, result_table, tmp_path):
    beside = new_study(tmp_path / "s", **climbing)
    beside.run(workers=2, device="cpu")
    same_results(result_table(beside), result_table(climbed))


def test_a_race_on_a_ladder_that_continues_stays_within_its_budget(climbing, tmp_path):
    study = new_study(tmp_path / "s", **climbing | dict(budget_size=None, budget=2.0))
    study.run(device="cpu")
    assert study.spent <= 2 * study.whole
    assert len(study.store.runs()) >= 6


def test_a_ladder_that_continues_is_refused_on_a_cluster(climbed, monkeypatch):
    monkeypatch.setattr("lensllm.tune.workers.find_spec", lambda name: True)
    with pytest.raises(ValueError, match="`executor` must be local for a ladder that continues"):
        climbed.run(executor="ray")


def test_probes_change_no_loss(quick, own, result_table, tmp_path):
    study = new_study(tmp_path / "s", **quick | dict(probes=True))
    study.run(device="cpu")
    same_results(result_table(study), result_table(own))
    for result in study.store.runs().result:
        assert result["findings"]["runs"] == 9
        assert 0 <= result["findings"]["drift"] <= 1


def test_a_candidate_that_diverges_is_entered_with_its_reason(quick, tmp_path):
    recipe = Recipe(rate=1e30, clip=1e30, least_steps=4, passes=0.1)
    study = new_study(tmp_path / "s", **quick | dict(recipe=recipe))
    with pytest.raises(ValueError, match="at least one run that is done"):
        study.run(device="cpu")
    runs = study.store.runs()
    assert set(runs.state) == {"failed"}
    assert study.ask().why == "every candidate has failed"
    assert runs.reason.str.contains("does not diverge").all()
    assert (runs.attempts == 1).all()


# --- what is refused


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(candidates=[]), "`candidate` must name at least one"),
        (dict(candidates="twice"), "got thin twice"),
        (dict(budget_size=None, budget=1e-4), "`budget` must cover the first runs"),
        (
            dict(budget_size=None, budget=1e-4, candidates="first"),
            "`budget` must cover the first run of the only candidate",
        ),
        (dict(budget_size=None, budget=-1), "`budget` must be a share > 0"),
        (dict(target=100_000, sizes=None), "`target` must be at most"),
        (dict(budget_size=10), "`budget_size` must lie between 50"),
        (dict(policy="luck", budget_size=None), "`policy` must be one of"),
        (dict(policy="all", budget_size=None), "`policy` must be one of"),
        (dict(recipe=Recipe(max_tokens=4)), "cuts 100% of them"),
        (dict(unit="bytes"), "`unit` must be one of byte, token"),
        (dict(candidates="nothing"), "is no folder"),
        (dict(task="nothing.csv"), "`task` must be a file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_study_is_refused_and_leaves_no_folder(
    quick, models, tmp_path, options, message
):
    sources = dict(twice=[models[0]] * 2, first=models[:1], nothing=[tmp_path / "nothing"])
    wanted = options.get("candidates")
    if isinstance(wanted, str):
        options = options | dict(candidates=sources[wanted])
    if "task" in options:
        options = options | dict(task=tmp_path / options["task"])
    with pytest.raises(ValueError, match=message):
        new_study(tmp_path / "bad", **quick | options)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(policy="subtuning", budget_size=None), "must be fresh for subtuning"),
        (dict(task="t", candidates=dict(a=1)), "must be fresh where runs are told"),
    ],
)
def test_a_ladder_that_cannot_continue_is_refused(quick, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        new_study(tmp_path / "s", **with_settings(quick, ladder="continue") | options)


def test_what_was_stopped_while_it_was_set_up_is_no_study(quick, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "add_candidate", interrupt)
        new_study(tmp_path / "s", **quick)
    with pytest.raises(ValueError, match="`folder` must hold a study"):
        Study(tmp_path / "s")
    assert len(new_study(tmp_path / "s", **quick).ask()) == 6  # the same call sets it up


def test_a_folder_of_another_study_is_not_touched(own, quick):
    with pytest.raises(ValueError, match="whose seed is 0"):
        new_study(own.store.folder, **quick | dict(seed=1))
    with pytest.raises(ValueError, match="whose recipe is batch 16, not 8; take"):
        new_study(own.store.folder, **with_settings(quick, batch=8))


def test_a_folder_that_holds_something_else_is_not_touched(quick, models):
    with pytest.raises(ValueError, match="holds something else"):
        new_study(models[0], **quick)


def test_a_folder_without_a_study_is_refused_and_not_made(tmp_path, sums):
    with pytest.raises(ValueError, match="`folder` must hold a study"):
        Study(tmp_path / "empty")
    assert not (tmp_path / "empty").exists()
    with pytest.raises(ValueError, match="is a file"):
        Study(sums)


def test_a_run_above_the_target_leaves_a_ranking(tmp_path):
    study = begin(tmp_path / "s")
    runs = spend(study)
    chosen = study.choice()
    study.tell(runs[0][0], 4 * 12800, 1.0)
    assert study.choice() == chosen


def test_a_ranking_says_which_runs_beyond_the_target_it_does_not_read(tmp_path):
    study = begin(tmp_path / "s")
    runs = spend(study)
    before = study.ranking()
    assert not any("beyond the target" in doubt for doubt in before.doubts)
    study.tell(runs[0][0], 4 * 12800, 1.0)
    after = study.ranking()
    assert after.frame.equals(before.frame)
    (said,) = [doubt for doubt in after.doubts if "beyond the target" in doubt]
    assert said.startswith(f"{runs[0][0]}: ") and "51,200" in said


def test_no_other_run_is_taken_back(tmp_path):
    study = begin(tmp_path / "s")
    (model, size), *_ = spend(study)
    with pytest.raises(ValueError, match="`train_size` must be a whole number"):
        study.forget(model, size + 0.5)
    assert len(study.store.runs().query("model == @model and train_size == @size")) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(seed=1.5), "`seed` must be a whole number"),
        (dict(sizes=[100.7, 200]), "`sizes` must be a whole number"),
        (dict(target="many"), "`target` must be a whole number"),
    ],
)
def test_a_setting_that_is_no_whole_number_leaves_no_folder(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        begin(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_sizes_of_numpy_are_sizes(tmp_path):
    study = begin(tmp_path / "s", sizes=np.array([200, 400, 800, 12800]), seed=np.int64(3))
    assert study.facts["sizes"] == [200, 400, 800, 12800]


def test_a_told_loss_that_is_no_number_says_why(tmp_path):
    study = begin(tmp_path / "s")
    with pytest.raises(ValueError, match="`test_loss` must be a number, got '?2,345"):
        study.tell(next(iter(THREE)), 200, "2,345")
