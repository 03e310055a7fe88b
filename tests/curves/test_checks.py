"What `quality_errors` and `quality_flags` find, and what they leave alone."

import re

import numpy as np
import pandas as pd
import pytest
from lensllm.curves.checks import log_noise, quality_errors, quality_flags

SIZES = np.array([200, 400, 800, 1600, 3200, 6400])


@pytest.fixture
def mistakes():
    "Five rows with one of each of four errors."
    return pd.DataFrame(
        dict(
            model=list("aaabb"),
            train_size=[200, 400, 400, 250.5, 400],
            test_loss=[3.1, -2.9, 2.8, 3, np.nan],
        )
    )


@pytest.fixture
def families():
    "Model a is in family x first, then in y."
    return pd.DataFrame(
        dict(
            model=list("aabb"),
            train_size=[200, 400] * 2,
            test_loss=[3.0, 2.9, 3.1, 3.0],
            family=["x", "y", "x", None],
        )
    )


@pytest.fixture
def odd():
    "A steady curve and four odd ones."
    steady = 9 * SIZES**-0.2
    losses = {
        "steady": steady,
        "jumps": [3.3, 3.1, 2.9, 2.7, 2.1, 2.0],
        "rises": [3.3, 3.1, 2.9, 3.4, 2.7, 2.5],
        "copied": [3.2, 3.0, 3.0, 2.7, 2.6, 2.4],
        "bits x 10": 13 * steady,
    }
    curves = [
        pd.DataFrame(dict(model=model, train_size=SIZES, test_loss=loss))
        for model, loss in losses.items()
    ]
    return pd.concat(curves, ignore_index=True).assign(task="t")


def three(**columns):
    "Three models with one run each, and these columns changed."
    return pd.DataFrame(
        dict(model=["a", "b", "c"], train_size=200, test_loss=[3.0, 2.0, 2.5]) | columns
    )


# Noise


def test_planted_noise_is_recovered():
    rng, D = np.random.default_rng(0), np.geomspace(200, 2e6, 400)
    noisy = [(D, 9 * D**-0.2 * np.exp(0.01 * rng.normal(size=D.size))) for _ in range(4)]
    relative_error_of_mad = 1.17 / np.sqrt(4 * 398)
    assert abs(log_noise(noisy) - 0.01) < 4 * 0.01 * relative_error_of_mad


def test_a_power_law_has_no_noise():
    D = np.geomspace(200, 2e6, 400)
    assert log_noise([(D, 9 * D**-0.2)]) < 1e-12


# Errors


def test_each_mistake_is_found_once_and_in_order_of_rules(mistakes):
    expected = ["not finite", "not positive", "not a count", "duplicate"]
    assert list(quality_flags(mistakes).flag) == expected


def test_the_row_of_a_mistake_is_counted_from_one(mistakes):
    detail = quality_flags(mistakes).detail[1]
    assert "row 2 (model a, train_size 400) has -2.9" in detail


def test_a_model_belongs_to_one_family(families):
    found = quality_flags(families)[["flag", "model", "train_size"]]
    assert found.values.tolist() == [["two families", "a", 400]]


def test_an_empty_family_and_spaces_are_no_second_family(families):
    assert len(quality_errors(families.assign(family=["x", " x", "", "y"]))) == 0


def test_a_missing_name_is_not_taken_for_a_family(families):
    nameless = families.assign(model=[None, "a", "b", " b "], family=["x", "y", "x", "z"])
    assert (quality_errors(nameless).flag == "two families").sum() == 1


def test_a_decimal_comma_is_no_number(mistakes):
    flags = quality_flags(mistakes.assign(test_loss="2,9")).flag
    assert list(flags)[:5] == ["not a number"] * 5


@pytest.mark.parametrize(
    "columns, flags",
    [
        (dict(seed=[0, 0.5, 0]), ["not a seed"]),
        (dict(n_params=[np.inf, 1.0, 1.0]), ["not a size"]),
        (dict(n_params=[124.4, 124.4, 124.4]), ["not a size"] * 3),
        (dict(train_size=[200, "200", 400], model=["a", "a", "b"]), ["duplicate"]),
    ],
)
def test_a_column_breaks_its_rule(columns, flags):
    assert list(quality_errors(three(**columns)).flag) == flags


def test_a_size_may_be_written_with_a_k():
    frame = pd.DataFrame(dict(model="a", train_size=["1k", "1000"], test_loss=[3.0, 2.0]))
    assert list(quality_errors(frame).flag) == ["duplicate"]


def test_text_for_a_size_is_quoted():
    frame = pd.DataFrame(dict(model=["a"], train_size=["many"], test_loss=[1.0]))
    assert "has many" in quality_flags(frame).detail[0]


def test_a_needed_column_must_be_there():
    with pytest.raises(ValueError, match=re.escape("`test_loss` must be a column")):
        quality_flags(pd.DataFrame(dict(model=["a"], train_size=[1])))


# Warnings


@pytest.mark.parametrize(
    "flag, model",
    [
        ("jump", "jumps"),
        ("rise", "rises"),
        ("repeated", "copied"),
        ("mixed units", "bits x 10"),
    ],
)
def test_an_odd_curve_is_flagged(odd, flag, model):
    flags = quality_flags(odd)
    assert (flag, model) in set(zip(flags.flag, flags.model))


def test_a_steady_curve_is_not_flagged(odd):
    assert "steady" not in set(quality_flags(odd).model)


def test_accuracies_are_flagged_as_a_rising_task(odd):
    accuracies = odd.assign(test_loss=1 / odd.test_loss)
    assert "rising task" in set(quality_flags(accuracies).flag)


def test_a_loss_equal_digit_for_digit_is_shared():
    flags = quality_flags(three(test_loss=3.123456))
    assert list(flags.query("flag == 'shared value'").model) == ["b", "c"]


def test_two_points_are_too_few(odd):
    assert list(quality_flags(odd[:2]).flag) == ["too few points"]


def test_a_table_without_rows_has_no_flags(odd):
    assert len(quality_flags(odd[:0])) == 0


def test_an_unbelievable_zero_shot_loss_is_flagged():
    frame = pd.DataFrame(dict(model="a", train_size=[0, 200, 400], test_loss=[10.0, 3.0, 2.9]))
    assert "zero-shot off the curve" in set(quality_flags(frame).flag)


def test_a_tuned_model_worse_than_zero_shot_is_flagged():
    frame = pd.DataFrame(dict(model="a", train_size=[0, 200, 400], test_loss=[2.5, 3.0, 2.9]))
    assert "worse than zero-shot" in set(quality_flags(frame).flag)


@pytest.mark.parametrize(
    "other", ["GPT2", "gpt2\u200b", "\uff47pt2"], ids=["case", "invisible sign", "wide letter"]
)
def test_two_names_that_read_alike_are_flagged(other):
    frame = pd.DataFrame(
        dict(
            model=["gpt2"] * 2 + [other] * 2, train_size=[200, 400] * 2, test_loss=[3, 2.9, 3.2, 3]
        )
    )
    flags = quality_flags(frame)
    assert flags.model[flags.flag == "similar names"].tolist() in ([other], ["gpt2"])
    apart = frame.assign(model=["gpt2"] * 2 + ["gpt3"] * 2)
    assert "similar names" not in set(quality_flags(apart).flag)
