"What other tasks say: leaving the task at hand out, pooling, models' own growth, files."

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lensllm.curves.table import CurveSet
from lensllm.forecast.kalman import MOTION_LAWS, panel
from lensllm.forecast.prior import (
    BETWEEN_TASKS,
    GENERIC,
    Prior,
    _laplace,
    nearby_mode,
    as_prior,
    generic,
    learn_prior,
    load_prior,
)


def tasks_of(prior):
    return [record["task"] for record in prior.records]


@pytest.fixture(scope="module")
def prior(flan, gigaword):
    return learn_prior([flan, gigaword])


@pytest.fixture(scope="module")
def seen(flan):
    return flan.up_to(12800)


@pytest.fixture(scope="module")
def curves(seen):
    return panel(seen)


@pytest.fixture(scope="module")
def mine(seen):
    "FLAN's runs under other names."
    return seen.frame.assign(task="mine", model="x/" + seen.frame.model)


@pytest.fixture(scope="module")
def own(gigaword):
    "Runs of another task: Gigaword's curves, bent."
    frame = gigaword.up_to(12800).frame
    losses = frame.test_loss * frame.train_size.add(1) ** -0.05
    return frame.assign(task="mine", test_loss=losses)


# --- what one table says


def test_mode_spread_and_evidence_of_a_normal_density():
    cov = np.array([[0.5, 0.2], [0.2, 0.3]])  # narrower than the prior, a standard normal

    def log_normal(u):
        off = np.atleast_2d(u) - [0.4, -0.2]
        return -0.5 * np.einsum("ni,ij,nj->n", off, np.linalg.inv(cov), off)

    u, V, log_z = _laplace(log_normal, 2)
    np.testing.assert_allclose(u, [0.4, -0.2], atol=0.02)
    np.testing.assert_allclose(V @ V.T, cov, rtol=1e-6)
    np.testing.assert_allclose(log_z, 0.5 * np.log(np.linalg.det(cov)), atol=0.01)


# --- the task at hand is left out


def test_the_task_at_hand_is_left_out_by_its_name(prior, curves):
    assert tasks_of(prior.without(curves)) == ["gigaword"]


@pytest.mark.parametrize(
    "disguise",
    [
        lambda mine, own: mine,
        lambda mine, own: mine.assign(test_loss=mine.test_loss.round(3)),
        lambda mine, own: mine.assign(test_loss=mine.test_loss / np.log(2)),
        lambda mine, own: pd.concat([mine, own]),
        lambda mine, own: mine[mine.model == "x/gpt2"],
        lambda mine, own: pd.concat([mine, mine.assign(seed=1, test_loss=1.02 * mine.test_loss)]),
        lambda mine, own: mine[mine.train_size.isin([200, 400])],
    ],
    ids=[
        "renamed",
        "three decimals",
        "in bits",
        "with others",
        "one of its models",
        "a second seed",
        "two sizes",
    ],
)
def test_no_disguise_hides_a_task(disguise, prior, mine, own):
    hidden = panel(CurveSet(disguise(mine, own)))
    assert "flan" not in tasks_of(prior.without(hidden))


def test_other_curves_are_another_task(prior, own):
    assert len(prior.without(panel(CurveSet(own))).records) == 2


@pytest.mark.parametrize("at_hand, other", [("flan", "gigaword"), ("gigaword", "flan")])
def test_a_task_is_recognised_however_short(at_hand, other, prior, request):
    curves = request.getfixturevalue(at_hand)
    for size in curves.sizes[1:8]:
        assert tasks_of(prior.without(panel(curves.up_to(size)))) == [other], size


@pytest.mark.parametrize("n_sizes", [2, 4, 6, 8])
def test_forty_strange_tasks_are_not_taken_for_known_ones(n_sizes, prior, flan):
    # level, span and exponent of 12 curves each
    strange = np.random.default_rng(0).uniform([1.5, 2, 0.05], [4.0, 8, 0.4], (40, 12, 3))
    sizes = np.array(flan.sizes[1 : n_sizes + 1])
    for task in strange:
        rows = [
            dict(model=f"m{i}", train_size=size, test_loss=level + span * size**-exponent)
            for i, (level, span, exponent) in enumerate(task)
            for size in sizes
        ]
        assert len(prior.without(panel(CurveSet(pd.DataFrame(rows)))).records) == 2


