"run, status, tell and report."

import json
import tempfile
from pathlib import Path

import pytest

LADDER = ("--size", 25, "--size", 50, "--size", 100, "--device", "cpu")
RATE = ("--rate", "1e-2")


@pytest.fixture(scope="module")
def task_and_candidates(models):
    candidates = ("--candidate", models / "lm", "--candidate", models / "t5")
    return ("--task", models / "task.jsonl", *candidates)


@pytest.fixture(scope="module")
def ran(lensllm, task_and_candidates, tmp_path_factory):
    "A study of two models that are fine-tuned here; `--resume` begins it where there is none."
    folder = tmp_path_factory.mktemp("here") / "study"
    args = ("--budget-size", 50, *LADDER, *RATE, "--resume", "--json")
    return folder, lensllm("run", "--out", folder, *task_and_candidates, *args)


# a dry run


def test_a_dry_run_spends_nothing_and_leaves_nothing(
    lensllm, task_and_candidates, tmp_path, monkeypatch
):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    args = ("--budget-size", 50, *LADDER, *RATE, "--dry-run")
    done = lensllm("run", "--out", tmp_path / "study", *task_and_candidates, *args)
    assert (done.code, done.err) == (0, "")
    assert "nothing has been spent" in done.out
    assert not (tmp_path / "study").exists()
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("rate, searches", [(RATE, False), ((), True)])
def test_searches_for_rates_are_announced(lensllm, task_and_candidates, tmp_path, rate, searches):
    args = ("--budget-size", 50, *LADDER, *rate, "--dry-run")
    done = lensllm("run", "--out", tmp_path / "study", *task_and_candidates, *args)
    assert ("searches for learning rates" in done.out) == searches


@pytest.mark.parametrize("share, covers_more", [("250%", True), ("120%", False)])
def test_a_budget_for_no_further_run_is_doubted(
    lensllm, task_and_candidates, tmp_path, share, covers_more
):
    args = ("--size", 25, "--size", 100, "--device", "cpu", *RATE, "--dry-run", "--budget", share)
    done = lensllm("run", "--out", tmp_path / "study", *task_and_candidates, *args)
    assert ("the choice will rest on these" not in done.out) == covers_more


def test_chats_without_a_template_are_announced(lensllm, models, tmp_path):
    turns = lambda n: [dict(role="user", content=f"{n}"), dict(role="assistant", content=f"{n}")]
    lines = [json.dumps(dict(messages=turns(n))) + "\n" for n in range(60)]
    (tmp_path / "chats.jsonl").write_text("".join(lines))
    args = ("--task", tmp_path / "chats.jsonl", "-c", models / "lm", "--loss-on", "all", *RATE)
    sizes = ("--size", 8, "--target", 16, "--budget-size", 8, "--max-tokens", 40, "--dry-run")
    done = lensllm("run", "--out", tmp_path / "study", *args, *sizes)
    assert done.code == 0, done.err
    assert "doubt: no chat template of their own: lm; their chats are written plainly" in done.out


def test_one_candidate_is_no_choice(lensllm, models, tmp_path):
    done = lensllm(
        *("run", "--out", tmp_path / "study", "--task", models / "task.jsonl", "-c", models / "lm"),
        *("--size", 25, "--size", 100, "--device", "cpu", *RATE, "--dry-run", "--budget", "250%"),
    )
    assert "doubt: there is one candidate, so nothing to choose" in done.out


def test_a_continued_ladder_costs_less(lensllm, task_and_candidates, tmp_path):
    def cost(*ladder):
        args = ("--budget-size", 100, *LADDER, *RATE, "--dry-run", "--json", *ladder)
        done = lensllm("run", "--out", tmp_path / "study", *task_and_candidates, *args)
        return sum(run["cost"] for run in done.json["runs"])

    assert cost("--ladder", "continue") < cost()


