"Scores in the place of losses: which are known, how they turn into errors, what is refused."

import json
import re

import numpy as np
import pandas as pd
import pytest
from lensllm.curves.scores import LOSS, Metric, measured, metric_of
from lensllm.curves.table import CurveSet, load_curves

ERRORS = [0.4, 0.31, 0.25, 0.42, 0.3, 0.2]


def runs(**columns):
    "Two models on three sizes, with the columns given."
    sizes = dict(model=list("aaabbb"), train_size=[200, 400, 800] * 2)
    return pd.DataFrame(sizes | columns)


def scores(top=1, **columns):
    "The same runs with accuracies."
    return runs(accuracy=[round(top * (1 - e), 6) for e in ERRORS], **columns)


def refused(text):
    return pytest.raises(ValueError, match=re.escape(text))


@pytest.mark.parametrize(
    "header, name, higher",
    [
        ("accuracy", "accuracy", True),
        ("eval_accuracy", "accuracy", True),
        ("test/acc", "acc", True),
        ("Accuracy (%)", "accuracy", True),
        ("F1", "f1", True),
        ("macro f1", "macro_f1", True),
        ("exact_match", "exact_match", True),
        ("rougeLsum", "rougeLsum", True),
        ("sacrebleu", "sacrebleu", True),
        ("chrf++", "chrf++", True),
        ("pass@1", "pass@1", True),
        ("eval_wer", "wer", False),
        ("error_rate", "error_rate", False),
    ],
)
def test_known_names(header, name, higher):
    metric = metric_of(header)
    assert (metric.name, metric.higher_is_better) == (name, higher)


@pytest.mark.parametrize(
    "header", ["test_loss", "loss", "model", "hours", "relative_accuracy_of_x"]
)
def test_other_names_are_no_scores(header):
    assert metric_of(header) is None


@pytest.mark.parametrize("top", [1, 100])
def test_accuracies_become_the_error_rates_they_were_made_of(top):
    assert CurveSet(scores(top)).frame.test_loss.to_list() == ERRORS


def test_a_loss_stays_what_it_is():
    losses = runs(test_loss=[4.123456789012345, 3, 2, 4, 3, 2.5])
    assert CurveSet(losses).metric is LOSS
    assert CurveSet(losses).frame.test_loss[0] == 4.123456789012345


def test_an_error_rate_falls():
    curves = CurveSet(runs(error_rate=ERRORS))
    assert curves.frame.test_loss.to_list() == ERRORS
    assert curves.metric.worse == "rises"


@pytest.mark.parametrize("extra", [{}, dict(unit="percent"), dict(accuracy_se=0.02)])
def test_a_saved_table_is_read_back_as_it_was(tmp_path, extra):
    curves = CurveSet(scores(100, **extra))
    again = load_curves(curves.save(tmp_path / "task.csv"))
    assert again.metric == curves.metric
    pd.testing.assert_frame_equal(again.frame, curves.frame)


def test_the_end_of_an_error_is_the_other_end_of_its_score():
    errors = pd.DataFrame(dict(predicted_loss=[0.3], low=[0.2], high=[0.45], regret=[0.02]))
    accuracy = Metric("accuracy", True, percent=True)
    expected = dict(predicted_accuracy=[70.0], low=[55.0], high=[80.0], regret=[2.0])
    pd.testing.assert_frame_equal(accuracy.in_own_unit(errors), pd.DataFrame(expected))


def test_a_prediction_beyond_the_range_ends_there():
    assert Metric("accuracy", True, percent=False).score_of(1.3) == 0
    assert Metric("error_rate", False, percent=False).score_of(1.3) == 1
    assert Metric("wer", False, percent=False, may_pass_1=True).score_of(1.3) == 1.3


# which column is read


def test_a_score_beside_a_loss_is_not_read_and_this_is_said():
    curves = CurveSet(scores(test_loss=[3, 2.5, 2.2, 3.2, 2.4, 2.1]))
    assert curves.metric is LOSS
    assert "test_loss is read, accuracy is not" in set(curves.flags.detail)


