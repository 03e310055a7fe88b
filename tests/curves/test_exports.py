"Exports of W&B and MLflow: which columns speak, which runs are left out, what is refused."

import csv
import shutil
from pathlib import Path

import pytest
from lensllm.cli.app import exit_code
from lensllm.curves.exports import KNOWN_COLUMNS, export_kind, exported_runs
from lensllm.curves.files import text_table
from lensllm.curves.table import load_curves

MLFLOW = Path(__file__).resolve().parent.parent / "cases" / "30_mlflow"
RUNS = [("gpt2", 200, 4.39), ("gpt2", 400, 4.29), ("opt", 200, 3.78), ("opt", 400, 3.71)]
LOSSES = {200: {"gpt2": 4.39, "opt": 3.78}, 400: {"gpt2": 4.29, "opt": 3.71}}


@pytest.fixture
def wandb(tmp_path):
    "Write a table of runs as W&B exports it: every cell in quotes, settings under bare names."

    def write(rows=RUNS, model="model", size="train_size", loss="eval/loss", **more):
        further = {name: cells for name, cells in more.items()}
        header = ["Name", "State", "Created", model, size, loss, "train/loss", *further]
        path = tmp_path / "wandb.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(header)
            for i, (name, n, value) in enumerate(rows):
                own = [cells[i] for cells in further.values()]
                writer.writerow([f"run-{i}", "finished", "2026-01-02", name, n, value, 1.0, *own])
        return path

    return write


@pytest.fixture
def chart(tmp_path):
    "Write a chart as W&B exports it: three columns per run."

    def write(curves, axis="train/global_step", measure="eval/loss", spread=0.0):
        steps = sorted({step for points in curves.values() for step in points})
        header = [axis]
        for name in curves:
            header += [f"{name} - {measure}{end}" for end in ("", "__MIN", "__MAX")]
        rows = [header]
        for step in steps:
            row = [step]
            for points in curves.values():
                value = points.get(step, "")
                low, high = (value - spread, value + spread) if value != "" else ("", "")
                row += [value, low, high]
            rows.append(row)
        path = tmp_path / "chart.csv"
        with path.open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows(rows)
        return path

    return write


CURVES = {"gpt2-200": {10: 4.5, 20: 4.4}, "gpt2-400": {10: 4.2, 20: 4.3}}


# W&B, table of runs


@pytest.mark.parametrize("size", KNOWN_COLUMNS["train_size"])
def test_sizes_by_the_names_people_give_them(wandb, size):
    assert load_curves(wandb(size=size)).wide().to_dict() == LOSSES


@pytest.mark.parametrize("model", [*KNOWN_COLUMNS["model"], "model_args.model_name_or_path"])
def test_models_by_the_names_people_give_them(wandb, model):
    assert load_curves(wandb(model=model)).wide().to_dict() == LOSSES


@pytest.mark.parametrize("loss", ["eval/loss", "eval_loss", "test/loss", "val_loss", "valid.loss"])
def test_losses_by_the_names_people_give_them(wandb, loss):
    curves = load_curves(wandb(loss=loss))
    assert curves.wide().to_dict() == LOSSES
    assert f"last {loss} of each run" in curves.source


def test_source_says_which_columns_were_read(wandb):
    source = load_curves(wandb(model="base_model", size="n_train")).source
    assert "W&B table of runs" in source
    assert "model from base_model, train_size from n_train" in source


def test_the_plain_name_comes_first(wandb):
    curves = load_curves(wandb(_name_or_path=["x", "x", "x", "x"]))
    assert curves.models == ["gpt2", "opt"]


def test_two_columns_that_differ_are_refused(wandb):
    path = wandb(size="max_samples", train_samples=[200, 390, 200, 390])
    with pytest.raises(ValueError, match="`train_size` must be one column, run 'run-1' has max_s"):
        load_curves(path)


def test_two_columns_that_agree_are_read(wandb):
    path = wandb(size="max_samples", train_samples=[200, 400, 200, 400])
    assert load_curves(path).wide().to_dict() == LOSSES


@pytest.mark.parametrize("state", ["crashed", "failed", "killed", "running", "preempted"])
def test_runs_that_did_not_end_are_named(wandb, state):
    path = wandb()
    path.write_text(path.read_text().replace('"run-1","finished"', f'"run-1","{state}"'))
    curves = load_curves(path)
    assert len(curves) == 3
    assert f"1 run {state}: run-1" in curves.flags.detail.tolist()


@pytest.mark.parametrize(
    "row, detail",
    [
        (("gpt2", "", 4.0), "1 run without a train_size: run-4"),
        (("", 800, 4.0), "1 run without a model: run-4"),
        (("gpt2", 800, ""), "1 run without eval/loss: run-4"),
        (("gpt2", 800, "NaN"), "1 run without a finite eval/loss: run-4"),
        (("gpt2", 800, "Infinity"), "1 run without a finite eval/loss: run-4"),
    ],
)
def test_runs_with_a_gap_are_named(wandb, row, detail):
    curves = load_curves(wandb([*RUNS, row]))
    assert curves.wide().to_dict() == LOSSES
    assert detail in curves.flags.detail.tolist()


