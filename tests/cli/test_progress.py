"What a study shows and writes while it runs: a table, lines, and events as JSON."

import io
import json
import os
import subprocess
import sys

import pytest
from lensllm.cli.output import quiet_children
from lensllm.cli.studies import EventLog, StudyWatch
from lensllm.tune.study import new_study
from rich.console import Console

RUNS = [("small", 100, 0), ("small", 200, 0), ("large", 100, 0)]


@pytest.fixture
def planned(tmp_path):
    "A study with three runs that are planned."
    options = dict(task="sums", candidates=dict(small=1e8, large=1e9), budget=0.3, target=12800)
    study = new_study(tmp_path / "s", **options)
    study.store.plan(RUNS, prices=study.priced([run[:2] for run in RUNS]), why="the opening")
    return study


@pytest.fixture
def watched(planned, tmp_path):
    "A watch of this study, and a function that reads the events that it has written."
    log = tmp_path / "events.jsonl"
    with EventLog(str(log)) as events, StudyWatch(planned, 1, events) as watch:
        yield watch, lambda: [json.loads(line) for line in log.read_text().splitlines()]


def kinds(events):
    return [event["event"] for event in events]


def test_a_plan_is_one_event_and_told_once(watched, planned):
    watch, events = watched
    watch(planned)
    watch(planned)
    (plan,) = events()
    assert list(plan) == ["time", "event", "why", "runs", "spent_fraction", "budget_fraction"]
    assert plan["why"] == "the opening"
    assert [(run["model"], run["train_size"], run["seed"]) for run in plan["runs"]] == RUNS
    shares = [run["cost_fraction"] for run in plan["runs"]]
    assert sum(shares) == pytest.approx(plan["spent_fraction"])
    assert plan["budget_fraction"] == 0.3


def test_a_run_begins_is_checked_and_done(watched, planned):
    watch, events = watched
    run = planned.store.claim()
    watch(planned)
    watch(planned, run, 30, 60, 3.25)
    planned.store.done(run, 3.0, test_loss_se=0.1, result=dict(seconds=12.5))
    watch(planned)
    assert kinds(events()) == ["plan", "begun", "check", "done"]
    _, begun, check, done = events()
    names = dict(model="small", train_size=100, seed=0)
    assert begun.items() >= names.items()
    assert check.items() >= (names | dict(step=30, steps=60, loss=3.25)).items()
    assert done.items() >= (names | dict(test_loss=3.0, test_loss_se=0.1, seconds=12.5)).items()


def test_a_failure_says_why_and_whether_it_is_tried_again(watched, planned):
    watch, events = watched
    for _ in range(2):
        run = planned.store.claim()
        watch(planned)
        planned.store.failed(run, "out of \x1b[31mmemory", again=True)
        watch(planned)
    failures = [event for event in events() if event["event"] == "failed"]
    assert [failure["again"] for failure in failures] == [True, False]
    assert failures[0]["reason"] == "out of \x1b[31mmemory"


def test_no_line_of_the_log_moves_a_cursor(watched, planned, tmp_path):
    watch, _ = watched
    planned.store.failed(planned.store.claim(), "\x1b[31m\x7f")
    watch(planned)
    assert not set((tmp_path / "events.jsonl").read_text()) & {"\x1b", "\x7f"}


def test_what_was_done_before_is_no_event(planned, tmp_path):
    planned.store.done(planned.store.claim(), 3.0)
    log = tmp_path / "events.jsonl"
    with EventLog(str(log)) as events, StudyWatch(planned, 1, events) as watch:
        watch(planned)
    (plan,) = map(json.loads, log.read_text().splitlines())
    assert len(plan["runs"]) == 2


def test_an_end_without_a_ranking_says_why(tmp_path):
    log = tmp_path / "events.jsonl"
    with pytest.raises(KeyboardInterrupt), EventLog(str(log)):
        raise KeyboardInterrupt
    end = json.loads(log.read_text())
    assert (end["event"], end["stopped"]) == ("end", "KeyboardInterrupt")


# the table


def shown(watch):
    "The live table as text."
    console = Console(file=io.StringIO(), width=120)
    console.print(watch._table())
    return console.file.getvalue()