def test_dry_run_json_fields(lensllm, task_and_candidates, tmp_path):
    args = ("--budget-size", 50, *LADDER, *RATE, "--dry-run", "--json")
    forecast = lensllm("run", "--out", tmp_path / "study", *task_and_candidates, *args).json
    assert list(forecast) == [
        "task",
        "policy",
        "target",
        "sizes",
        "seed",
        "unit",
        "budget_fraction",
        "full_cost",
        "candidates",
        "why",
        "runs",
        "time",
    ]
    fields = ["name", "n_params", "tokens", "cut", "search", "cost"]
    assert list(forecast["candidates"][0]) == fields
    assert set(forecast["time"].values()) == {None}  # nothing was measured


def test_a_dry_run_says_hours_from_a_measured_step(lensllm, task_and_candidates, tmp_path):
    args = ("--budget-size", 50, *LADDER, *RATE, "--dry-run", "--hours", "--price-per-hour", 2)
    call = ("run", "--out", tmp_path / "study", *task_and_candidates, *args)
    done = lensllm(*call)
    assert (done.code, done.err) == (0, "")
    assert "fine-tuning every candidate takes about" in done.out
    assert "device time: these runs about" in done.out
    forecast = lensllm(*call, "--json").json
    assert all(run["hours"] > 0 for run in forecast["runs"])
    time = forecast["time"]
    assert time["hours_spent"] is None
    assert time["money_expected"] == 2 * time["hours_expected"]


def test_hours_without_a_dry_run_are_refused(lensllm, task_and_candidates, tmp_path):
    done = lensllm("run", "--out", tmp_path / "study", *task_and_candidates, "--hours")
    assert (done.code, done.out) == (2, "")
    assert done.err == "lensllm: `--hours` has no meaning without --dry-run; leave it out\n"


# a study that is run here


def test_run_ends_with_a_ranking_and_a_report(ran):
    _, done = ran
    result = done.json
    assert list(result) == [
        "task",
        "target",
        "choice",
        "unit",
        "metric",
        "choice_by_loss",
        "spent_fraction",
        "ranking",
        "report",
        "doubts",
        "finished",
    ]
    assert len(result["ranking"]) == 2
    assert result["unit"] == "byte"
    assert Path(result["report"]).is_file()


def test_each_change_of_state_is_a_line_on_standard_error_and_in_the_log(ran):
    folder, done = ran
    log = (folder / "study.log").read_text()
    doubt, _, rest = done.err.replace("\r", "").partition(
        "itself: --policy full --budget 100%, in place of --budget-size\n"
    )
    assert doubt.startswith("doubt: for this money every candidate can be fine-tuned")
    assert rest == log
    assert log.count(": done, test loss") == 4


def test_status_lists_the_runs(lensllm, ran):
    folder, _ = ran
    status = lensllm("status", folder, "--json").json
    assert list(status) == ["task", "target", "unit", "spent_fraction", "time", "runs"]
    assert [(run["model"], run["train_size"], run["state"]) for run in status["runs"]] == [
        ("lm", 25, "done"),
        ("t5", 25, "done"),
        ("lm", 50, "done"),
        ("t5", 50, "done"),
    ]
    assert "FLOP at one token" not in lensllm("status", folder).out


def test_status_says_how_long_runs_took_and_what_that_costs(lensllm, ran):
    folder, _ = ran
    status = lensllm("status", folder, "--price-per-hour", 3600, "--json").json
    seconds = sum(run["seconds"] for run in status["runs"])
    assert seconds > 0
    assert status["time"]["money_spent"] == pytest.approx(seconds)
    done = lensllm("status", folder, "--price-per-hour", 2)
    assert "seconds" in done.out
    assert done.out.splitlines()[-1].startswith("device time: ")
    assert lensllm("status", folder, "--json").json["time"]["price_per_hour"] is None  # a look


