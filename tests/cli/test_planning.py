"plan and simulate."

import pytest

PLAN = ("plan", "three.csv", "--target", "204800")


def test_plan_says_what_to_run_and_where_the_study_stands(lensllm, in_tables):
    done = lensllm(*PLAN, "--budget", "5%")
    assert (done.code, done.err) == (0, "")
    assert "chosen now: " in done.out
    assert "budget 5.000%" in done.out


def test_plan_json_fields(lensllm, in_tables):
    plan = lensllm(*PLAN, "--budget", "5%", "--json").json
    assert list(plan) == [
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
    assert list(plan["runs"][0]) == ["model", "train_size", "cost", "cost_fraction"]


def test_a_plan_stays_within_the_budget(lensllm, in_tables):
    plan = lensllm(*PLAN, "--budget", "5%", "--json").json
    assert plan["runs"]
    costs = [run["cost_fraction"] for run in plan["runs"]]
    assert plan["spent_fraction"] + sum(costs) <= 0.05


def test_a_budget_that_is_spent_gets_no_run(lensllm, in_tables):
    plan = lensllm(*PLAN, "--budget", "0.01%", "--json").json
    assert not plan["runs"]
    assert plan["spent_fraction"] > plan["budget_fraction"] == 0.0001


def test_a_failed_candidate_leaves_the_race(lensllm, in_tables):
    plan = lensllm(*PLAN, "--budget", "200%", "--failed", "big", "--json").json
    assert plan["budget_fraction"] == 2
    assert plan["choice"] != "big"
    assert "big" not in {run["model"] for run in plan["runs"]}


def test_a_plan_for_accuracies_names_no_token(lensllm, in_tables):
    done = lensllm("plan", "accuracies.csv", "--budget", "1%", "--target", 3200)
    assert "the runs that exist have cost the budget" in done.out
    assert "nats" not in done.out
    assert "doubt: all: read as scores, most curves rise" in done.out
    assert "doubt: all: noise unknown, how exact score is" in done.out


def test_a_plan_for_scores_speaks_of_points(lensllm, in_tables):
    call = ("plan", "scores.csv", "--budget", "70%", "--target", 3200)
    assert "points" in lensllm(*call).out
    data = lensllm(*call, "--json").json
    assert (data["metric"], data["unit"]) == ("accuracy", "percent")


def test_a_replay_of_scores_shows_scores(lensllm, in_tables):
    call = ("simulate", "scores.csv", "--budget", "60%")
    assert "points" in lensllm(*call).out
    trace = lensllm(*call, "--json").json["trace"]
    assert {run["accuracy"] for run in trace} <= set(range(59, 70))


def test_mixed_units_are_doubted(lensllm, in_tables):
    call = ("plan", "units.csv", "--budget", "30%", "--target", 12800)
    assert "doubt: d: mixed units, losses are 0.01" in lensllm(*call).out
    assert len(lensllm(*call, "--json").json["doubts"]) == 1


def test_a_candidate_that_costs_too_much_to_be_seen_is_named(lensllm, in_tables):
    done = lensllm("plan", "zero.csv", "--budget", "0.01%", "--target", "1M")
    assert "doubt: never run, nor among these runs: huge," in done.out


def test_the_largest_size_as_target_is_pointed_out_to_people(lensllm):
    call = ("plan", "flan", "--budget", "2%", "--up-to", 800)
    hint = "the target 1,638,400 is the largest size in the table"
    assert hint in lensllm(*call).out
    assert hint not in lensllm(*call, "--csv").out
    assert hint not in lensllm(*call, "--target", 1_638_400).out


def test_an_amount_is_a_share_of_the_users_own_prices(lensllm, in_tables):
    rows = ["model,train_size,test_loss,hours"]
    rows += [f"{m},{d},{9 * d**-0.3},{d / 800}" for m in "ab" for d in (200, 400, 800)]
    (in_tables / "hours.csv").write_text("\n".join(rows))
    plan = lensllm("plan", "hours.csv", "--costs", "hours", "--budget", "1", "--json").json
    assert plan["budget_fraction"] == 0.5


# a study of runs that are made elsewhere


@pytest.mark.parametrize("args, share", [(("--budget", "40%"), 0.4), (("-b", "0.2"), 0.2)])
def test_the_budget_of_a_study_can_be_changed_for_good(lensllm, study, args, share):
    assert lensllm("plan", study, *args, "--json").json["budget_fraction"] == share
    assert lensllm("plan", study, "--json").json["budget_fraction"] == share


def test_a_changed_budget_is_announced(lensllm, study):
    assert lensllm("plan", study, "--budget", "1%").err == "budget changed from 30% to 1%\n"
    less = lensllm("plan", study, "--budget", "0.1%").err
    assert less.startswith("budget changed from 1% to 0.1%, less than the 0.")
    assert lensllm("plan", study, "--budget", "0.1%").err == ""


def test_a_budget_that_covers_everything_points_at_the_policy_full(lensllm, study):
    assert "full does from the first run" in lensllm("plan", study, "--budget", "300%").out


def test_a_failed_run_of_a_study_is_not_asked_for_again(lensllm, begun_study):
    plan = lensllm("plan", begun_study, "--json").json
    assert {run["model"] for run in plan["runs"]} == {"small"}


UNEVEN = ("--candidate", "a=1e8", "--candidate", "giant=3e9", "--target", "3200")


def test_who_must_be_seen_is_kept_and_comes_first(lensllm, tmp_path):
    folder = tmp_path / "s"
    plan = lensllm("plan", folder, *UNEVEN, "--budget", "4%", "--must-see", "giant", "--json").json
    assert [run["model"] for run in plan["runs"]] == ["giant"]
    again = lensllm("plan", folder, "--json").json
    assert (again["runs"], again["left_out"]) == (plan["runs"], [])


def test_a_budget_that_looks_at_nobody_large_names_the_option_that_does(lensllm, tmp_path):
    folder = tmp_path / "s"
    more = (*UNEVEN, "--candidate", "b=2e8", "--budget", "2%")
    done = lensllm("plan", folder, *more)
    words = done.out.rpartition("of full tuning; ")[2].split()
    assert words[:3] == ["--must-see", "giant", "--budget"]
    assert "giant" in lensllm("plan", folder, *words[:4]).out


@pytest.mark.parametrize(
    "words, rule",
    [
        (("--must-see", "gaint"), "`--must-see` must name candidates of the study, got 'gaint'"),
        (("--must-see", "giant"), "`--budget` must cover a first look at giant"),
    ],
)
def test_who_cannot_be_seen_is_one_line_before_anything_begins(lensllm, tmp_path, words, rule):
    refused = lensllm("plan", tmp_path / "s", *UNEVEN, "--budget", "3%", *words)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"lensllm: {rule}")
    assert not (tmp_path / "s").exists()


