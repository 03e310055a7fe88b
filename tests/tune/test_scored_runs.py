"Studies whose runs are made here and scored: errors in the store, losses kept beside them."

import json
import re

import numpy as np
import pytest
from lensllm.curves.scores import LOSS, Metric
from lensllm.models.loading import token_work
from lensllm.report.page import study_report
from lensllm.tune.evaluation import MetricError
from lensllm.tune.recipe import Recipe
from lensllm.tune.study import Study, new_study

WORDS = "zero one two three four five six seven eight nine".split()
MINE = """
from pathlib import Path

with open(Path(__file__).with_name("ran"), "a") as file:
    file.write("x")

def first_letter(answers, targets):
    return [float(a[:1] == t[:1]) for a, t in zip(answers, targets)]

def lost(answers, targets):
    if answers != targets:
        raise RuntimeError("no idea")
    return 1.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, save_candidate):
    "Texts, two candidates and a file of functions."
    folder = tmp_path_factory.mktemp("scored")
    rows = [(f"{a} {b} {i}", WORDS[a]) for a in range(10) for b in range(10) for i in range(3)]
    lines = [json.dumps(dict(prompt=prompt, target=target)) for prompt, target in rows]
    (folder / "naming.jsonl").write_text("".join(line + "\n" for line in lines))
    save_candidate(folder, "thin", "gpt2", width=8)
    save_candidate(folder, "pairs", "t5")
    (folder / "mine.py").write_text(MINE)
    return folder


def begun(folder, name, metric, **changes):
    settings = dict(
        task=folder / "naming.jsonl",
        candidates=[folder / "thin", folder / "pairs"],
        sizes=[50, 100, 200],
        target=200,
        budget_size=50,
        recipe=Recipe(rate=1e-2, passes=1, least_steps=8, checks=1),
        metric=metric,
    )
    return new_study(folder / name, **settings | changes)


def own(folder, name="first_letter"):
    return Metric(f"{folder / 'mine.py'}:{name}", higher_is_better=True)


@pytest.fixture(scope="module")
def plain(folder):
    "A study without a score."
    study = begun(folder, "plain", None)
    study.run(device="cpu")
    return study


@pytest.fixture(scope="module")
def scored(folder):
    "The same study by accuracy."
    study = begun(folder, "scored", "accuracy")
    study.run(device="cpu")
    return study


def refused(text, kind=ValueError):
    return pytest.raises(kind, match=re.escape(text))


def results(study):
    runs = study.store.runs()
    return {(run.model, run.train_size): run.result for run in runs.itertuples()}


def test_a_score_changes_no_loss(plain, scored):
    losses = {run: result["byte_loss"] for run, result in results(plain).items()}
    assert losses == {run: result["byte_loss"] for run, result in results(scored).items()}
    assert {result["score"] for result in results(plain).values()} == {None}


def test_the_store_holds_errors_with_their_noise(scored):
    for run in scored.store.runs().itertuples():
        np.testing.assert_allclose(run.test_loss, 1 - run.result["score"] / 100)
        np.testing.assert_allclose(run.test_loss_se, run.result["score_se"] / 100)
        assert run.result["scored_by"] == "accuracy"


def test_curves_are_accuracies_and_losses_on_demand(plain, scored):
    assert scored.store.curves().metric.name == "accuracy"
    losses = scored.store.curves(loss="byte_loss")
    assert (losses.metric, losses.unit) == (LOSS, "nats/byte")
    assert scored.store.curves(loss="test_loss").unit == "nats/token"
    assert list(losses.frame.test_loss) == list(plain.store.curves().frame.test_loss)


def test_both_choices_are_known(plain, scored):
    assert scored.ranking().seen.metric.name == "accuracy"
    by_loss = scored.ranking_by_loss()
    assert list(by_loss.frame.model) == list(plain.ranking().frame.model)
    assert plain.ranking_by_loss() is None


def test_its_report_shows_both(scored, tmp_path):
    page = study_report(scored, tmp_path / "report.html").read_text()
    assert "predicted accuracy" in page
    assert f"By the loss of the same runs: <strong>{scored.ranking_by_loss().best}" in page


def test_a_score_has_its_price(plain, scored):
    for name, candidate in scored.store.candidates().iterrows():
        tokens, n_params = candidate.facts["scoring"], candidate.n_params
        encoder = candidate.encoder_params if tokens[1] else None
        more = 2 * token_work(n_params, encoder, *tokens) * 30  # test rows
        np.testing.assert_allclose(scored.prices.loc[name] - plain.prices.loc[name], more)
        flop = [results(study)[name, 50]["flop"] for study in (plain, scored)]
        np.testing.assert_allclose(flop[1] - flop[0], more)


@pytest.mark.parametrize("metric", ["exact_match", "rouge", "chrf"])
def test_generated_answers_are_scored(folder, metric):
    study = begun(folder, metric, metric, budget_size=50, sizes=[50, 200])
    study.run(device="cpu")
    assert all(0 <= result["score"] <= 100 for result in results(study).values())
    assert study.store.curves().metric.name == metric


def test_a_folder_that_is_opened_again_goes_on(folder, scored):
    again = Study(scored.store.folder)
    assert (again.metric.name, again.metric.percent) == ("accuracy", True)
    again.run(device="cpu", trust=["sources"])
    assert again.store.runs().attempts.tolist() == [1, 1]


def test_another_metric_is_another_study(folder, scored):
    with refused("whose metric is accuracy, not loss"):
        begun(folder, "scored", None)
    with refused("got one whose metric is name accuracy, not rouge"):
        begun(folder, "scored", "rouge")
    with refused("`metric` must be that of the study, accuracy, got chrf"):
        scored.run(device="cpu", metric="chrf")


def test_a_study_that_was_changed_by_hand_is_refused(folder):
    study = begun(folder, "changed", "accuracy")
    study.store.set_fact("scored_by", "os.system", anew=True)
    with refused("where the scored_by must be a score or nothing"):
        Study(study.store.folder)


# functions are code


def test_a_function_runs_only_where_it_is_named(folder):
    study = begun(folder, "mine", own(folder))
    (study.store.folder / "mine.py").write_text(MINE)  # as if it had travelled with the study
    received = Study(study.store.folder)
    with refused("mine.py:first_letter; its file is code, and is run only where this call names"):
        received.run(device="cpu", trust=["sources"])
    assert not (study.store.folder / "ran").exists()
    assert received.store.runs().empty
    received.run(device="cpu", trust=["sources"], metric=f"{folder / 'mine.py'}:first_letter")
    assert received.store.curves().metric.name == "first_letter"
    assert not (study.store.folder / "ran").exists()
    assert str(folder) not in json.dumps(received.facts["scored_by"])


def test_another_function_is_refused(folder):
    study = begun(folder, "another", own(folder))
    with refused("`metric` must be that of the study, mine.py:first_letter, got mine.py:lost"):
        study.run(device="cpu", metric=f"{folder / 'mine.py'}:lost")


def test_a_function_that_fails_stops_the_study_and_no_candidate(folder):
    study = begun(folder, "failing", own(folder, "lost"))
    with refused("mine.py:lost must return", MetricError):
        study.run(device="cpu")
    assert study.store.runs().state.tolist() == ["planned", "planned"]


def test_what_could_not_be_scored_is_refused_before_anything_is_made(folder):
    with refused("it raised RuntimeError: no idea", MetricError):
        (folder / "bad.py").write_text("def bad(a, t):\n    raise RuntimeError('no idea')\n")
        begun(folder, "never", Metric(f"{folder / 'bad.py'}:bad", higher_is_better=True))
    assert not (folder / "never").exists()


@pytest.mark.slow
def test_workers_score_as_one_process_does(folder, scored, result_table):
    import pandas as pd

    study = begun(folder, "workers", "accuracy")
    study.run(device="cpu", workers=2)
    pd.testing.assert_frame_equal(result_table(study), result_table(scored))
