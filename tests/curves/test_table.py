"`CurveSet`: what it accepts, what it refuses, and that cuts and files lose nothing."

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm.curves.table import (
    benchmark_names,
    CurveSet,
    load_benchmark,
    load_curves,
    load_published,
    load_trainer_states,
)
from matplotlib.figure import Figure

FLAN = load_benchmark("flan")


def raises(text):
    "A ValueError whose message holds this text."
    return pytest.raises(ValueError, match=re.escape(text))


# A checked table


def test_columns_come_in_the_order_of_the_documentation(curves):
    columns = ["task", "model", "family", "n_params", "train_size", "test_loss", "seed"]
    assert list(curves.frame.columns) == [*columns, "test_loss_se"]


def test_sizes_rise_within_each_model_whatever_the_order_of_rows(small):
    shuffled = CurveSet(small.sample(frac=1, random_state=1))
    assert shuffled.frame.train_size.tolist() == [0, 200, 400] * 2


def test_models_keep_the_order_in_which_they_first_appear(small):
    assert CurveSet(small[::-1]).models == ["b", "a"]


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(test_loss=[4, -1, 3, 5, 3, 2.0]), "row 2 (model a, train_size 200) has -1.0"),
        (dict(test_loss=[np.inf, 1, 1, 1, 1, 1]), "row 1 (model a, train_size 0) has inf"),
        (dict(test_loss=[1, np.nan, 1, 1, 1, 1]), "row 2 (model a, train_size 200) has nan"),
        (dict(test_loss=["low"] * 6), "has low"),
        (dict(train_size=[0.5, 2, 3, 1, 2, 3]), "whole number"),
        (dict(train_size=[-1, 2, 3, 1, 2, 3]), "row 1 (model a, train_size -1) has -1"),
        (dict(train_size=200), "row 1 is the same run"),
        (dict(model=[None] * 6), "must name a model"),
    ],
)
def test_a_wrong_value_stops_the_load_and_its_row_is_named(small, change, message):
    with raises(message):
        CurveSet(small.assign(**change))


def test_a_needed_column_must_be_there(small):
    with raises("`test_loss` must be a column"):
        CurveSet(small.drop(columns="test_loss"))


def test_a_table_without_rows_is_refused(small):
    with raises("at least one run"):
        CurveSet(small[:0])


# Cuts


def test_up_to_keeps_smaller_sizes_and_zero_shot(curves):
    assert curves.up_to(200).sizes == [0, 200]


def test_up_to_refuses_to_lose_a_model(small):
    late = CurveSet(small[1:].assign(train_size=[50, 400, 150, 200, 400]))
    with raises("`train_size` 100 leaves no run of b"):
        late.up_to(100)


def test_up_to_refuses_to_lose_all_runs(small):
    with raises("no run is left after `train_size` 100"):
        CurveSet(small[small.train_size > 0]).up_to(100)


def test_filter_keeps_the_models_named(curves):
    assert curves.filter(model="b").models == ["b"]


def test_filter_lists_the_names_there_are(curves):
    with raises("`model` must be in the table, got 'c'; there are: a, b"):
        curves.filter(model=["a", "c"])


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(seed=st.integers(0, 2**31), size=st.sampled_from([200, 3200, 102400, 1638400]))
def test_the_order_of_rows_changes_no_loss(seed, size):
    shuffled = CurveSet(FLAN.frame.sample(frac=1, random_state=seed)).up_to(size)
    pd.testing.assert_frame_equal(
        shuffled.wide().sort_index(), FLAN.up_to(size).wide().sort_index()
    )
    assert max(shuffled.sizes) <= size


# Views


def test_seeds_are_averaged_at_a_size(two_seeds):
    np.testing.assert_allclose(two_seeds.at(400), [3.1, 2.9])


def test_a_curve_leaves_zero_shot_out(curves):
    np.testing.assert_allclose(curves.curve("b"), [[200, 400], [3.1, 2.8]])


def test_at_lists_the_sizes_there_are(curves):
    with raises("`train_size` must be one of 0, 200, 400, got 800"):
        curves.at(800)


def test_complete_ends_where_the_first_model_ends(small):
    assert CurveSet(small[:5]).complete().sizes == [0, 200]


def test_complete_needs_a_size_that_all_models_have(small):
    with raises("a size above 0 that all 2 models"):
        CurveSet(small.assign(train_size=[0, 200, 400, 0, 300, 600])).complete()