def test_a_table_has_nobody_who_must_be_seen(lensllm):
    refused = lensllm("plan", "flan", "--budget", "2%", "--must-see", "giant")
    assert refused.err.startswith("lensllm: `--must-see` has no meaning without --candidate")


def test_the_price_of_an_hour_is_kept(lensllm, study):
    plan = lensllm("plan", study, "--price-per-hour", 2.5, "--json").json
    assert plan["time"]["price_per_hour"] == 2.5
    assert "at 2.5 per hour" in lensllm("plan", study).out
    assert "at 2.5 per hour" in lensllm("status", study).out
    assert "time" not in lensllm("plan", "flan", "--budget", "2%", "--json").json


def test_hours_of_a_table_are_not_known(lensllm):
    refused = lensllm("plan", "flan", "--budget", "2%", "--price-per-hour", 2)
    assert refused.err.startswith("lensllm: `--price-per-hour` has no meaning without --candidate")


# simulate


def test_simulate_json_fields(lensllm):
    replay = lensllm("simulate", "flan", "--policy", "halving", "--budget", "2%", "--json").json
    assert list(replay) == [
        "task",
        "policy",
        "choice",
        "relative_accuracy",
        "regret",
        "cost_fraction",
        "p_best",
        "why",
        "trace",
    ]
    assert replay["cost_fraction"] <= 0.02
    assert replay["trace"][0]["train_size"] == 200


def test_simulate_shows_its_steps(lensllm, in_tables):
    done = lensllm("simulate", "flan", "--policy", "halving", "--plot", "replay.png")
    assert done.out.startswith("halving on flan, step by step\n")
    assert "every candidate up to 3,200 examples   30      200     200 0.012%" in done.out
    assert (in_tables / "replay.png").stat().st_size > 1000


def test_what_is_planned_is_not_spent_and_what_is_lent_is_running(lensllm, tmp_path):
    folder = str(tmp_path / "study")
    candidates = ("--candidate", "a=1e8", "--candidate", "b=2e8")
    begun = lensllm("plan", folder, *candidates, "--target", "6400", "--budget", "50%")
    assert "spent 0.000%" in begun.out
    assert lensllm("ask", folder).code == 0
    lent = lensllm("plan", folder)
    assert "planned, and not done yet; running: 1 of " in lent.out
    assert "spent 0.000%" in lent.out