def test_no_run_with_a_size_is_one_line(wandb):
    with pytest.raises(ValueError, match=r"no run .* 4 runs without a train_size.*max_train_sampl"):
        load_curves(wandb(size="n_rows"))


@pytest.mark.parametrize(
    "row, message",
    [
        (("gpt2", "many", 4.0), "`train_size` must be a whole number, got 'many' in run 'run-4'"),
        (("gpt2", "0.5", 4.0), "`train_size` must be a whole number, got '0.5'"),
        (("gpt2", "800", "low"), "`eval/loss` must be a number, got 'low' in run 'run-4'"),
        (("gpt2", "800", "-1"), "`test_loss` must be > 0 nats; row 5"),
        (("gpt2", "400", "4.0"), "once per"),
    ],
)
def test_faulty_cells_are_one_line(wandb, row, message):
    with pytest.raises(ValueError, match=message):
        load_curves(wandb([*RUNS, row]))


def test_seeds_and_parameters_are_read(wandb):
    path = wandb(
        [(m, n, x) for m, n, x in RUNS for _ in "ab"],
        seed=[0, 1] * 4,
        **{"model/num_parameters": [124e6] * 4 + ["350M"] * 4},
    )
    curves = load_curves(path)
    assert curves.frame.seed.nunique() == 2
    assert curves.n_params().tolist() == [124e6, 350e6]


def test_two_data_sets_are_two_tasks(wandb):
    path = wandb(dataset_name=["news", "news", "mail", "mail"])
    assert load_curves(path).tasks == ["news", "mail"]


def test_a_score_is_read_on_request(wandb):
    path = wandb(**{"eval/accuracy": [0.6, 0.62, 0.7, 0.72]})
    curves = load_curves(path, metric="accuracy")
    assert curves.metric.name == "accuracy"
    assert curves.metric.score_of(curves.at(400)).tolist() == pytest.approx([0.62, 0.72])


def test_a_pattern_reads_names_of_runs(wandb):
    path = wandb(size="epochs")
    text = path.read_text()
    for i, (model, n, _) in enumerate(RUNS):
        text = text.replace(f'"run-{i}"', f'"{model}-{n}"')
    path.write_text(text)
    assert load_curves(path, pattern="{model}-{train_size}").wide().to_dict() == LOSSES
    with pytest.raises(ValueError, match="does not match 'gpt2-200'"):
        load_curves(path, pattern="{model}_{train_size}")


@pytest.mark.parametrize(
    "more, options, message",
    [
        ({"test/loss": [1, 1, 1, 1]}, {}, "`eval_set` must say .* eval/loss and test/loss"),
        ({}, dict(eval_set="news"), "no column eval/news_loss or eval_news_loss; it holds"),
        (
            {},
            dict(metric="f1"),
            "`metric` must be a score that the runs hold, .* no column eval/f1",
        ),
        ({}, dict(decimal=","), r"`decimal` has no meaning where .* is an export \(W&B table"),
    ],
)
def test_what_is_in_doubt_is_one_line(wandb, more, options, message):
    with pytest.raises(ValueError, match=message):
        load_curves(wandb(**more), **options)


def test_named_evaluation_sets(wandb):
    path = wandb(loss="eval/news_loss", **{"eval/mail_loss": [9, 9, 9, 9]})
    assert load_curves(path, eval_set="news").wide().to_dict() == LOSSES
    assert load_curves(path, eval_set="mail").at(200).tolist() == [9, 9]
    with pytest.raises(ValueError, match="it holds eval/news_loss, eval/mail_loss"):
        load_curves(path)