def test_nameless_tasks_are_not_the_same_task(own, mine):
    nameless = learn_prior([CurveSet(own.drop(columns="task"))])
    at_hand = panel(CurveSet(mine.drop(columns="task")))
    assert len(nameless.without(at_hand).records) == 1


# --- what ships


def test_a_prior_survives_a_trip_through_a_file(prior, tmp_path):
    assert load_prior(prior.save(tmp_path / "p.json")) == prior


def test_what_ships_is_what_the_two_tasks_say(prior):
    assert len(prior.records) == 2
    for ours, shipped in zip(prior.records, load_prior().records, strict=True):
        assert (ours["task"], ours["shapes"]) == (shipped["task"], shipped["shapes"])
        for law in MOTION_LAWS:
            np.testing.assert_allclose(
                list(ours["pooled"][law].values()), list(shipped["pooled"][law].values()), atol=0.02
            )


# --- pooling


def test_without_records_the_prior_is_generic():
    np.testing.assert_allclose(Prior().pooled("rectified"), generic("rectified"))


def test_every_law_has_a_finite_prior(prior):
    assert np.isfinite([prior.pooled(law) for law in MOTION_LAWS]).all()


def test_pooling_by_hand_for_one_parameter_and_one_record(prior, curves):
    others, f = prior.without(curves), BETWEEN_TASKS
    m0, s0 = GENERIC["gamma"]
    m, s = others.records[0]["pooled"]["rectified"]["gamma"]
    s_t = 1 / np.sqrt(1 / s**2 - 1 / s0**2)
    theta_t = s_t**2 * (m / s**2 - m0 / s0**2)
    v = 1 / (1 / ((1 - f) * s0**2) + 1 / (s_t**2 + f * s0**2))
    mean = v * (m0 / ((1 - f) * s0**2) + theta_t / (s_t**2 + f * s0**2))
    of_gamma = [values[0] for values in others.pooled("rectified")]
    np.testing.assert_allclose(of_gamma, [mean, np.sqrt(v + f * s0**2)], rtol=1e-9)


def test_tasks_of_one_size_each_change_nothing(flan):
    ignorant = learn_prior([CurveSet(flan.up_to(200).frame.assign(task=f"t{i}")) for i in range(5)])
    np.testing.assert_allclose(ignorant.pooled("rectified"), generic("rectified"), atol=0.01)


# --- what a model brings along


@pytest.fixture(scope="module")
def planted_growth(gigaword, curves):
    "Own growth expected on FLAN once three models of one family were bent on Gigaword."
    frame = gigaword.frame
    bent = frame.model.isin(["gpt2", "gpt2-medium", "gpt2-large"])
    e_folds = np.log(frame.train_size.clip(lower=200) / 200)
    losses = frame.test_loss * np.where(bent, np.exp(-0.005 * e_folds**2), 1.0)
    planted = learn_prior([CurveSet(frame.assign(task="planted", test_loss=losses))])
    return pd.Series(planted.own_growth(curves), curves.models)


def test_growth_is_expected_of_the_model_that_steepened(planted_growth):
    assert planted_growth["gpt2"] > 0


def test_growth_is_expected_of_its_relative_too_but_less(planted_growth):
    assert planted_growth["gpt2"] > planted_growth["gpt2-xl"] > planted_growth.median()


def test_records_without_families_and_sizes_say_something_finite(own, curves):
    bare = learn_prior([CurveSet(own.drop(columns=["n_params", "family"]))])
    assert np.isfinite(bare.own_growth(curves)).all()


def test_one_known_size_says_something_finite(own, curves):
    frame = own.assign(n_params=own.n_params.where(own.model == "gpt2"))
    assert np.isfinite(learn_prior([CurveSet(frame)]).own_growth(curves)).all()


def test_without_records_nothing_is_expected_of_a_model(curves):
    assert list(Prior().own_growth(curves)) == [0] * 30


@pytest.fixture(scope="module")
def bare(seen):
    "The same curves in a table that tells neither families nor sizes."
    return CurveSet(seen.frame[["model", "train_size", "test_loss"]])


