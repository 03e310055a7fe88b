"A study of runs made elsewhere that is told accuracies: kept as errors, shown as accuracies."

import re

import numpy as np
import pytest
from lensllm.curves.scores import LOSS, Metric
from lensllm.report.page import study_report
from lensllm.tune.study import Study, new_study
from transformers import TrainerControl, TrainerState, TrainingArguments

TOLD = {("small", 200): 61, ("small", 400): 64, ("small", 800): 68} | {
    ("large", 200): 58,
    ("large", 400): 64.5,
    ("large", 800): 71,
}


def begun(folder, metric):
    return new_study(
        folder,
        task="questions",
        candidates=dict(small=1e8, large=2e8),
        budget=0.3,
        target=6400,
        metric=metric,
    )


@pytest.fixture
def study(tmp_path):
    return begun(tmp_path / "study", Metric("accuracy", percent=True, n_test=400))


@pytest.fixture
def told(study):
    for run, accuracy in TOLD.items():
        study.tell(*run, accuracy)
    return study


def refused(text):
    return pytest.raises(ValueError, match=re.escape(text))


def test_accuracies_are_kept_as_errors_with_their_noise(told):
    first = told.store.runs().iloc[0]
    assert first.test_loss == 0.39
    np.testing.assert_allclose(first.test_loss_se, np.sqrt(0.39 * 0.61 / 400))


def test_its_curves_are_accuracies(told):
    assert set(told.store.curves().in_own_unit.accuracy) == set(TOLD.values())
    assert "predicted_accuracy" in repr(told.ranking())


def test_a_folder_remembers_its_metric(told):
    again = Study(told.store.folder)
    assert (again.metric.name, again.metric.percent, again.metric.n_test) == ("accuracy", True, 400)


def test_a_study_of_losses_has_none(tmp_path):
    assert begun(tmp_path / "losses", None).metric is LOSS


def test_a_score_outside_its_range_is_refused(study):
    with refused("`accuracy` must lie between 0 and 100"):
        study.tell("small", 200, 104)


def test_no_accuracy_at_all_is_an_accuracy(study):
    study.tell("small", 200, 0)
    assert study.store.runs().test_loss[0] == 1


def test_another_score_for_a_run_is_refused_in_its_unit(told):
    with refused("`accuracy` of small on 200 examples must be what is known already, 61 ±"):
        told.tell("small", 200, 62)


def test_an_own_score_needs_its_direction(tmp_path):
    with refused("`metric` quality must come with its direction"):
        begun(tmp_path / "own", "quality")


def test_its_report_shows_accuracies(told, tmp_path):
    page = study_report(told, tmp_path / "report.html").read_text()
    assert re.search(r"predicted accuracy \d\d\.\d%\s+\(90%: \d\d\.\d to \d\d\.\d\)", page)
    assert "61.00 ± 2.44" in page
    text = re.sub('base64,[^"]+', "", page)
    assert "nats" not in text and "predicted loss" not in text and "test loss" not in text


def test_a_callback_tells_the_best_accuracy(study, tmp_path):
    callback_module = pytest.importorskip("lensllm.tune.callback")
    callback = callback_module.TellCallback(study, "small", train_size=200)
    state = TrainerState(
        log_history=[
            dict(step=0, eval_loss=2.0, eval_accuracy=30.0),
            dict(step=1, eval_loss=1.0, eval_accuracy=64.0),
            dict(step=2, eval_loss=0.9, eval_accuracy=62.0),
        ]
    )
    callback.on_train_end(TrainingArguments(tmp_path / "run"), state, TrainerControl())
    assert study.store.curves().in_own_unit.accuracy.to_list() == [64]


@pytest.mark.parametrize("fraction", [0.61, 1, "0.61"])
def test_a_fraction_among_percents_is_refused(study, fraction):
    with refused("`accuracy` must be in percent, as the table is, got"):
        study.tell("small", 200, fraction)
    assert study.store.runs().empty


def test_a_percent_sign_says_what_is_meant(study, tmp_path):
    study.tell("small", 200, "0.61%")
    assert study.store.runs().test_loss[0] == 0.9939
    of_fractions = begun(tmp_path / "fractions", Metric("accuracy", percent=False))
    of_fractions.tell("small", 200, "61%")
    assert of_fractions.store.runs().test_loss[0] == 0.39


def test_a_percent_among_fractions_is_refused(tmp_path):
    of_fractions = begun(tmp_path / "fractions", Metric("accuracy", percent=False))
    with refused("`accuracy` must lie between 0 and 1"):
        of_fractions.tell("small", 200, 61)
