"Who must be seen gets a first look before money goes elsewhere, or the budget is refused."

import json
import sqlite3

import pytest
from lensllm.choose.policies import POLICIES, never_run
from lensllm.tune.study import Study, new_study

CROWD = dict(a=1e8, b=2e8, giant=3e9)


def begin(folder, budget=0.03, **options):
    "Two small models and a giant, whose runs are made elsewhere."
    options = dict(task="sums", candidates=CROWD, budget=budget, target=3200) | options
    return new_study(folder, **options)


@pytest.mark.parametrize("share", [0.0313, 0.035, 0.05, 0.1, 0.3])
def test_a_budget_for_everybodys_first_look_leaves_nobody_unseen(tmp_path, share):
    "By default, without a word: the opening goes from size to size."
    study = begin(tmp_path / "s", share)
    assert sum(study.first_looks(list(CROWD))) <= share * study.whole
    assert never_run(study.racing, study.store.runs(), study.ask()) == []


def test_a_smaller_budget_leaves_the_giant_unseen(tmp_path):
    study = begin(tmp_path / "s")
    assert never_run(study.racing, study.store.runs(), study.ask()) == ["giant"]


@pytest.mark.parametrize("policy", POLICIES)
def test_who_must_be_seen_comes_first_whatever_the_policy(tmp_path, policy):
    study = begin(tmp_path / "s", must_see=["giant"], policy=policy)
    assert study.ask() == [("giant", 100)]
    study.tell("giant", 100, 3.0)
    assert ("giant", 100) not in study.ask()


def test_a_first_look_is_given_once_and_to_nobody_who_failed(tmp_path):
    study = begin(tmp_path / "s", 0.3, must_see=["giant", "a"])
    assert study.ask() == [("a", 100), ("giant", 100)]  # cheapest first
    study.tell("a", 400, 3.0)  # another run of it is a look too
    study.tell("giant", 100, None, reason="out of memory")
    assert {model for model, _ in study.ask()} == {"a", "b"}


def test_a_look_pays_for_the_search_of_a_rate(tmp_path, write_sums, save_candidate):
    place = save_candidate(tmp_path, "thin", "gpt2", width=8)
    options = dict(task=write_sums(tmp_path / "sums.jsonl"), candidates=[place], sizes=[20, 200])
    study = new_study(tmp_path / "s", **options, budget=9.0, must_see=["thin"])
    search = study.store.candidates().facts["thin"]["search"]
    assert search > 0
    assert study.first_looks(["thin"]) == [study.prices.at["thin", 20] + search]


def test_the_budget_that_is_named_is_enough(tmp_path):
    with pytest.raises(ValueError, match="`budget` must cover a first look at giant") as refused:
        begin(tmp_path / "s", 0.02, must_see=["giant"])
    assert not (tmp_path / "s").exists()
    share = float(str(refused.value).partition("at least ")[2].partition("%")[0]) / 100
    begin(tmp_path / "s", share, must_see=["giant"])


def test_less_money_than_the_looks_cost_is_refused_and_changes_nothing(tmp_path):
    study = begin(tmp_path / "s", must_see=["giant"])
    study.tell("a", 100, 3.0)
    with pytest.raises(ValueError, match=r"got 1% .* give at least 2.94%"):
        study.fund(0.01)
    assert study.facts["budget"]["share"] == Study(tmp_path / "s").facts["budget"]["share"] == 0.03
    study.fund(0.0294)


def test_naming_others_takes_the_place_of_those_before(tmp_path):
    study = begin(tmp_path / "s", 0.05, must_see="all")
    assert Study(tmp_path / "s").facts["must_see"] == list(CROWD)
    study.fund(must_see=["b"], keep=False)
    assert study.ask() == [("b", 100)]
    assert Study(tmp_path / "s").facts["must_see"] == list(CROWD)
    study.fund(must_see=["b"])
    assert Study(tmp_path / "s").facts["must_see"] == ["b"]


def test_the_same_study_again_keeps_who_must_be_seen(tmp_path):
    begin(tmp_path / "s", must_see=["giant"])
    assert begin(tmp_path / "s").facts["must_see"] == ["giant"]


def test_an_unknown_name_is_one_line_with_what_was_meant(tmp_path):
    with pytest.raises(ValueError, match="got 'gaint'; did you mean giant"):
        begin(tmp_path / "s", must_see=["gaint"])
    with pytest.raises(ValueError, match="`must_see` cannot be given where every candidate runs"):
        begin(tmp_path / "s", budget_size=200, must_see=["a"])
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("value", ["giant", [1], ["stranger"], {"a": 1}])
def test_a_strangers_folder_is_checked(tmp_path, value):
    begin(tmp_path / "s").store.close()
    with sqlite3.connect(tmp_path / "s" / "study.db") as db:
        change = "INSERT OR REPLACE INTO facts VALUES ('must_see', ?)"
        db.execute(change, (json.dumps(value),))
    with pytest.raises(ValueError, match="must_see must be names|must be seen must be a candidate"):
        Study(tmp_path / "s")


def test_a_study_from_before_there_was_such_a_fact_opens(tmp_path):
    begin(tmp_path / "s").store.close()
    with sqlite3.connect(tmp_path / "s" / "study.db") as db:
        db.execute("DELETE FROM facts WHERE key = 'must_see'")
    assert Study(tmp_path / "s").facts["must_see"] == []


def test_whom_nobody_looked_at_is_doubted_with_a_remedy_that_works(tmp_path):
    study = begin(tmp_path / "s", 0.02)
    assert study.unseen_doubt() == ""  # nothing was spent yet: the plan says it
    while plan := study.ask():
        for model, size in plan:
            study.tell(model, size, 2 + 20 * size**-0.5)
    doubt = study.unseen_doubt()
    assert doubt.startswith("never run: giant, of which the choice knows nothing")
    words = doubt.rpartition("; ")[2].split()
    assert words[:3] == ["--must-see", "giant", "--budget"]
    study.fund(float(words[3].rstrip("%")) / 100, must_see=[words[1]])
    assert study.ask() == [("giant", 100)]