def test_a_record_knows_families_that_the_table_does_not(prior, bare, curves):
    assert list(prior.families(panel(bare))) == list(prior.families(curves))
    assert set(Prior().families(panel(bare))) == {""}


def test_the_table_knows_families_better_than_a_record(prior, seen):
    renamed = panel(CurveSet(seen.frame.assign(family="mine")))
    assert set(prior.families(renamed)) == {"mine"}


def test_a_second_record_knows_what_the_first_does_not(prior, bare, seen, curves):
    tasks = [CurveSet(bare.frame.assign(task="a")), CurveSet(seen.frame.assign(task="b"))]
    assert list(learn_prior(tasks).families(panel(bare))) == list(prior.families(curves))


def test_nothing_is_expected_of_an_unknown_model(prior):
    rows = dict(model="mine/new", train_size=[200, 400, 800], test_loss=[3.0, 2.9, 2.7])
    assert list(prior.own_growth(panel(CurveSet(pd.DataFrame(rows))))) == [0.0]


def test_known_models_need_no_family_or_size(prior, bare, curves):
    np.testing.assert_allclose(prior.own_growth(panel(bare)), prior.own_growth(curves))


# --- by name, and refusals


def test_a_prior_by_name(curves):
    assert as_prior("generic", curves) == Prior()
    assert as_prior("transfer", curves).records[0]["task"] == "gigaword"


@pytest.mark.parametrize(
    "tasks, message",
    [
        (lambda flan, gigaword: [], "at least one task"),
        (lambda flan, gigaword: [flan, flan], "different names, got flan, flan"),
        (lambda flan, gigaword: [gigaword, flan.up_to(0)], "flan has zero-shot losses only"),
    ],
    ids=["none", "twice", "zero-shot only"],
)
def test_tasks_that_teach_nothing_are_refused(tasks, message, flan, gigaword):
    with pytest.raises(ValueError, match=re.escape(message)):
        learn_prior(tasks(flan, gigaword))


NO_PRIOR = re.escape("`prior` must be transfer, generic or a file written by `lensllm learn`")


def test_a_missing_file_is_refused():
    with pytest.raises(ValueError, match=NO_PRIOR):
        load_prior("missing.json")


@pytest.mark.parametrize(
    "broken",
    [
        lambda records: [],
        lambda records: {},
        lambda records: dict(records=None),
        lambda records: dict(records=[{}]),
        lambda records: dict(records=[records[0] | dict(models=[])]),
        lambda records: dict(records=[records[0] | dict(pooled=dict(rectified={}))]),
    ],
    ids=["list", "empty", "no records", "empty record", "no models", "no parameters"],
)
def test_a_file_that_is_no_prior_is_refused(broken, prior, tmp_path):
    path = Path(tmp_path) / "broken.json"
    path.write_text(json.dumps(broken(list(prior.records))))
    with pytest.raises(ValueError, match=NO_PRIOR):
        load_prior(path)


def test_a_file_that_lacks_a_law_is_refused_with_the_law(prior, tmp_path):
    records = json.loads(prior.save(tmp_path / "p.json").read_text())["records"]
    for record in records:
        del record["pooled"]["floored"]  # as versions wrote it that knew no floor
    path = tmp_path / "old.json"
    path.write_text(json.dumps(dict(records=records)))
    message = "old.json lacks floored: another version learned it; run `lensllm learn"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_prior(path)


# --- one step towards a mode


def test_one_step_reaches_the_mode_of_a_normal():
    cov = np.array([[0.5, 0.2], [0.2, 0.3]])

    def log_normal(u):
        off = np.atleast_2d(u) - [0.4, -0.2]
        return -0.5 * np.einsum("ni,ij,nj->n", off, np.linalg.inv(cov), off)

    np.testing.assert_allclose(nearby_mode(log_normal, np.zeros(2)), [0.4, -0.2], atol=1e-6)


def test_a_step_is_never_longer_than_two():
    def steep(u):
        return 100 * np.atleast_2d(u)[:, 0]

    np.testing.assert_allclose(nearby_mode(steep, np.zeros(2)), [2, 0], atol=1e-9)
