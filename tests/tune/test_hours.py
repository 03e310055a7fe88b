"Hours of a device, and money: measured where runs were made here, expected from what was measured."

import json
import math
import re
import sqlite3

import pandas as pd
import pytest
from lensllm.report.page import study_report
from lensllm.tune.recipe import Recipe
from lensllm.tune.study import Study, candidate_speed, duration, new_study

RECIPE = Recipe(rate=1e-2, passes=1, least_steps=4, checks=1)
SECONDS = {("a", 20): 30.0, ("a", 40): 60.0, ("b", 20): 90.0}


@pytest.fixture
def begun(tmp_path, write_sums, save_candidate):
    "A study of three models that are trained here, two of which have runs with known times."
    places = [save_candidate(tmp_path, name, "gpt2", width=8, layers=1) for name in "abc"]
    options = dict(task=write_sums(tmp_path / "sums.jsonl"), candidates=places, recipe=RECIPE)
    study = new_study(tmp_path / "s", **options, sizes=[20, 40, 80], budget=5.0)
    study.store.plan([(*run, 0) for run in SECONDS], prices=study.priced(list(SECONDS)))
    for run, seconds in SECONDS.items():
        record = dict(seconds=seconds, rate=0.01, peak_memory=2.5e9)
        study.store.done((*run, 0), 3.0 - run[1] / 100, result=record)
    return study


def test_measured_seconds_are_those_of_the_records(begun):
    assert begun.run_seconds().tolist() == list(SECONDS.values())
    assert begun.bill()["hours_spent"] == 180 / 3600


def test_a_run_that_failed_here_took_its_time(begun):
    with begun.store._transaction() as db:
        row = "('c', 20, 0, 'failed', 1.0, 1000.0, 1050.0)"
        columns = "(model, train_size, seed, state, price, started, ended)"
        db.execute(f"INSERT INTO runs {columns} VALUES {row}")
    assert begun.run_seconds().tolist() == [*SECONDS.values(), 50.0]


def test_a_candidate_is_as_fast_as_it_was_or_as_the_others_were(begun):
    paid = {run: begun.prices.at[run] for run in SECONDS}
    speeds = begun.speeds()
    assert speeds.a == pytest.approx((paid["a", 20] + paid["a", 40]) / 90)
    assert speeds.b == pytest.approx(paid["b", 20] / 90)
    assert speeds.c == pytest.approx(sum(paid.values()) / 180)
    expected = begun.expected_seconds([("b", 40), ("c", 20)])
    assert expected == pytest.approx(
        [begun.prices.at["b", 40] / speeds.b, begun.prices.at["c", 20] / speeds.c]
    )


def test_given_speeds_take_the_place_of_measured_ones(begun):
    assert begun.expected_seconds([("a", 80)], pd.Series(dict(a=1.0))) == [begun.prices.at["a", 80]]
    assert math.isnan(begun.expected_seconds([("b", 80)], pd.Series(dict(a=1.0)))[0])


def test_the_time_of_a_strangers_run_is_one_line(begun):
    with pytest.raises(ValueError, match="`runs` must name candidates of the study, got 'aa'"):
        begun.expected_seconds([("aa", 40)])


def test_money_is_hours_times_the_price(begun):
    begun.charge(4.0)
    assert Study(begun.store.folder).facts["price_per_hour"] == 4
    bill = begun.bill([("a", 80)])
    assert bill["money_spent"] == pytest.approx(4 * 0.05)
    assert bill["money_expected"] == pytest.approx(4 * bill["hours_expected"])
    assert begun.bill_text() == "device time: 3 min measured (money: 0.2), at 4 per hour"


def test_a_price_for_one_look_is_not_kept(begun):
    begun.charge(4.0, keep=False)
    assert begun.bill()["money_spent"] > 0
    assert Study(begun.store.folder).facts["price_per_hour"] is None


def test_where_runs_are_made_elsewhere_no_time_is_known(tmp_path):
    study = new_study(tmp_path / "s", task="t", candidates=dict(a=1e8, b=2e8), budget=0.5)
    study.tell("a", 100, 3.0)
    study.tell("b", 100, None, reason="lost")
    assert study.run_seconds().isna().all()
    assert set(study.bill([("a", 200)]).values()) == {None}
    assert study.bill_text() == ""
    study.charge(2)
    assert study.bill_text() == "device time: none was measured, at 2 per hour"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -5.0, 1e90])
def test_a_record_with_no_time_that_can_be_counts_as_unknown(begun, value):
    with sqlite3.connect(begun.store.folder / "study.db") as db:
        db.execute("UPDATE runs SET result = ?", (json.dumps(dict(seconds=value)),))
    try:
        study = Study(begun.store.folder)
    except ValueError as refused:
        assert "a record of numbers" in str(refused)
    else:
        assert value == 1e90 or study.run_seconds().isna().all()


@pytest.mark.parametrize("value", ["4", -1, 0, [1], True])
def test_a_strangers_price_is_checked(begun, value):
    with sqlite3.connect(begun.store.folder / "study.db") as db:
        change = "INSERT OR REPLACE INTO facts VALUES ('price_per_hour', ?)"
        db.execute(change, (json.dumps(value),))
    with pytest.raises(ValueError, match="price_per_hour must be a number > 0"):
        Study(begun.store.folder)


@pytest.mark.parametrize("value", [0, -1, float("nan"), "4", 1e12])
def test_a_price_that_is_none_is_refused(begun, value):
    with pytest.raises((TypeError, ValueError), match="`price_per_hour` must"):
        begun.charge(value)


@pytest.mark.parametrize(
    "seconds, text",
    [(0.2, "0.2 s"), (47, "47 s"), (120, "2 min"), (9000, "2.5 h"), (4e7, "11,111.1 h")],
)
def test_a_time_is_in_the_unit_that_people_use(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("arch", ["gpt2", "t5"])
def test_the_speed_of_a_step_is_measured(places, counting, arch, method):
    speed = candidate_speed(places[arch], counting, Recipe(rate=1e-2, method=method), device="cpu")
    assert 1e5 < speed < 1e14


def test_the_report_has_times_memory_and_money(begun, tmp_path):
    begun.charge(4.0)
    page = study_report(begun, tmp_path / "report.html").read_text()
    assert "device time: 3 min measured (money: 0.2), at 4 per hour" in page
    assert ">peak memory (GB)</th>" in page and ">2.50</td>" in page
    assert re.search(">0.01</td>[^<]*<td[^>]*>90</td>", page)
    assert "device hours" in page
