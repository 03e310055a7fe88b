"Inputs of the kinds that people have: tables and logs, through Python and through the command."

import contextlib
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from lensllm.cli.app import exit_code
from lensllm.curves.table import load_curves

CASES = Path(__file__).resolve().parent.parent / "cases"
USUAL = {"gpt2": [4.39, 4.29, 4.19, 4.06], "opt": [3.78, 3.71, 3.61, 3.52]}


def command(*args):
    "Exit code, standard output and standard error of a call."
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = exit_code([str(arg) for arg in args])
    return code, out.getvalue(), err.getvalue()


def assert_one_line(place, *options, contains):
    "The command refuses, in one line that holds these texts."
    code, out, err = command("select", place, *options)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    for text in contains:
        assert text in err


def assert_summary(place, curves, *options):
    "`data` reads the same table as `load_curves`."
    code, out, err = command("data", place, *options, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["runs"] == len(curves)
    assert [row["model"] for row in found["models"]] == curves.models


# Tables


@pytest.mark.parametrize(
    "name, sizes",
    [
        ("10_european_numbers/apostrophe_wide.csv", [200, 400, 1000, 2000]),
        ("10_european_numbers/comma_wide.csv", [200, 400, 800, 1600]),
        ("10_european_numbers/dot_thousands_all_small_wide.csv", [1000, 2000, 4000, 8000]),
        ("10_european_numbers/dot_thousands_long.csv", [1000, 2000, 4000, 8000]),
        ("10_european_numbers/dot_thousands_params.csv", [200, 400, 800, 1600]),
        ("10_european_numbers/dot_thousands_wide.csv", [200, 400, 1000, 2000]),
        ("10_european_numbers/space_thousands_wide.csv", [200, 400, 1000, 2000]),
        ("11_trailing_delimiter/wide_all_lines.csv", [200, 400, 800, 1600]),
        ("11_trailing_delimiter/wide_params_rows_only.csv", [200, 400, 800, 1600]),
    ],
)
def test_all_four_losses_stand_at_their_sizes(name, sizes):
    curves = load_curves(CASES / name)
    assert curves.wide().to_dict("index") == {
        model: dict(zip(sizes, losses, strict=True)) for model, losses in USUAL.items()
    }
    assert_summary(CASES / name, curves)


@pytest.mark.parametrize(
    "name, sizes, models",
    [
        ("10_european_numbers/nbsp_long.csv", [1000, 2000], ["gpt2"]),
        ("10_european_numbers/us_thousands_long.csv", [1000, 2000], ["gpt2", "opt"]),
        ("11_trailing_delimiter/long_rows_only.csv", [200, 400], ["gpt2", "opt"]),
        ("11_trailing_delimiter/long_seed_rows_only.csv", [200, 400], ["gpt2", "opt"]),
        ("11_trailing_delimiter/wide_rows_only.csv", [0, 200, 400, 800, 1600], ["gpt2", "opt"]),
        ("12_odd_headers/blank_first.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/comment_first.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/cr_only.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/index_export.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/k.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/k2.csv", [1000, 2000, 4000], ["gpt2", "opt"]),
        ("12_odd_headers/long_spaces.csv", [200, 400], ["gpt2", "opt"]),
        ("12_odd_headers/pipe.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/sci.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/sep_line.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/spaces_after_comma.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/upper.CSV", [200, 400, 800], ["gpt2", "opt"]),
        ("12_odd_headers/utf16.csv", [200, 400, 800], ["gpt2", "opt"]),
        ("13_odd_cells/leading_zero.csv", [200, 400, 800, 1600], ["007", "7"]),
        ("13_odd_cells/null_name.csv", [200, 400, 800, 1600], ["None", "opt"]),
        ("13_odd_cells/version_names.csv", [200, 400, 800, 1600], ["1.1", "1.10", "1.2"]),
        ("13_odd_cells/params_short.csv", [200, 400, 800, 1600], ["gpt2", "opt"]),
    ],
)
def test_an_odd_table_is_read_as_it_stands(name, sizes, models):
    curves = load_curves(CASES / name)
    assert (curves.sizes, curves.models) == (sizes, models)
    first = {200: 4.39, 1000: 4.39, 0: 4.86}[sizes[0]]
    assert curves.frame.test_loss[0] == first
    assert_summary(CASES / name, curves)


@pytest.mark.parametrize(
    "name, n_params",
    [
        ("10_european_numbers/dot_thousands_params.csv", [124_439_808, 331_196]),
        ("12_odd_headers/spaces_after_comma.csv", [124_000_000, 350_000_000]),
        ("13_odd_cells/params_short.csv", [124_000_000, 1_300_000_000]),
    ],
)
def test_numbers_of_parameters_are_not_lost(name, n_params):
    assert load_curves(CASES / name).n_params().tolist() == n_params


@pytest.mark.parametrize("name", ["na", "none", "ref", "space"])
def test_a_cell_without_a_value_is_no_run(name):
    curves = load_curves(CASES / f"13_odd_cells/{name}.csv")
    assert curves.wide().isna().sum().sum() == 1
    assert len(curves) == 11


@pytest.mark.parametrize(
    "name, contains",
    [
        ("11_trailing_delimiter/note_in_one_row.csv", ["row 1 (line 2)", "'best so far'"]),
        ("11_trailing_delimiter/note_in_last_row.csv", ["row 2 (line 3)", "'rerun'"]),
        ("12_odd_headers/dup.csv", ["'200' is twice"]),
        ("12_odd_headers/dupzero.csv", ["'0' is twice"]),
        ("12_odd_headers/examples.csv", ["headed by the number alone: 200, not '200 examples'"]),
        ("12_odd_headers/index_models.csv", ["column 1", "(with 'gpt2') has none"]),
        ("12_odd_headers/n_eq.csv", ["200, not 'n=200'"]),
        ("12_odd_headers/name.csv", ["is 'Model' meant? then rename it model"]),
        ("12_odd_headers/nohdr.csv", ["is the header missing?"]),
        ("12_odd_headers/pct.csv", ["200, not '10%'"]),
        ("12_odd_headers/prefix.csv", ["200, not 'loss_200'"]),
        ("12_odd_headers/space_sep.txt", ["comma, semicolon, tab or |"]),
        ("12_odd_headers/transposed.csv", ["`model` must be a column; the table has train_size"]),
        ("12_odd_headers/wandb.csv", ["`--pattern` must say", "runs are called 'gpt2'"]),
        ("13_odd_cells/bold.csv", ["write the number alone"]),
        ("13_odd_cells/nats.csv", ["write the number alone"]),
        ("13_odd_cells/par.csv", ["write the number alone"]),
        ("13_odd_cells/pct.csv", ["a percentage is no loss"]),
        ("13_odd_cells/pm.csv", ["write the number alone"]),
        ("13_odd_cells/quoted.csv", ["has 4,19", "set `--decimal` to ','"]),
        ("13_odd_cells/star.csv", ["write the number alone"]),
        ("27_author_table/table.csv", ["is 'config name' meant? then rename it model"]),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(name, contains):
    assert_one_line(CASES / name, contains=contains)
    with pytest.raises(ValueError) as raised:
        load_curves(CASES / name)
    assert "task" not in str(raised.value).partition("the table has")[2]


@pytest.mark.parametrize("name", ["oom", "dash", "emdash", "diverged", "excel", "inf", "tbd"])
def test_a_mark_for_a_run_without_a_loss_wants_an_empty_cell(name):
    place = CASES / f"13_odd_cells/{name}.csv"
    remedy = "leave the cell empty where a run gave no loss"
    assert_one_line(place, contains=["model gpt2, train_size 800", remedy])
    with pytest.raises(ValueError, match=remedy) as raised:
        load_curves(place)
    assert "decimal point" not in str(raised.value)


def test_accuracies_are_read_as_scores_and_this_is_said():
    curves = load_curves(CASES / "13_odd_cells/accuracy_percent.csv")
    assert (curves.metric.higher_is_better, curves.metric.percent) == (True, True)
    assert "read as scores" in set(curves.flags.flag)


def test_a_row_of_means_raises_a_doubt():
    flags = load_curves(CASES / "13_odd_cells/mean_row.csv").flags
    assert list(flags.model[flags.flag == "summary row"]) == ["average"]


def test_the_authors_size_column_is_named_where_parameters_are_missing():
    place = CASES / "27_author_table/model_renamed.csv"
    flags = load_curves(place).flags
    assert "'size' is not read" in flags.detail[flags.flag == "no n_params"].iloc[0]
    code, _, err = command("plan", place, "--budget", "20%", "--up-to", 0)
    assert code == 2
    assert "is 'size' meant? then rename it n_params" in err


def test_a_plan_begins_with_zero_shot_losses():
    place = CASES / "27_author_table/both_renamed.csv"
    code, out, err = command("plan", place, "--budget", "20%", "--up-to", 0)
    assert (code, err) == (0, "")
    assert out.startswith("race on both_renamed, for 3,200 examples: the opening")


def test_a_target_that_may_be_two_numbers_is_refused():
    code, _, err = command("select", "flan", "--target", "16.000")
    assert code == 2
    assert "it may be 16 or 16000: write it without '.'" in err


# Logs


@pytest.mark.parametrize(
    "name, options, contains",
    [
        (
            "02_train_loss_only/runs",
            [],
            ["must hold an `eval_loss`", "training losses are not used"],
        ),
        ("03_named_eval_sets/runs", [], ["evaluation sets news, mail", "`--eval-set`"]),
        ("03_named_eval_sets/runs", ["--eval-set", "nowt"], ["got 'nowt'", "news, mail"]),
        ("04_nan_loss/allnan", [], ["every evaluation of", "NaN, infinite or null"]),
        ("05_zero_loss_masked/runs", [], ["opt/200", "every label may be masked"]),
        ("07_not_lm_loss/grpo", [], ["must be > 0 nats, got -0.0078"]),
    ],
)
def test_logs_that_cannot_be_read_are_one_line(name, options, contains):
    assert_one_line(CASES / name, *options, contains=contains)


def test_a_named_evaluation_set_is_chosen():
    place = CASES / "03_named_eval_sets/runs"
    curves = load_curves(place, eval_set="news")
    assert curves.wide().at["gpt2", 200] == pytest.approx(4.056, abs=5e-4)
    assert_summary(place, curves, "--eval-set", "news")


@pytest.mark.parametrize("name", ["null", "runs", "text"])
def test_a_good_evaluation_speaks_beside_null_nan_and_text(name):
    losses = load_curves(CASES / "04_nan_loss" / name).wide()
    expected = {"runs": 3.926}.get(name, 3.936)
    assert losses.at["gpt2", 200] == pytest.approx(expected, abs=5e-4)
    assert losses.notna().all().all()


def test_the_untrained_model_is_size_0():
    curves = load_curves(CASES / "06_eval_on_start/runs")
    assert curves.at(0).tolist() == [3.3] * 3
    assert curves.at(200)["gpt2"] == pytest.approx(3.956, abs=5e-4)
    assert curves.at(200)["pythia"] == 4.1


@pytest.mark.parametrize("name, kind", [("dpo", "eval_rewards/accuracies"), ("clf", "eval_f1")])
def test_losses_of_another_kind_have_no_unit_per_token_and_a_doubt(name, kind):
    place = CASES / "07_not_lm_loss" / name
    curves = load_curves(place)
    assert curves.unit == "nats"
    code, out, err = command("select", place)
    assert code == 0, err
    assert "nats/token" not in out
    assert "doubt: all: another kind, the logs hold" in out
    assert kind in out


def test_runs_that_kept_their_results_alone_are_read():
    curves = load_curves(CASES / "18_result_files_only/runs")
    assert set(curves.frame.test_loss) == {3.0}
    assert curves.unit == "nats/token"  # the perplexity beside the loss says so
    assert "trainer_log.jsonl" in curves.source


LAYOUTS = {
    "dash": ("{model}-{size}", "{model}-{train_size}"),
    "k": ("{model}/{k}k", None),
    "k named": ("{model}/{k}k", "{model}/{train_size}k"),
    "letter": ("{model}/n{size}", "{model}/n{train_size}"),
    "organisation": ("acme/{model}/{size}", "*/{model}/{train_size}"),
    "seed": ("{model}/{size}/seed-1", "{model}/{train_size}/seed-{seed}"),
    "any folder": ("{model}/{size}/seed-1", "{model}/{train_size}/*"),
    "size first": ("{size}/{model}", "{train_size}/{model}"),
    "checkpoint": ("{model}/{size}/checkpoint-10", None),
    "unfinished": ("{model}/{size}/tmp-checkpoint-10", "{model}/{train_size}/*"),
    "twice": ("{model}/{model}_{size}", "*/{model}_{train_size}"),
    "zeros": ("{model}/{size:05}", None),
}


@pytest.fixture(params=LAYOUTS)
def layout(request, tmp_path):
    "A folder of logs in one layout, and the pattern that reads it."
    folders, pattern = LAYOUTS[request.param]
    for model in ("gpt2", "opt-1.3b"):
        for size in (200, 1600):
            folder = tmp_path / folders.format(model=model, size=size, k=size / 1000)
            folder.mkdir(parents=True)
            log = [dict(eval_loss=3.5 - size / 1e4, step=10)]
            text = json.dumps(dict(global_step=10, log_history=log))
            (folder / "trainer_state.json").write_text(text)
    return tmp_path, pattern


def test_every_layout_is_reached_by_a_pattern(layout):
    folder, pattern = layout
    expected = pd.DataFrame(
        {200: 3.48, 1600: 3.34}, index=pd.Index(["gpt2", "opt-1.3b"], name="model")
    )
    curves = load_curves(folder, pattern=pattern)
    pd.testing.assert_frame_equal(curves.wide(), expected, check_names=False)
    assert_summary(folder, curves, *(["--pattern", pattern] if pattern else []))


def test_the_pattern_that_an_error_suggests_reads_the_folder(layout):
    folder, _ = layout
    code, _, err = command("data", folder)
    suggested = re.search("is '(.*)' meant", err)[1] if code else None
    assert len(load_curves(folder, pattern=suggested).models) == 2


@pytest.mark.parametrize(
    "pattern, message",
    [
        ("{model}/{model}_{train_size}", "{model} is twice"),
        ("{model}/{train_size}/{my seed}", "got {my seed}"),
        ("{org}/{model}/{train_size}", "got {org}; write *"),
        ("{model}/{train_size", "must close each {field}"),
        ("{model}{train_size}", "must part its fields"),
        ("{model}", "where a path names the train_size"),
        ("", "where a path names the model"),
    ],
)
def test_a_pattern_that_says_no_run_is_one_line(pattern, message):
    place = CASES / "18_result_files_only/runs"
    assert_one_line(place, "--pattern", pattern, contains=["`--pattern`", message])