def test_a_loss_of_another_name_is_not_read_and_this_is_said():
    curves = CurveSet(scores(eval_loss=ERRORS))
    assert curves.metric.name == "accuracy"
    assert "accuracy is read, eval_loss is not" in set(curves.flags.detail)


def test_the_metric_that_is_named_is_read():
    losses = [3, 2.5, 2.2, 3.2, 2.4, 2.1]
    curves = CurveSet(scores(test_loss=losses, f1=0.5), metric="accuracy")
    assert curves.frame.test_loss.to_list() == ERRORS
    assert curves.frame["loss"].to_list() == losses


def test_two_scores_want_a_choice():
    with refused("accuracy (higher is better) and wer (lower is better); name one"):
        CurveSet(scores(wer=ERRORS))
    assert CurveSet(scores(wer=ERRORS), metric="wer").metric.name == "wer"


def test_an_unknown_score_wants_a_direction():
    table = runs(reward=[1 - e for e in ERRORS])
    with refused("`metric` reward must come with its direction"):
        CurveSet(table, metric="reward")
    curves = CurveSet(table, metric=Metric("reward", higher_is_better=True))
    assert curves.frame.test_loss.to_list() == ERRORS


def test_a_metric_without_a_column_is_refused():
    with refused("`metric` must be a column of the table, got bleu; the table has model"):
        CurveSet(scores(), metric="bleu")


def wide(top=1):
    "The runs as a wide table."
    table = scores(top).pivot(index="model", columns="train_size", values="accuracy")
    return table.reset_index().rename_axis(columns=None)


@pytest.mark.parametrize("top", [1, 100])
def test_a_wide_table_that_rises_is_read_as_scores_and_this_is_said(top):
    curves = CurveSet(wide(top))
    assert (curves.metric.name, curves.metric.percent) == ("score", top == 100)
    assert curves.frame.test_loss.to_list() == ERRORS
    assert "read as scores" in set(curves.flags.flag)


def test_a_word_makes_a_wide_table_what_it_is():
    assert CurveSet(wide(), metric="loss").metric is LOSS
    assert CurveSet(wide(), metric="f1").metric.name == "f1"


def test_a_column_of_losses_that_rises_stays_one_and_is_doubted():
    curves = CurveSet(scores().rename(columns=dict(accuracy="test_loss")))
    assert curves.metric is LOSS
    assert "rising task" in set(curves.flags.flag)


# ranges


def test_percent_signs_are_read():
    table = scores(100).assign(accuracy=lambda t: t.accuracy.map("{}%".format))
    curves = CurveSet(table)
    assert curves.metric.percent
    assert curves.frame.test_loss.to_list() == ERRORS


def test_percent_beside_fractions_is_refused():
    table = scores()
    table.loc[0, "accuracy"] = 71.3
    with refused("`accuracy` must be in percent or in fractions, got 0.69 and 71.3 in one table"):
        CurveSet(table)


def test_small_percentages_are_read_where_this_is_said():
    small = runs(exact_match=[0.4, 5, 20, 0.9, 8, 30])
    with refused("`exact_match` must be in percent or in fractions"):
        CurveSet(small)
    for curves in (
        CurveSet(small, metric=Metric("exact_match", percent=True)),
        CurveSet(small.assign(unit="percent")),
        CurveSet(small.rename(columns=dict(exact_match="exact_match (%)"))),
    ):
        assert curves.frame.test_loss[0] == 0.996


@pytest.mark.parametrize(
    "value, message",
    [
        (-0.1, "`accuracy` must lie between 0 and 1; row 1 (model a, train_size 200) has -0.1"),
        (np.nan, "`accuracy` must lie between 0 and 1; row 1 (model a, train_size 200) has nan"),
        ("n/k", "`accuracy` must be a number; row 1 (model a, train_size 200) has n/k"),
        ("61%", "write a percent sign in every cell or in none"),
        (1.0, "`accuracy` must not be 1 without `n_test`: no error is left to extrapolate"),
    ],
)
def test_a_value_that_is_no_score_is_refused(value, message):
    table = scores().astype(dict(accuracy=object))
    table.loc[0, "accuracy"] = value
    metric = Metric("accuracy", percent=False)
    with refused(message):
        CurveSet(table, metric=metric)


