"A table of accuracies is ranked, planned and replayed as the error rates that it is made of."

import numpy as np
import pandas as pd
import pytest
from lensllm.choose.policies import plan
from lensllm.choose.replay import simulate
from lensllm.choose.selectors import compare, rank
from lensllm.curves.table import CurveSet, benchmark_names, load_benchmark

PET, LCDB = benchmark_names("pet"), benchmark_names("lcdb")
TABLES = [*PET, *LCDB[::6]]


def as_accuracies(table, top=1):
    "The error rates of a table as accuracies."
    frame = table.frame.assign(accuracy=top * (1 - table.frame.test_loss))
    frame["accuracy_se"] = top * frame.test_loss_se
    return CurveSet(frame.drop(columns=["test_loss", "test_loss_se"]))


def mirrored(numbers, top=1):
    "Scores of errors, within the range of scores."
    return top * np.clip(1 - numbers.to_numpy(), 0, 1)


def two_thirds(table):
    "The largest size that is seen, and the target."
    sizes = table.sizes
    return sizes[2 * len(sizes) // 3], sizes[-1]


def as_written(name, decimals=6):
    "A table of error rates with as many decimals as people write."
    table = load_benchmark(name)
    return CurveSet(table.frame.assign(test_loss=table.frame.test_loss.round(decimals)))


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("top", [1, 100])
def test_accuracies_are_error_rates_in_a_mirror(name, top):
    errors = as_written(name)
    seen, target = two_thirds(errors)
    expected = rank(errors, target, seen=seen).frame
    found = rank(as_accuracies(errors, top), target, seen=seen)

    assert list(found.frame.model) == list(expected.model)
    shown, exact = found.in_own_unit, dict(rtol=0, atol=1e-9 * top)
    predicted = mirrored(expected.predicted_loss, top)
    np.testing.assert_allclose(shown.predicted_accuracy, predicted, **exact)
    np.testing.assert_allclose(shown.low, mirrored(expected.high, top), **exact)
    np.testing.assert_allclose(shown.high, mirrored(expected.low, top), **exact)
    np.testing.assert_array_equal(shown.p_best, expected.p_best)


@pytest.mark.parametrize("name", PET)
def test_errors_of_sixteen_digits_agree_to_the_third_decimal(name):
    errors = load_benchmark(name)
    seen, target = two_thirds(errors)
    expected = rank(errors, target, seen=seen).frame
    found = rank(as_accuracies(errors), target, seen=seen)
    assert list(found.frame.model) == list(expected.model)
    np.testing.assert_allclose(found.frame.predicted_loss, expected.predicted_loss, atol=5e-4)
    np.testing.assert_allclose(found.frame.p_best, expected.p_best, atol=5e-4)


@pytest.mark.parametrize("method", ["ats", "subtuning", "rectifiedfit"])
def test_other_methods_agree_too(method):
    errors = load_benchmark("pet/boolq")
    seen, target = two_thirds(errors)
    found = rank(as_accuracies(errors), target, seen=seen, method=method)
    expected = rank(errors, target, seen=seen, method=method)
    assert list(found.frame.model) == list(expected.frame.model)
    np.testing.assert_allclose(found.frame.predicted_loss, expected.frame.predicted_loss, rtol=1e-4)


@pytest.fixture(scope="module")
def errors():
    "A table of error rates whose candidates all have parameters."
    table = load_benchmark(LCDB[0])
    runs = table.frame.groupby("model").train_size.nunique()
    table = table.filter(model=list(runs.index[runs == len(table.sizes)]))
    sizes = {model: 1e6 * (i + 1) for i, model in enumerate(table.models)}
    return CurveSet(table.frame.assign(n_params=table.frame.model.map(sizes)))


def test_a_plan_is_the_same_and_speaks_of_points(errors):
    call = dict(budget="20%", target=4 * errors.sizes[-1])
    found, expected = plan(as_accuracies(errors, 100), **call), plan(errors, **call)
    assert list(found) == list(expected)
    assert found.choice == expected.choice
    data = found.to_dict()
    assert (data["metric"], data["unit"]) == ("accuracy", "percent")
    np.testing.assert_allclose(data["expected_regret"], 100 * expected.expected_regret, rtol=1e-4)
    assert any("points" in remark for remark in found.remarks())


def test_a_replay_is_the_same_and_shows_accuracies(errors):
    found, expected = (simulate("race", table, 0.3) for table in (as_accuracies(errors), errors))
    assert found.choice == expected.choice
    np.testing.assert_allclose(found.in_own_unit.accuracy, 1 - expected.trace.test_loss)
    assert "accuracy" in found.to_dict()["trace"][0]
    assert "nats" not in repr(found)


def test_a_comparison_gives_regret_in_the_unit_of_the_table(errors):
    calls = (["ats", "subtuning"], [errors], [4])
    expected = compare(*calls)
    found = compare(calls[0], [as_accuracies(errors, 100)], calls[2])
    np.testing.assert_allclose(found.regret, 100 * expected.regret, atol=1e-9)
    same = ["pearson", "relative_accuracy"]
    pd.testing.assert_frame_equal(found[same], expected[same], rtol=1e-9)


def test_binomial_noise_reaches_the_posterior(errors):
    table = errors.frame.drop(columns="test_loss_se")
    table = table.assign(accuracy=1 - table.test_loss).drop(columns="test_loss")
    few, none = CurveSet(table.assign(n_test=50)), CurveSet(table)
    spread = [rank(curves, 4 * errors.sizes[-1]).posterior.sd().mean() for curves in (few, none)]
    assert spread[0] > 1.1 * spread[1]


# what is drawn


@pytest.fixture(scope="module")
def ranking():
    table = as_accuracies(load_benchmark("pet/boolq"), 100)
    seen, target = two_thirds(table)
    return rank(table, target, seen=seen)


def test_figures_draw_the_score(ranking):
    ax = ranking.plot()
    assert (ax.get_ylabel(), ax.get_yscale()) == ("accuracy (%)", "linear")
    low, high = ax.get_ylim()
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) > 3]
    assert drawn and all(low < y and y < high for y in np.concatenate(drawn))


def test_a_ranking_says_what_it_measured(ranking):
    data = ranking.to_dict()
    assert data["metric"] == dict(name="accuracy", higher_is_better=True, unit="percent")
    first = data["ranking"][0]
    assert first["low"] < first["predicted_accuracy"] < first["high"]
    assert "predicted_accuracy" in repr(ranking)
    assert "predicted_loss" not in ranking._repr_html_()


def test_doubts_do_not_speak_of_losses(ranking):
    about_curves = [note for note in ranking.notes if not note.startswith("all: at ")]
    assert about_curves
    assert not any(" loss" in note for note in about_curves)