@pytest.mark.parametrize("command", ["status", "report", "plan"])
@pytest.mark.parametrize("price", ["0", "-1", "nan", "1e12", "two"])
def test_a_price_that_is_none_is_one_line(lensllm, study, command, price):
    refused = lensllm(command, study, f"--price-per-hour={price}")
    assert (refused.code, refused.out) == (2, "")
    assert "--price-per-hour" in refused.err
    assert len(refused.err.splitlines()) == 1


def test_a_finished_study_has_nothing_left_to_do_and_to_say(lensllm, ran):
    folder, done = ran
    log = (folder / "study.log").read_text()
    again = lensllm("run", "--out", folder, "--resume", "--json", "--trust", "sources")
    assert again.json["ranking"] == done.json["ranking"]
    assert again.err == ""
    assert (folder / "study.log").read_text() == log


def test_a_study_of_all_sizes_has_no_budget_to_change(lensllm, ran):
    folder, _ = ran
    words = ("--budget", "90%", "--device", "cpu", "--trust", "sources")
    refused = lensllm("run", "--out", folder, "--resume", *words)
    assert refused.code == 2
    rule = "`--budget` cannot be given where every candidate runs up to 50 examples"
    assert refused.err.startswith(f"lensllm: {rule}")


def test_where_everybody_runs_nobody_must_be_seen(lensllm, ran):
    folder, _ = ran
    words = ("--must-see", "lm", "--trust", "sources", "--device", "cpu")
    refused = lensllm("run", "--out", folder, "--resume", *words)
    assert refused.code == 2
    assert "`--must-see` cannot be given where every candidate runs up to 50" in refused.err


def test_who_cannot_be_paid_for_is_refused_before_anything_runs(
    lensllm, task_and_candidates, tmp_path
):
    sizes = ("--size", 25, "--size", 100, "--device", "cpu", *RATE, "--budget", "60%")
    refused = lensllm("run", "--out", tmp_path / "s", *task_and_candidates, *sizes, "--must-see=t5")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("lensllm: `--budget` must cover a first look at t5")
    assert "; give at least " in refused.err
    assert not (tmp_path / "s").exists()


def test_a_run_looks_first_at_who_must_be_seen(lensllm, task_and_candidates, tmp_path):
    sizes = ("--size", 25, "--size", 100, "--device", "cpu", *RATE, "--budget", "250%")
    args = ("--dry-run", "--json", "--must-see", "t5")
    done = lensllm("run", "--out", tmp_path / "s", *task_and_candidates, *sizes, *args)
    assert [(run["model"], run["train_size"]) for run in done.json["runs"]] == [("t5", 25)]


# a study whose runs are made elsewhere


def test_tell_enters_and_corrects_a_loss(lensllm, study):
    done = lensllm("tell", study, "small", 200, 3.2, "--correct")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("entered small on 200 examples: 3.2 nats/token")
    runs = lensllm("status", study, "--json").json["runs"]
    assert [run["test_loss"] for run in runs if run["train_size"] == 200] == [3.2]


def test_tell_takes_back_what_was_a_mistake(lensllm, study):
    assert "beyond the target" in lensllm("tell", study, "small", "20k", "3.").out
    assert "took back" in lensllm("tell", study, "small", "20k", "--forget").out
    runs = lensllm("status", study, "--json").json["runs"]
    assert 20_000 not in {run["train_size"] for run in runs}


def test_spending_more_than_the_budget_is_doubted(lensllm, study):
    lensllm("plan", study, "--budget", "0.1%")
    done = lensllm("tell", study, "small", 400, 2.9)
    assert "doubt: more has been spent than the budget allows" in done.out


def test_status_says_how_costs_are_counted_and_why_a_run_failed(lensllm, begun_study):
    done = lensllm("status", begun_study)
    assert "FLOP at one token per example" in done.out
    assert "out of memory" in done.out