def test_percentages_end_at_100():
    with refused("`accuracy` must lie between 0 and 100; row 1"):
        CurveSet(scores(100).assign(accuracy=[101, 60, 70, 50, 60, 70]))


def test_a_word_error_rate_may_pass_1():
    curves = CurveSet(runs(wer=[1.3, 0.9, 0.5, 1.1, 0.8, 0.4]))
    assert curves.frame.test_loss[0] == 1.3
    assert CurveSet(runs(wer=[130, 90, 50, 110, 80, 40])).frame.test_loss[0] == 1.3
    with refused("`wer` must be in percent or in fractions"):
        CurveSet(runs(wer=[130, 0.9, 50, 110, 80, 40]))


def test_an_accuracy_may_not():
    with refused("`accuracy` must be in percent or in fractions, got 0.69 and 1.2"):
        CurveSet(scores().assign(accuracy=[1.2, 0.69, 0.75, 0.58, 0.7, 0.8]))


# noise


@pytest.mark.parametrize("top", [1, 100])
def test_standard_errors_carry_over(top):
    curves = CurveSet(scores(top, accuracy_se=0.02 * top))
    np.testing.assert_allclose(curves.frame.test_loss_se, 0.02)


def test_test_examples_give_binomial_noise():
    curves = CurveSet(scores(), metric=Metric("accuracy", n_test=400))
    expected = [np.sqrt(e * (1 - e) / 400) for e in ERRORS]
    np.testing.assert_allclose(curves.frame.test_loss_se, expected)


def test_each_run_may_have_its_own_number_of_test_examples():
    curves = CurveSet(scores(n_test=[100, 400] * 3))
    assert "noise unknown" not in set(curves.flags.flag)
    np.testing.assert_allclose(curves.frame.test_loss_se[0], np.sqrt(0.4 * 0.6 / 100))


def test_a_standard_error_goes_before_binomial_noise():
    metric = Metric("accuracy", n_test=400)
    curves = CurveSet(scores(accuracy_se=[0.05, *[np.nan] * 5]), metric=metric)
    noise = curves.frame.test_loss_se
    assert noise[0] == 0.05
    np.testing.assert_allclose(noise[1], np.sqrt(0.31 * 0.69 / 400))


def test_the_noise_of_a_word_error_rate_is_that_of_counts():
    curves = CurveSet(runs(wer=[1.2, *ERRORS[1:]]), metric=Metric("wer", n_test=100))
    np.testing.assert_allclose(curves.frame.test_loss_se[0], np.sqrt(1.2 / 100))


def test_a_perfect_score_is_half_an_error_where_test_examples_are_counted():
    perfect = scores().assign(accuracy=[0.6, 0.8, 1, 0.5, 0.6, 0.7])
    curves = CurveSet(perfect, metric=Metric("accuracy", n_test=50))
    assert curves.frame.test_loss[2] == 0.01


def test_a_number_of_test_examples_must_be_one():
    with refused("`n_test` must be a whole number > 0 of test examples"):
        CurveSet(scores(n_test=[100, 0] * 3))


# flags


def test_flags_speak_of_the_score():
    falling = scores().assign(accuracy=[0.6, 0.7, 0.5, 0.5, 0.6, 0.4])
    flags = CurveSet(falling).flags.set_index("flag")
    assert flags.detail["rising task"] == "2 of 2 curves of accuracy end lower than they start"
    assert "--lower-is-better" in flags.remedy["rising task"]


def test_errors_far_apart_are_no_mixed_units():
    table = pd.DataFrame(
        dict(model=[m for m in "abc" for _ in range(3)], train_size=[200, 400, 800] * 3)
    )
    table["accuracy"] = [0.5, 0.55, 0.6, 0.52, 0.56, 0.61, 0.97, 0.98, 0.985]
    assert "mixed units" not in set(CurveSet(table).flags.flag)


# logs