def test_the_table_has_state_step_loss_time_and_budget(watched, planned):
    watch, _ = watched
    run = planned.store.claim()
    assert "running" in shown(watch)
    watch(planned, run, 30, 60, 3.25)
    text = shown(watch)
    assert "30/60, 3.250 " in text
    assert "of full tuning spent or planned of a budget of 30%" in text
    assert text.count("waits") == 2
    planned.store.done(run, 3.0)
    planned.store.failed(planned.store.claim(), "lost")
    text = shown(watch)
    assert "3.000" in text
    assert "failed" in text


def test_time_left_goes_by_the_steps_since_the_first_check(watched, planned, monkeypatch):
    "What came before it, such as the search for a rate, is no step."
    watch, _ = watched
    run = planned.store.claim()
    for now, step in ((1000.0, 10), (1040.0, 30)):
        monkeypatch.setattr("time.monotonic", lambda now=now: now)
        watch(planned, run, step, 60, 3.25)
    assert "30/60, 3.250, 60 s" in shown(watch)


# the command


@pytest.fixture(scope="module")
def call(models):
    candidates = ("--candidate", models / "lm", "--candidate", models / "t5")
    sizes = ("--size", 25, "--size", 50, "--budget-size", 25, "--device", "cpu", "--rate", "1e-2")
    return ("run", "--task", models / "task.jsonl", *candidates, *sizes, "--passes", 0.1)


@pytest.fixture(scope="module")
def ran(lensllm, call, tmp_path_factory):
    "A run whose events go to standard output."
    folder = tmp_path_factory.mktemp("events") / "study"
    return folder, lensllm(*call, "--out", folder, "--log-json", "-")


def test_events_on_standard_output_come_alone(ran):
    _, done = ran
    assert done.code == 0, done.err
    events = [json.loads(line) for line in done.out.splitlines()]
    order = kinds(events)
    assert order[:2] == ["plan", "begun"]
    assert (order.count("done"), order.count("end"), order[-1]) == (2, 1, "end")
    assert order.count("check") >= 2
    assert events[-1]["choice"] in ("lm", "t5")


def test_lines_for_people_stay_as_they_were(ran):
    folder, done = ran
    log = (folder / "study.log").read_text()
    assert done.err.endswith(log)
    assert "check" not in log


def test_a_log_is_added_to(lensllm, ran, tmp_path):
    folder, _ = ran
    log = tmp_path / "events.jsonl"
    again = ("run", "--resume", "--out", folder, "--trust", "sources", "--log-json", log)
    *_, chosen, next_line = lensllm(*again).out.rstrip().splitlines()
    assert chosen.startswith(("choose ", "device time: "))
    assert next_line.startswith(f"next: lensllm finish {folder} --out tuned --trust sources ")
    assert lensllm(*again).code == 0
    assert kinds(map(json.loads, log.read_text().splitlines())) == ["end", "end"]


@pytest.mark.parametrize(
    "words, rule",
    [
        (("--log-json", "-", "--json"), "`--log-json` - and `--json` exclude each other"),
        (("--log-json", "x.jsonl", "--dry-run"), "`--log-json` has no meaning with --dry-run"),
        (("--log-json", "texts.jsonl"), "`--log-json` must name a new file, or one that holds"),
        (("--log-json", "."), "`--log-json` must name a new file, or one that holds"),
        (("--log-json", "nowhere/x/y.jsonl"), "`--log-json` must be in a folder"),
    ],
)
def test_a_place_for_no_events_is_refused_before_anything_runs(
    lensllm, call, tmp_path, monkeypatch, words, rule
):
    monkeypatch.chdir(tmp_path)
    texts = json.dumps(dict(prompt="a", target="b"))
    (tmp_path / "texts.jsonl").write_text(texts)
    (tmp_path / "nowhere").write_text("a file")
    refused = lensllm(*call, "--out", tmp_path / "s", *words)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith(f"lensllm: {rule}")
    assert (tmp_path / "texts.jsonl").read_text() == texts
    assert not (tmp_path / "s").exists()


def test_other_processes_print_no_warnings_of_libraries():
    code = "import warnings; warnings.warn('a library warns')"

    def heard():
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr

    before = dict(os.environ)
    assert "a library warns" in heard()
    with quiet_children():
        assert heard() == ""
    assert dict(os.environ) == before