def test_a_view_needs_one_task(small):
    two = CurveSet(pd.concat([small.assign(task="a"), small.assign(task="b")]))
    with raises("several: a, b; use .filter"):
        two.wide()


@pytest.mark.parametrize(
    "model, message",
    [("b", "got 'b'; include larger sizes"), ("c", "got 'c'; there are: a, b")],
)
def test_a_missing_curve_says_what_to_do(small, model, message):
    zero_shot_only = CurveSet(small[:4])
    with raises(message):
        zero_shot_only.curve(model)


# Shipped tables


def test_flan_has_one_run_per_model_and_size(flan):
    assert (len(flan.models), len(flan.sizes), len(flan)) == (30, 15, 450)


def test_an_unknown_benchmark_is_refused():
    with raises("must be a shipped task"):
        load_benchmark("wmt")


def test_published_selection_results_are_complete():
    assert len(load_published("selection")) == 252


def test_known_oddities_of_gigaword_are_flagged():
    flags = load_benchmark("gigaword").flags
    found = set(zip(flags.flag, flags.model, flags.train_size))
    assert ("jump", "facebook/bart-base", 12800) in found
    assert ("shared value", "microsoft/phi-2", 819200) in found


def test_models_that_cannot_do_gigaword_untrained_are_flagged():
    flags = load_benchmark("gigaword").flags
    off = set(flags[flags.flag == "zero-shot off the curve"].model)
    assert {"google/switch-base-8", "google/mt5-base", "google/t5-v1_1-base"} <= off


# Files


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("unit", ["nats", "nats/byte"])
def test_a_saved_table_comes_back_with_its_unit(curves, tmp_path, suffix, unit):
    saved = CurveSet(curves.frame, unit=unit).save(tmp_path / f"c{suffix}")
    back = load_curves(saved)
    pd.testing.assert_frame_equal(back.frame, curves.frame)
    assert back.unit == unit


def test_a_wide_frame_is_read_like_a_tidy_one(curves):
    pd.testing.assert_frame_equal(CurveSet(curves.wide()).wide(), curves.wide())


def test_an_empty_cell_of_a_wide_file_is_no_run(tmp_path):
    text = 'model,family,0,200,"1,600"\ngpt2,GPT2,4.9,4.4,4.1\nopt,OPT,3.7,,2.9\n'
    (tmp_path / "wide.csv").write_text(text)
    curves = load_curves(tmp_path / "wide.csv")
    assert len(curves) == 5
    assert curves.tasks == ["wide"]


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"200": [3.0, np.nan]}, "row 2 has none"),
        ({"200": [3.0, 2.0], "4OO8": [3.0, 2.0]}, "got '4OO8'"),
        ({"200": [3.0, 2.0], "400": [3.0, -1.0]}, "model b, train_size 400 has -1.0"),
        ({"200": [3.0, 2.0], "-400": [3.0, 2.0]}, "got '-400'"),
    ],
)
def test_a_wide_table_with_a_mistake_is_refused(columns, message):
    with raises(message):
        CurveSet(pd.DataFrame({"model": ["a", "b"]} | columns))


def test_losses_of_one_table_have_one_unit(curves):
    units = ["nats/token"] + ["nats/byte"] * (len(curves) - 1)
    with raises("`unit` must be one for all losses of a table, got nats/token and nats/byte"):
        load_curves(curves.frame.assign(unit=units))


@pytest.mark.parametrize(
    "name, message",
    [
        ("nowhere.csv", "must be a file, got nowhere.csv; shipped tasks are: "),
        ("flam", "got flam; is flan meant?"),
    ],
)
def test_a_name_that_is_no_file_lists_the_shipped_tasks(name, message):
    with raises(message):
        load_curves(name)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with raises("is empty; it needs a header with model, train_size, test_loss"):
        load_curves(tmp_path / "empty.csv")


# Trainer logs


def write_log(path, losses, step=0):
    "A Trainer's state with these evaluation losses."
    path.parent.mkdir(parents=True, exist_ok=True)
    log = [dict(eval_loss=loss) for loss in losses]
    path.write_text(json.dumps(dict(global_step=step, log_history=log)))


@pytest.fixture
def runs(tmp_path):
    "A folder with two models of two sizes; the last evaluation is not the best."
    for model, loss in dict(gpt2=3.1, opt=2.9).items():
        for size in (200, 400):
            path = tmp_path / "runs" / model / str(size) / "trainer_state.json"
            write_log(path, [loss - size / 1e3, loss])
    return tmp_path / "runs"