@pytest.fixture
def logs(tmp_path):
    "Trainer logs of two models on two sizes, with accuracies in them."
    for model, gain in dict(a=0.0, b=0.1).items():
        for size in (200, 400):
            folder = tmp_path / model / str(size)
            folder.mkdir(parents=True)
            history = [
                dict(step=0, eval_loss=2.0, eval_accuracy=0.3),
                dict(step=10, eval_loss=0.9, eval_accuracy=0.5 + gain + size / 4000),
                dict(step=20, eval_loss=0.8, eval_accuracy=0.4 + gain + size / 4000),
            ]
            state = dict(log_history=history, global_step=20)
            (folder / "trainer_state.json").write_text(json.dumps(state))
    return tmp_path


def test_logs_are_read_for_the_score_that_is_named(logs):
    curves = load_curves(logs, metric="accuracy")
    assert curves.metric.higher_is_better
    np.testing.assert_allclose(1 - curves.at(400), [0.6, 0.7])  # the highest, not the last
    np.testing.assert_allclose(1 - curves.at(0), [0.3, 0.3])
    assert "largest eval_accuracy after training" in curves.source


def test_logs_without_a_word_are_read_for_the_loss(logs):
    assert load_curves(logs).metric is LOSS
    assert load_curves(logs).at(400).to_list() == [0.8, 0.8]


def test_a_score_that_no_log_holds_is_refused(logs):
    with refused("`metric` must be in every log, got f1"):
        load_curves(logs, metric="f1")


def test_a_shipped_task_takes_no_metric():
    with refused("`metric` has no meaning where flan is a shipped task"):
        load_curves("flan", metric="accuracy")


def test_measured_changes_no_table_of_losses():
    table = runs(test_loss=ERRORS)
    found, metric, doubts = measured(table)
    assert found is table
    assert (metric, doubts) == (LOSS, [])


# a loss beside a score


def linked_runs(noise=0.2):
    "Runs whose accuracy falls with the loss; that of two runs is missing."
    rng, D = np.random.default_rng(0), 200 * 2 ** np.arange(7)
    table = pd.DataFrame(dict(model=["a"] * 7 + ["b"] * 7, train_size=[*D] * 2))
    table["test_loss"] = [*(6 * D**-0.2), *(5 * D**-0.17)]
    table["accuracy"] = 90 - 20 * table.test_loss + noise * rng.normal(size=14)
    truth = 90 - 20 * table.test_loss
    table.loc[[4, 11], "accuracy"] = np.nan
    return table, truth


def test_missing_scores_follow_from_losses_and_this_is_said():
    table, truth = linked_runs()
    curves = CurveSet(table, metric="accuracy")
    found = curves.in_own_unit
    for run in (4, 11):
        assert abs(found.accuracy[run] - truth[run]) < 4 * found.accuracy_se[run]
    assert found.accuracy_se.notna().sum() == 2
    assert curves.flags.detail[0].startswith("2 values of accuracy follow from the loss")


def test_a_link_is_not_carried_beyond_the_losses_that_it_knows():
    table, _ = linked_runs()
    table.loc[6, "accuracy"] = np.nan  # the lowest loss of all
    with refused("`accuracy` must lie between 0 and 100; row 7"):
        CurveSet(table, metric="accuracy")


def test_few_runs_teach_no_link():
    table, _ = linked_runs()
    with refused("has nan"):
        CurveSet(table[:7], metric="accuracy")


def test_the_other_measure_is_at_hand():
    table, _ = linked_runs()
    losses = CurveSet(table.dropna())
    accuracies = losses.beside
    assert accuracies.metric.name == "accuracy"
    assert accuracies.beside.metric is LOSS
    pd.testing.assert_series_equal(accuracies.beside.frame.test_loss, losses.frame.test_loss)
    assert CurveSet(scores()).beside is None


def test_scores_without_a_number_of_test_examples_are_doubted():
    unknown = CurveSet(scores()).flags
    assert unknown.flag.tolist().count("noise unknown") == 1
    assert "--n-test" in unknown.remedy[unknown.flag == "noise unknown"].item()
    with_error = CurveSet(scores(test_loss_se=[0.02] * 6), metric=Metric("accuracy"))
    assert "noise unknown" not in set(with_error.flags.flag)
