"A study of lensllm as trials of the real Optuna: states, values, and no copy twice."

import json
import re
import sqlite3

import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is an extra: pip install 'lensllm[optuna]'")

import lensllm  # noqa: E402  # after the skip
from lensllm.choose.pruner import LensPruner  # noqa: E402
from lensllm.curves.scores import Metric  # noqa: E402
from lensllm.optuna import to_optuna  # noqa: E402
from lensllm.tune.study import new_study  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
CANDIDATES = {"org/whole": 1e8, "halfway": 2e8, "broken": 3e8, "busy": 4e8, "new": 5e8}


def begun(folder, **settings):
    return new_study(
        folder, task="questions", candidates=CANDIDATES, budget=0.5, target=800, **settings
    )


@pytest.fixture
def study(tmp_path):
    "One candidate in every state."
    study = begun(tmp_path / "questions")
    for size, loss in {0: 4.0, 200: 3.0, 400: 2.5, 800: 2.25}.items():
        study.tell("org/whole", size, loss, test_loss_se=0.01)
    study.tell("halfway", 200, 3.5)
    study.tell("broken", 200, 3.4)
    study.tell("broken", 400, reason="out of memory")
    study.tell("busy", 200, 3.2)
    study.store.plan([("busy", 400, 0)])
    return study


def by_model(copy):
    return {trial.params["model"]: trial for trial in copy.trials}


def test_a_candidate_s_runs_become_its_state(study):
    states = {name: trial.state.name for name, trial in by_model(to_optuna(study)).items()}
    assert states == {
        "org/whole": "COMPLETE",
        "halfway": "PRUNED",
        "broken": "FAIL",
        "busy": "RUNNING",
        "new": "WAITING",
    }


def test_losses_become_intermediate_values(study):
    copy = to_optuna(study)
    trial = by_model(copy)["org/whole"]
    assert trial.intermediate_values == {0: 4.0, 200: 3.0, 400: 2.5, 800: 2.25}
    assert (trial.value, copy.best_params, copy.best_value) == (2.25, dict(model="org/whole"), 2.25)
    assert by_model(copy)["broken"].intermediate_values == {200: 3.4}


def test_what_else_is_known_becomes_attributes(study):
    copy = to_optuna(study)
    whole, broken = by_model(copy)["org/whole"], by_model(copy)["broken"]
    assert whole.user_attrs["n_params"] == 10**8
    assert whole.user_attrs["standard_errors"]["800"] == 0.01
    assert whole.user_attrs["flop"] > 0
    assert broken.user_attrs["reason"] == "out of memory"
    about = dict(task="questions", target=800, metric="loss", unit="nats/token", policy="race")
    assert copy.user_attrs["lensllm"] == about


def test_scores_keep_their_unit_and_direction(tmp_path):
    study = begun(tmp_path / "scores", metric=Metric("accuracy", percent=True, n_test=400))
    for size, accuracy in {200: 61.0, 400: 64.0, 800: 68.0}.items():
        study.tell("halfway", size, accuracy)
    copy = to_optuna(study)
    assert copy.direction.name == "MAXIMIZE"
    assert by_model(copy)["halfway"].intermediate_values == {200: 61.0, 400: 64.0, 800: 68.0}
    assert by_model(copy)["halfway"].user_attrs["standard_errors"]["800"] == pytest.approx(
        2.33, 0.01
    )


def test_several_seeds_are_several_trials(study):
    study.tell("org/whole", 200, 3.1, seed=1)
    copy = to_optuna(study)
    seeds = [t.params["seed"] for t in copy.trials if t.params["model"] == "org/whole"]
    assert seeds == [0, 1]
    assert len(copy.trials) == len(CANDIDATES) + 1


def test_a_second_copy_is_refused_and_nothing_is_written(study, tmp_path):
    storage = f"sqlite:///{tmp_path}/optuna.db"
    to_optuna(study, storage)
    with pytest.raises(ValueError, match=re.escape("`name` must be new in this storage")) as caught:
        to_optuna(study, storage)
    assert "replace=True" in str(caught.value)
    copies = optuna.get_all_study_summaries(storage)
    assert [(copy.study_name, copy.n_trials) for copy in copies] == [("questions", 5)]


def test_a_copy_is_replaced_when_asked_for(study, tmp_path):
    storage = f"sqlite:///{tmp_path}/optuna.db"
    to_optuna(study, storage)
    study.tell("new", 200, 3.3)
    copy = to_optuna(study, storage, replace=True)
    assert optuna.get_all_study_names(storage) == ["questions"]
    assert by_model(copy)["new"].intermediate_values == {200: 3.3}


def test_somebody_else_s_study_is_never_replaced(study, tmp_path):
    storage = f"sqlite:///{tmp_path}/optuna.db"
    optuna.create_study(storage=storage, study_name="mine").add_trial(
        optuna.trial.create_trial(value=1.0)
    )
    with pytest.raises(ValueError, match="it is not a copy that lensllm made"):
        to_optuna(study, storage, "mine", replace=True)
    assert len(optuna.load_study(storage=storage, study_name="mine").trials) == 1


@pytest.mark.parametrize("storage", ["nowhere", "sqlite:////no/such/folder/x.db"])
def test_a_storage_that_cannot_be_opened_is_refused(study, storage):
    with pytest.raises(ValueError, match="`storage` must be a URL that Optuna can open") as caught:
        to_optuna(study, storage)
    assert "\n" not in str(caught.value)


def test_only_a_study_of_lensllm_is_copied():
    with pytest.raises(TypeError, match="`study` must be a Study"):
        to_optuna(optuna.create_study())


def test_the_database_holds_text_and_numbers_alone(study, tmp_path):
    to_optuna(study, f"sqlite:///{tmp_path}/optuna.db")
    with sqlite3.connect(tmp_path / "optuna.db") as db:
        tables = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        cells = [cell for t in tables for row in db.execute(f'SELECT * FROM "{t}"') for cell in row]
        attributes = [
            text for (text,) in db.execute("SELECT value_json FROM trial_user_attributes")
        ]
    assert not any(isinstance(cell, bytes) for cell in cells)
    assert [json.loads(text) for text in attributes]


def test_the_names_are_found_from_the_top(study):
    assert lensllm.optuna.LensPruner is LensPruner
    assert lensllm.optuna.to_optuna is to_optuna
