"Runs that are lent to jobs elsewhere: never twice at once, again when a lease has ended."

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lensllm.tune.store import Store
from lensllm.tune.study import Study, new_study


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    store.add_candidate("small", 1_000_000)
    store.plan([("small", size, 0) for size in (50, 100, 200)])
    return store


@pytest.fixture
def study(tmp_path):
    candidates = dict(small=1e8, large=1e9)
    return new_study(
        tmp_path / "study", task="sums", candidates=candidates, budget=0.3, target=12800
    )


def states(store):
    return list(store.runs().state)


# --- the store


def test_runs_are_lent_in_the_order_in_which_they_were_planned(store):
    assert store.lend(2, seconds=60) == [("small", 50, 0), ("small", 100, 0)]
    assert store.lend(2, seconds=60) == [("small", 200, 0)]
    assert store.lend(2, seconds=60) == []
    assert states(store) == ["running"] * 3


def test_a_run_whose_lease_has_ended_is_lent_again(store):
    (first,) = store.lend(1, seconds=0.001)
    time.sleep(0.01)
    assert store.lend(1, seconds=60) == [first]


def test_no_process_here_takes_what_is_lent(store):
    store.lend(2, seconds=60)
    assert store.claim() == ("small", 200, 0)
    assert store.claim() is None


def test_a_process_here_may_take_what_is_lent_no_more(store):
    store.lend(3, seconds=0.001)
    time.sleep(0.01)
    run = store.claim()
    assert run == ("small", 50, 0)
    others = store.lend(3, seconds=60)
    assert run not in others and len(others) == 2


def test_what_a_process_here_makes_is_not_lent(store):
    run = store.claim()
    assert run not in store.lend(3, seconds=60)


def test_the_first_result_of_a_run_lent_twice_counts(store):
    store.lend(1, seconds=0.001)
    time.sleep(0.01)
    store.lend(1, seconds=60)
    store.done(("small", 50, 0), 3.0)
    store.done(("small", 50, 0), 2.0)
    assert store.runs().test_loss[0] == 3.0
    assert ("small", 50, 0) not in store.lend(3, seconds=60)


def test_a_store_from_before_leases_is_brought_up_to_date(tmp_path, monkeypatch):
    from lensllm.tune import store as module

    monkeypatch.setattr(module, "MIGRATIONS", module.MIGRATIONS[:2])
    old = Store(tmp_path / "old")
    old.add_candidate("small", 1_000_000)
    old.plan([("small", 50, 0)])
    old.close()
    monkeypatch.undo()
    assert Store(tmp_path / "old").lend(1, seconds=60) == [("small", 50, 0)]


@pytest.mark.parametrize("n", [0, -1, 1.5, "2", None])
def test_how_many_is_a_whole_number_above_0(store, n):
    with pytest.raises((TypeError, ValueError), match="^`n` must"):
        store.lend(n, seconds=60)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "6h", None])
def test_a_lease_is_a_time(store, seconds):
    with pytest.raises((TypeError, ValueError), match="^`seconds` must"):
        store.lend(1, seconds=seconds)
    assert states(store) == ["planned"] * 3


# --- the study


def test_a_study_plans_when_nothing_is_open(study):
    assert study.lend(2) == [("small", 100, 0), ("large", 100, 0)]
    planned = study.store.runs()
    assert len(planned) > 2
    assert planned.price.notna().all()


def test_it_plans_no_further_before_results_have_come(study):
    opening = study.lend(1000)
    assert study.lend() == []
    for model, size, seed in opening:
        study.tell(model, size, 3.0 - 0.1 * (model == "large"), seed=seed)
    assert set(study.lend(1000)).isdisjoint(opening)


def test_many_jobs_at_once_get_different_runs(study):
    def job(_):
        return Study(study.store.folder).lend(1)

    with ThreadPoolExecutor(6) as pool:
        lent = [run for runs in pool.map(job, range(6)) for run in runs]
    assert len(lent) == len(set(lent)) == 6


def test_of_jobs_at_once_only_one_asks_the_policy(study, monkeypatch):
    asked, ask = [], Study.ask

    def slow_ask(self):
        asked.append(self)
        time.sleep(0.2)
        return ask(self)

    monkeypatch.setattr(Study, "ask", slow_ask)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Study(study.store.folder).lend(1), range(4)))
    assert len(asked) == 1


@pytest.mark.parametrize("wrong", [dict(n=0), dict(n="2"), dict(lease=0), dict(lease="6h")])
def test_what_is_wrong_is_named_as_it_was_given(study, wrong):
    (name,) = wrong
    with pytest.raises((TypeError, ValueError), match=f"^`{name}` must"):
        study.lend(**wrong)
    assert study.store.runs().empty


# --- the command


def ask(study, *options):
    from lensllm.cli.app import exit_code

    return exit_code(["ask", str(study.store.folder), *options])


def test_each_line_is_a_run_for_a_shell(tmp_path, capsys):
    study = new_study(
        tmp_path / "s", task="t", candidates={"a b": 1e6, "c": 1e6}, budget=0.3, target=6400
    )
    assert ask(study, "--n", "2") == 0
    assert capsys.readouterr().out == "'a b' 100 0\nc 100 0\n"


def test_nothing_to_run_now_has_its_own_exit_code(study, capsys):
    opening = study.lend(1000)
    assert ask(study) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"nothing to run now: {len(opening)} are lent")


def test_nothing_left_says_why(tmp_path, capsys):
    study = new_study(
        tmp_path / "s", task="t", candidates=dict(a=1e6, b=1e6), budget_size=100, target=100
    )
    for model, size, seed in study.lend(1000):
        study.tell(model, size, 3.0, seed=seed)
    assert ask(study) == 3
    assert capsys.readouterr().err.startswith("nothing left to run: every candidate up to 100")


@pytest.mark.parametrize("lease", ["6", "h", "0h", "-1h", "1e9d", "six hours"])
def test_a_lease_has_a_unit(study, capsys, lease):
    assert ask(study, "--lease", lease) == 2
    assert "must be a time such as 90m, 6h or 2d" in capsys.readouterr().err
    assert study.store.runs().empty