@pytest.fixture
def checkpoints(tmp_path):
    "A folder with two checkpoints of one run, each with the log so far."
    for step in (2, 10):
        path = tmp_path / "gpt2" / "200" / f"checkpoint-{step}" / "trainer_state.json"
        write_log(path, [4.0 - k / 10 for k in range(step)], step)
    return tmp_path


def test_the_last_evaluation_can_be_taken(runs):
    logs = sorted(runs.rglob("trainer_state.json"))
    np.testing.assert_allclose(load_trainer_states(logs, take="last").at(400), [3.1, 2.9])


def test_the_last_checkpoint_stands_for_its_run(checkpoints):
    np.testing.assert_allclose(load_trainer_states(checkpoints).at(200), [3.1])


def test_checkpoints_are_runs_if_the_pattern_names_them(checkpoints):
    pattern = "{model}/checkpoint-{train_size}/trainer_state.json"
    assert load_trainer_states(checkpoints / "gpt2", pattern).sizes == [2, 10]


def test_a_pattern_may_name_the_size_in_the_file_name(tmp_path):
    paths = [tmp_path / "gpt2" / f"{size}.json" for size in (200, 400)]
    for path in paths:
        write_log(path, [3.0])
    assert load_trainer_states(paths, "{model}/{train_size}.json").sizes == [200, 400]


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("{model}/trainer_state.json", "`pattern` must say where a path names the train_size"),
        ("{model}-{train_size}.json", "does not match"),
    ],
)
def test_a_pattern_must_fit_the_paths(runs, pattern, message):
    with raises(message):
        load_trainer_states(sorted(runs.rglob("trainer_state.json")), pattern)


def test_a_missing_log_is_refused(tmp_path):
    with raises("must be a Trainer's state"):
        load_trainer_states([tmp_path / "nowhere.json"], "{model}/{train_size}.json")


def test_a_broken_log_is_refused(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    with raises("must be a Trainer's state"):
        load_trainer_states([tmp_path / "broken.json"], "{model}/{train_size}.json")


def test_a_folder_of_logs_is_a_task(runs):
    pd.testing.assert_frame_equal(
        load_curves(runs).frame, load_trainer_states(runs).frame.assign(task="runs")
    )


def test_a_folder_without_logs_is_refused(tmp_path):
    with raises("holds none; point at the folder"):
        load_curves(tmp_path)


def test_two_logs_of_one_run_are_refused(runs):
    write_log(runs / "org" / "gpt2" / "200" / "trainer_state.json", [3.0])
    with raises("`pattern` must tell runs apart, got"):
        load_trainer_states(runs)


# How a table shows itself


def test_the_first_and_last_loss_of_a_summary_are_averaged_over_seeds(two_seeds):
    losses = two_seeds.summary()[["first_loss", "last_loss"]]
    np.testing.assert_allclose(losses, [[3.3, 3.1], [3.2, 2.9]])


def test_the_line_of_a_table_counts_its_runs(curves):
    line = "CurveSet task: 2 models × 3 sizes (0 … 400 examples), 6 runs, 1 seed, nats; 2 flags"
    assert repr(curves) == line


def test_the_unit_stands_on_the_axis():
    ax = load_benchmark("mini/define").plot(ax=Figure().subplots())
    assert ax.get_ylabel() == "test loss (nats/byte)"


def test_named_models_are_coloured_and_labelled(flan):
    ax = flan.plot(["gpt2", "google/mt5-base"], ax=Figure().subplots())
    assert sorted(text.get_text() for text in ax.texts) == ["gpt2", "mt5-base"]


def test_at_most_six_models_are_coloured(flan):
    with raises("`highlight` must lie in 0..6"):
        flan.plot(7)


def test_zero_shot_losses_make_no_curve(flan):
    with raises("this table holds zero-shot losses only"):
        flan.up_to(0).plot()


def test_shipped_tasks_are_listed_by_source():
    assert benchmark_names("flan") == ["flan"]
    assert len(benchmark_names("lcdb")) == 30
    assert set(benchmark_names("pet")) < set(benchmark_names())
    with pytest.raises(ValueError, match="`source` must be one of flan, gemstones, .* got 'lcdb/'"):
        benchmark_names("lcdb/")


def test_a_mistyped_task_is_told_what_there_is_in_one_line():
    with pytest.raises(ValueError, match=r"flan, .*, lcdb/… \(30\), mini/… \(3\), .*, got 'lcdb'"):
        load_benchmark("lcdb")