def test_a_study_of_runs_elsewhere_cannot_be_run_here(lensllm, study):
    refused = lensllm("run", "--resume", "--out", study, "--budget", "20%")
    rule = "`--out` must hold a study whose runs are made here"
    assert refused.err.startswith(f"lensllm: {rule}")
    budget = lensllm("plan", study, "--json").json["budget_fraction"]
    assert budget == 0.3  # what is refused changes nothing


def test_the_report_goes_into_the_folder_or_where_it_is_asked(lensllm, study, tmp_path):
    assert Path(lensllm("report", study).out.strip()) == study / "report.html"
    page = tmp_path / "page.html"
    assert lensllm("report", study, "--out", page).out == f"{page}\n"
    assert page.is_file()


def test_the_report_is_shown_in_a_browser_if_asked(lensllm, study, monkeypatch):
    shown = []
    monkeypatch.setattr("webbrowser.open", lambda page: shown.append(page) or len(shown) < 2)
    assert lensllm("report", study, "--open").err == ""
    done = lensllm("report", study, "--open")
    assert shown == [(study / "report.html").absolute().as_uri()] * 2
    assert done.code == 0 and "no browser was found here; open " in done.err
    lensllm("report", study)
    assert len(shown) == 2


def test_the_report_says_when_a_budget_was_changed(lensllm, study):
    lensllm("plan", study, "--budget", "40%")
    lensllm("report", study)
    page = (study / "report.html").read_text()
    assert "when" in page.partition("How to do it again")[2]


def test_finish_leaves_a_model_and_the_lines_that_load_it(lensllm, ran, tmp_path):
    out = lensllm("finish", ran[0], "--out", tmp_path / "tuned", "--trust", "sources")
    assert out.code == 0, out.err
    assert "nats/byte" in out.out
    assert f'from_pretrained("{tmp_path / "tuned"}")' in out.out
    assert (tmp_path / "tuned" / "README.md").is_file()


def test_finish_writes_over_nothing(lensllm, ran, tmp_path):
    (tmp_path / "mine").write_text("mine")
    refused = lensllm("finish", ran[0], "--out", tmp_path, "--trust", "sources")
    assert refused.code == 2
    assert "`--out` must be a new folder" in refused.err


def test_a_run_may_end_with_the_tuned_model(lensllm, models, tmp_path):
    args = ("--task", models / "task.jsonl", "--candidate", models / "lm", *LADDER, *RATE)
    args = (*args, "--out", tmp_path / "study", "--budget-size", 50, "--finish", tmp_path / "tuned")
    done = lensllm("run", *args)
    assert done.code == 0, done.err
    assert f'from_pretrained("{tmp_path / "tuned"}")' in done.out
    assert (tmp_path / "tuned" / "model.safetensors").is_file()


def test_a_run_finds_out_before_it_begins_that_it_cannot_finish(
    lensllm, task_and_candidates, tmp_path
):
    study, full = tmp_path / "study", tmp_path / "full"
    full.mkdir()
    (full / "mine").write_text("mine")
    refused = lensllm("run", *task_and_candidates, "--out", study, "--finish", full)
    assert refused.code == 2
    assert "`--finish` must be a new folder" in refused.err
    refused = lensllm("run", *task_and_candidates, "--out", study, "--finish", study)
    assert "`--finish` must be a folder apart from that of the study" in refused.err
    args = ("--out", study, "--dry-run", "--finish", tmp_path / "new")
    refused = lensllm("run", *task_and_candidates, *args)
    assert "`--finish` has no meaning with --dry-run" in refused.err
    assert not study.exists()


def test_a_setting_that_a_study_decides_is_refused_before_anything_is_made(
    lensllm, task_and_candidates, tmp_path
):
    place = tmp_path / "study"
    refused = lensllm("run", *task_and_candidates, "--out", place, "--set", "eval_steps=3")
    assert refused.code == 2
    assert "`--set` must leave eval_steps to the study" in refused.err
    assert not place.exists()
