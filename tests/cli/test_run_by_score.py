"run --metric: a study that chooses by a score, from its dry run to its report."

import json

import pytest
from lensllm.tune.study import Study

LADDER = ("--size", 25, "--size", 50, "--target", 100, "--budget-size", 25, "--rate", "1e-2")


@pytest.fixture(scope="module")
def given(models, tmp_path_factory):
    "Rows of three labels, and two candidates."
    folder = tmp_path_factory.mktemp("labels")
    rows = [dict(prompt=f"{i} ", target=("one", "two", "three")[i % 3]) for i in range(200)]
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "mine.py").write_text(
        "def share(answers, targets):\n    return [a == t for a, t in zip(answers, targets)]\n"
    )
    candidates = ("--candidate", models / "lm", "--candidate", models / "t5")
    return folder, ("--task", folder / "labels.jsonl", *candidates, "--device", "cpu", *LADDER)


@pytest.fixture(scope="module")
def ran(lensllm, given):
    folder, options = given
    return lensllm("run", "--out", folder / "study", *options, "--metric", "accuracy")


def test_it_ends_in_the_score_and_says_what_losses_choose(ran):
    assert ran.code == 0, ran.err
    assert "labels, for 100 examples, accuracy (%)" in ran.out
    assert "predicted_accuracy" in ran.out and "predicted_loss" not in ran.out
    assert "by the loss of these runs (nats/byte):" in ran.out
    assert "done, accuracy" in ran.err and "test loss" not in ran.err


def test_status_and_report_are_in_the_score(lensllm, given, ran):
    folder, _ = given
    rows = lensllm("status", folder / "study", "--json").json["runs"]
    assert {"accuracy", "accuracy_se"} <= set(rows[0]) and rows[0]["accuracy"] <= 100
    assert lensllm("report", folder / "study").code == 0


def test_json_names_both_choices(lensllm, given, ran):
    folder, _ = given
    call = ("run", "--out", folder / "study", "--resume", "--trust", "sources", "--json")
    found = lensllm(*call).json
    assert found["metric"] == "accuracy"
    study = Study(folder / "study")
    assert found["choice_by_loss"] == study.ranking_by_loss().best
    assert "predicted_accuracy" in found["ranking"][0]


def test_a_score_costs_more(lensllm, given, tmp_path):
    _, options = given
    dry = lambda *more: lensllm(
        "run", "--out", tmp_path / "x", *options, "--dry-run", "--json", *more
    )
    assert dry("--metric", "accuracy").json["full_cost"] > dry().json["full_cost"]


def test_events_are_in_the_score(lensllm, given, tmp_path):
    _, options = given
    log = tmp_path / "events.jsonl"
    call = ("run", "--out", tmp_path / "study", *options, "--metric", "accuracy")
    assert lensllm(*call, "--log-json", log).code == 0
    done = [e for e in map(json.loads, log.read_text().splitlines()) if e["event"] == "done"]
    assert len(done) == 2
    assert all(0 <= event["accuracy"] <= 100 and "test_loss" not in event for event in done)


@pytest.mark.parametrize(
    "more, text",
    [
        (("--metric", "bleurt"), "`--metric` must be accuracy, exact_match, rouge, chrf, or FILE"),
        (("--metric", "mine.py:share"), "`--metric` share must come with its direction"),
        (("--metric", "mine.py:none", "--higher-is-better"), "must name a function"),
        (("--metric", "chrf", "--fraction"), "`--metric` chrf is in percent"),
        (("--higher-is-better",), "`--metric` must be accuracy, exact_match, rouge, chrf, or FILE"),
    ],
)
def test_what_is_no_metric_is_one_line(lensllm, given, tmp_path, monkeypatch, more, text):
    folder, options = given
    monkeypatch.chdir(folder)
    done = lensllm("run", "--out", tmp_path / "x", *options, *more)
    assert done.code == 2 and text in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_texts_have_no_accuracy(lensllm, models, tmp_path):
    call = ("run", "--out", tmp_path / "x", "--task", models / "task.jsonl", "-c", models / "lm")
    done = lensllm(*call, *LADDER, "--metric", "accuracy")
    assert done.code == 2 and "take exact_match, rouge or chrf" in done.err


def test_a_function_must_be_named_again(lensllm, given, monkeypatch):
    folder, options = given
    monkeypatch.chdir(folder)
    named = ("--metric", "mine.py:share")
    first = lensllm("run", "--out", folder / "own", *options, *named, "--higher-is-better")
    assert first.code == 0, first.err
    again = ("run", "--resume", "--out", folder / "own", "--trust", "sources")
    refused = lensllm(*again)
    assert refused.code == 2 and "its file is code" in refused.err
    assert lensllm(*again, *named).code == 0