def test_hostile_names_stay_text(wandb, capsys):
    path = wandb([*RUNS, ("=HYPERLINK(1)\x1b[31m", 200, "x1")])
    assert exit_code(["data", str(path)]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_table_of_ones_own_is_no_export(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("model,train_size,test_loss,Name\na,200,3.0,x\n")
    assert export_kind(path) == ""
    assert load_curves(path).at(200)["a"] == 3.0


def test_an_own_table_with_columns_of_mlflow_stays_one(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("run_id,params.lr,model,train_size,test_loss,test_loss_se\nx,1,a,200,3,0.1\n")
    assert load_curves(path).frame.test_loss_se.tolist() == [0.1]


def test_families_are_read(wandb):
    assert load_curves(wandb(model_family=["A", "A", "B", "B"])).filter(family="B").models == [
        "opt"
    ]


# W&B, chart


def test_chart_takes_the_best_after_step_0(chart):
    path = chart({name: points | {0: 5.0} for name, points in CURVES.items()})
    curves = load_curves(path, pattern="{model}-{train_size}")
    assert curves.wide().to_dict("list") == {0: [5.0], 200: [4.4], 400: [4.2]}
    assert "W&B chart, smallest eval/loss after step 0" in curves.source


def test_step_0_of_calls_is_left_out_and_named(chart):
    path = chart({name: points | {0: 1.0} for name, points in CURVES.items()}, axis="Step")
    curves = load_curves(path, pattern="{model}-{train_size}")
    assert curves.wide().to_dict("list") == {200: [4.4], 400: [4.2]}
    assert "values at Step 0 of 2 runs are left out" in curves.flags.detail.tolist()


def test_a_chart_of_many_runs_is_read_once_for_all_of_them(chart, monkeypatch):
    calls = []

    def counted(path):
        calls.append(path)
        return text_table(path)

    monkeypatch.setattr("lensllm.curves.exports.text_table", counted)
    curves = {f"m{i}-{size}": {10: 4.5, 20: 4.4} for i in range(8) for size in (200, 400)}
    exported_runs(chart(curves, axis="Step"), "{model}-{train_size}")
    assert len(calls) == 1


def test_means_of_a_chart_are_named(chart):
    curves = load_curves(chart(CURVES, spread=0.1), pattern="{model}-{train_size}")
    assert "columns that hold means: 2, such as gpt2-200" in curves.flags.detail.tolist()


def test_a_chart_without_pattern_suggests_one(chart):
    with pytest.raises(
        ValueError, match=r"`pattern` must say .* such as '\{model\}-\{train_size\}"
    ):
        load_curves(chart(CURVES))


def test_a_chart_of_training_losses_is_refused(chart):
    with pytest.raises(ValueError, match="training losses are not used"):
        load_curves(chart(CURVES, measure="train/loss"), pattern="{model}-{train_size}")


def test_a_chart_of_scores_takes_the_highest(chart):
    path = chart({"gpt2-200": {10: 0.7, 20: 0.6}}, measure="eval/accuracy")
    curves = load_curves(path, pattern="{model}-{train_size}", metric="accuracy")
    assert curves.metric.score_of(curves.at(200)["gpt2"]) == pytest.approx(0.7)


# MLflow


@pytest.mark.parametrize("name, more", [("runs.csv", 0.01), ("mlruns", 0.0)])
def test_mlflow_writes_what_is_read(name, more):
    curves = load_curves(MLFLOW / name)
    wide = curves.wide()
    assert wide.loc["gpt2", [200, 400]].tolist() == pytest.approx([2.9 + more, 2.7 + more])
    assert wide.loc["opt", [200, 400]].tolist() == pytest.approx([2.7 + more, 2.5 + more])
    assert "1 run failed: opt crashed" in curves.flags.detail.tolist()


def test_store_knows_the_untrained_model_and_deleted_runs():
    curves = load_curves(MLFLOW / "mlruns")
    assert curves.at(0).tolist() == [4.4, 4.4]
    assert "1 run deleted: deleted" in curves.flags.detail.tolist()


@pytest.mark.parametrize("name", ["runs.csv", "mlruns"])
def test_mlflow_scores(name):
    curves = load_curves(MLFLOW / name, metric="accuracy")
    assert curves.metric.score_of(curves.at(400)).tolist() == pytest.approx([0.64, 0.64])


def test_one_experiment_of_a_store():
    (experiment,) = [p for p in (MLFLOW / "mlruns").iterdir() if p.is_dir()]
    assert load_curves(experiment).models == load_curves(MLFLOW / "mlruns").models


def test_two_experiments_are_refused(tmp_path):
    store = tmp_path / "mlruns"
    shutil.copytree(MLFLOW / "mlruns", store)
    (experiment,) = [p for p in store.iterdir() if p.is_dir()]
    shutil.copytree(experiment, store / "77")
    for meta in (store / "77").rglob("meta.yaml"):
        meta.write_text(meta.read_text().replace(experiment.name, "77"))
    with pytest.raises(ValueError, match="must hold one experiment, or a column task"):
        load_curves(store)


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("metrics/eval_loss", "1796059242586 4.4", "must be time, value, step"),
        ("metrics/eval_loss", "1796059242586 x 3", "`eval_loss` must be a number"),
        ("meta.yaml", "- a\n", "must be YAML with the fields of a run"),
        ("meta.yaml", "!!python/object/apply:os.system [exit]", "must be YAML"),
        ("params/train_size", "many", "`train_size` must be a whole number"),
    ],
)
def test_a_broken_store_is_one_line(tmp_path, file, text, message):
    store = tmp_path / "mlruns"
    shutil.copytree(MLFLOW / "mlruns", store)
    whole = [p for p in store.rglob("meta.yaml") if (p.parent / "metrics" / "eval_loss").is_file()]
    (whole[0].parent / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        load_curves(store)


# The command


def test_data_prints_the_source(wandb, capsys):
    assert exit_code(["data", str(wandb())]) == 0
    assert "W&B table of runs, last eval/loss of each run" in capsys.readouterr().out


def test_select_reads_an_export(wandb, capsys):
    rows = [(m, n, x / n**0.1) for m, x in (("a", 9), ("b", 8)) for n in (200, 400, 800, 1600)]
    assert exit_code(["select", str(wandb(rows)), "--target", "12800"]) == 0
    assert "b" in capsys.readouterr().out


def test_the_command_names_its_own_options(chart, capsys):
    assert exit_code(["select", str(chart(CURVES)), "--target", "800"]) == 2
    assert "`--pattern` must say" in capsys.readouterr().err
