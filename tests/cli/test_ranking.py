"select, fit, compare, learn and data."

import json
import re

import pandas as pd
import pytest
from lensllm.forecast.prior import load_prior


@pytest.fixture(scope="module")
def flan_json(lensllm):
    return lensllm("select", "flan", "--seen", 12800, "--json").json


# select


def test_select_says_what_to_choose_and_how_good_that_was(lensllm):
    done = lensllm("select", "flan", "--seen", 12800)
    assert (done.code, done.err) == (0, "")
    for text in (
        "choose cerebras/Cerebras-GPT-2.7B",
        "true best: facebook/opt-1.3b",
        "relative accuracy 93.2%",
        "cost saved: 98.4%",
        "expected regret",
    ):
        assert text in done.out


def test_select_ends_with_what_to_type_next(lensllm, in_tables):
    (in_tables / "two.csv").write_text("model,n_params,100,200\na,1e6,3.1,3.0\nb,2e6,3.0,2.8\n")
    done = lensllm("select", "two.csv", "--target", 6400)
    last = done.out.rstrip().splitlines()[-1]
    assert last.startswith("next: lensllm plan two.csv --budget 20% --target 6400 says")
    assert lensllm(*last.removeprefix("next: lensllm ").partition(" says")[0].split()).code == 0


def test_nothing_but_all_is_the_whole_cost(lensllm, in_tables):
    (in_tables / "far.csv").write_text("model,n_params,100,200\na,1e6,3.1,3.0\nb,2e6,3.0,2.8\n")
    done = lensllm("select", "far.csv", "--target", 10_000_000)
    assert "cost saved: more than 99.9% of fine-tuning every candidate" in done.out


def test_select_json_fields(flan_json):
    assert list(flan_json) == [
        "task",
        "method",
        "seen",
        "target",
        "ranking",
        "pearson",
        "relative_accuracy",
        "regret",
        "doubts",
        "beliefs",
    ]
    assert flan_json["seen"] == 12800


def test_seen_defaults_to_all_sizes_below_the_target(lensllm):
    assert lensllm("select", "gigaword", "--json").json["seen"] == 819_200
    assert lensllm("select", "gigaword", "--target", "5M", "--json").json["seen"] == 1_638_400


def test_csv_is_the_ranking_of_json(lensllm, flan_json, in_tables):
    done = lensllm("select", "flan", "--seen", 12800, "--csv")
    (in_tables / "ranking.csv").write_text(done.out)
    rows = pd.read_csv("ranking.csv").to_dict("records")
    assert [row["model"] for row in rows] == [row["model"] for row in flan_json["ranking"]]


def test_an_own_file_gets_its_figure_and_its_table(lensllm, in_tables):
    done = lensllm("select", "mine.csv", "--target", 100_000, "--plot", "f.png", "--out", "t.csv")
    assert done.code == 0
    assert "choose small" in done.out
    assert (in_tables / "f.png").stat().st_size > 1000
    columns = ["model", "rank", "predicted_loss", "low", "high", "p_best"]
    assert list(pd.read_csv("t.csv").columns) == columns


def test_a_folder_of_trainer_logs_is_a_table(lensllm, tmp_path):
    for model, fall in dict(a=0.3, b=0.2).items():
        for size in (100, 200, 400):
            log = tmp_path / "logs" / model / str(size) / "trainer_state.json"
            log.parent.mkdir(parents=True)
            log.write_text(json.dumps(dict(log_history=[dict(eval_loss=9 * size**-fall)])))
    ranked = lensllm("select", tmp_path / "logs", "--target", 1600, "--json").json
    assert (ranked["task"], ranked["ranking"][0]["model"]) == ("logs", "a")
    assert lensllm("data", tmp_path / "logs").code == 0


def test_the_folder_of_a_study_is_no_table(lensllm, begun_study):
    refused = lensllm("select", begun_study)
    assert refused.code == 2
    assert "`CURVES` must be a table" in refused.err
    assert "status" in refused.err


def test_a_wide_table_of_accuracies_is_read_as_scores(lensllm, in_tables):
    done = lensllm("select", "accuracies.csv")
    assert "choose b: predicted score " in done.out
    assert "doubt: all: read as scores, most curves rise" in done.out


def test_losses_that_rise_are_doubted(lensllm, in_tables):
    done = lensllm("select", "accuracies.csv", "--metric", "loss")
    assert "choose c, if these are losses: most of the curves rise\n" in done.out


def test_scores_are_shown_in_their_own_unit(lensllm, in_tables):
    done = lensllm("select", "scores.csv", "--seen", 800)
    lines = done.out.splitlines()
    assert lines[0].endswith(" for 1,600; accuracy (%)")
    assert lines[1].split() == [
        *("rank", "model", "predicted_accuracy", "low", "high", "p_best", "true_accuracy")
    ]
    assert re.search(r"choose b: predicted accuracy \d\d\.\d% \[\d\d\.\d, \d\d\.\d\]\n", done.out)
    assert "within 1 point of it" in done.out
    assert "true best: b (69.0%); regret of the choice 0.00 points" in done.out
    assert "nats" not in done.out


def test_scores_are_written_in_their_own_unit(lensllm, in_tables):
    data = lensllm("select", "scores.csv", "--json").json
    assert data["metric"] == dict(name="accuracy", higher_is_better=True, unit="percent")
    assert 60 < data["ranking"][0]["predicted_accuracy"] < 80
    header = lensllm("select", "scores.csv", "--csv").out.splitlines()[0]
    assert header == "model,rank,predicted_accuracy,low,high,p_best"


@pytest.mark.parametrize("gap, words", [("2", "within 2 points of it"), ("1", "within 1 point of")])
def test_a_gap_is_in_the_unit_of_the_table(lensllm, in_tables, gap, words):
    assert words in lensllm("select", "scores.csv", "--within", gap).out


def test_fits_of_scores_are_read_as_scores(lensllm, in_tables):
    call = ("fit", "long.csv", "--law", "rectified", "--target", 51200)
    done = lensllm(*call)
    assert done.out.splitlines()[0].endswith("read at 51,200; accuracy (%)")
    assert "parameters are those of the error (1 - accuracy)" in done.out
    row = lensllm(*call, "--json").json["rows"][0]
    assert row["low"] < row["predicted_accuracy"] < row["high"] <= 100


def test_a_score_of_an_own_name_is_read_with_its_direction(lensllm, in_tables):
    refused = lensllm("select", "own.csv")
    assert refused.code == 2
    assert "--metric NAME" in refused.err
    done = lensllm("select", "own.csv", "--metric", "quality", "--higher-is-better")
    assert "choose b: predicted quality 0." in done.out


@pytest.mark.parametrize("read, beside", [("loss", "accuracy"), ("accuracy", "test_loss")])
def test_loss_and_score_say_what_each_would_choose(lensllm, in_tables, read, beside):
    call = ("select", "both.csv", "--target", 12800, "--method", "ats", "--metric")
    lines = lensllm(*call, read).out.splitlines()
    mine = lensllm(*call, read, "--json").json
    other = lensllm(*call, beside.removeprefix("test_"), "--json").json["ranking"][0]["model"]
    assert mine["beside"] == dict(measure=beside, choice=other)
    assert any(line.startswith(f"by {beside}") and line.endswith(other) for line in lines)


@pytest.mark.parametrize(
    "args, message",
    [
        (["mixed.csv", "--metric", "f1"], "must be in percent or in fractions, got 0.7 and 60"),
        (["scores.csv", "--metric", "bleu"], "`--metric` must be a column of the table, got bleu"),
        (["scores.csv", "--n-test", "0"], "--n-test"),
        (["flan", "--metric", "accuracy"], "`--metric` has no meaning where flan is a shipped"),
        (["mine.csv", "--percent"], "must come with its direction"),
        (["scores.csv", "--within", "-1"], "`--within` must be >= 0"),
    ],
)
def test_a_mistake_about_scores_is_one_line(lensllm, in_tables, args, message):
    refused = lensllm("select", *args)
    assert refused.code == 2
    assert message in refused.err
    assert refused.err.count("\n") == 1


def test_data_shows_scores(lensllm, in_tables):
    out = lensllm("data", "scores.csv").out
    assert "accuracy (%)" in out.splitlines()[0]
    assert "first_accuracy last_accuracy" in out


def test_people_see_one_doubt_about_each_model(lensllm, in_tables):
    lines = lensllm("select", "units.csv", "--target", 12800).out.splitlines()
    models = [line.split(":")[1] for line in lines if line.startswith("doubt")]
    assert models
    assert len(models) == len(set(models))


def test_nothing_is_certain(lensllm, in_tables):
    done = lensllm("select", "apart.csv")
    assert re.search(r"with probability more than 99 ?%", done.out)


@pytest.mark.parametrize("old", ["--budget", "-b"])
@pytest.mark.parametrize("command", ["select", "fit"])
def test_the_old_name_of_seen_is_refused_with_the_new_one(lensllm, command, old):
    refused = lensllm(command, "flan", old, 12800)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.count("\n") == 1
    assert "`--budget` is a share of the cost" in refused.err
    assert "write --seen 12800" in refused.err


# fit


def test_fit_prints_parameters_with_errors(lensllm):
    done = lensllm("fit", "flan", "--model", "gpt2", "--seen", 102400)
    assert (done.code, done.err) == (0, "")
    assert "rectified" in done.out
    assert "D_l = " in done.out
    assert "±" in done.out


def test_fit_json_and_csv_hold_parameters_and_interval(lensllm, in_tables):
    call = ("fit", "flan", "--model", "gpt2", "--seen", 102400)
    (row,) = lensllm(*call, "--json").json["rows"]
    assert list(row["params"]) == ["B", "D_l", "beta", "E"]
    assert row["low"] < row["predicted_loss"] < row["high"]
    (in_tables / "fit.csv").write_text(lensllm(*call, "--csv").out)
    assert pd.read_csv("fit.csv").beta_se[0] == pytest.approx(row["params"]["beta"]["stderr"])


def test_fit_draws_one_fit(lensllm, in_tables):
    call = ("fit", "mine.csv", "--plot", "fit.png")
    assert lensllm(*call, "--model", "big").code == 0
    assert (in_tables / "fit.png").stat().st_size > 1000
    assert "`--plot` draws one fit, got 2" in lensllm(*call, "--force").err


# compare


def test_compare_json_has_a_row_per_method_and_ratio(lensllm):
    rows = lensllm(
        "compare", "flan", "-m", "ats", "-m", "subtuning", "--ratios", "8,512", "--json"
    ).json["rows"]
    assert list(rows[0]) == [
        "task",
        "method",
        "ratio",
        "seen_train_size",
        "target_train_size",
        "pearson",
        "relative_accuracy",
        "spearman",
        "kendall",
        "regret",
        "rmse_log",
        "coverage",
    ]
    assert [(row["method"], row["seen_train_size"]) for row in rows] == [
        ("ats", 204800),
        ("ats", 3200),
        ("subtuning", 204800),
        ("subtuning", 3200),
    ]


def test_compare_leaves_out_methods_that_cannot_read_the_table(lensllm, in_tables):
    done = lensllm("compare", "mine.csv", "--ratios", "2", "--json")
    methods = {row["method"] for row in done.json["rows"]}
    assert methods == {"ats", "posterior", "subtuning"}
    assert "left out zeroshot: `zeroshot` needs a run at train_size 0" in done.err


@pytest.mark.parametrize(
    "args, ratios",
    [
        (("flan", "--target", 12800), {8, 16, 32}),  # flan begins at 200 and 400
        (("short.csv",), {2}),
    ],
)
def test_compare_takes_the_ratios_that_leave_two_sizes(lensllm, in_tables, args, ratios):
    rows = lensllm("compare", *args, "--method", "ats", "--json").json["rows"]
    assert {row["ratio"] for row in rows} == ratios


# learn


def test_an_own_task_joins_the_prior(lensllm, in_tables):
    done = lensllm("learn", "flan", "mine.csv", "--out", "prior.json")
    assert (done.code, done.err) == (0, "")
    assert "mine (2 models, up to 1,600 examples)" in done.out
    losses = []
    for prior in ("generic", "prior.json"):
        ranked = lensllm("select", "gigaword", "--seen", 3200, "--prior", prior, "--json").json
        losses.append(ranked["ranking"][0]["predicted_loss"])
    assert 0 < abs(losses[0] - losses[1]) < 0.2


def test_select_says_what_the_prior_learned_from(lensllm, in_tables):
    records = list(load_prior().records[1:])
    (in_tables / "no-flan.json").write_text(json.dumps(dict(records=records)))
    learned = {}
    for prior in ("transfer", "generic", "no-flan.json"):
        done = lensllm("select", "gigaword", "--seen", 800, "--prior", prior)
        learned[prior] = re.search("prior learned from (.*)", done.out)[1]
    left_out = "(gigaword left out: curves there look like these)"
    assert learned == {
        "transfer": f"flan {left_out}",
        "generic": "no other task",
        "no-flan.json": f"no other task {left_out}",
    }


# data


def test_data_lists_what_ships(lensllm):
    tasks = lensllm("data", "--json").json["tasks"]
    assert {"flan", "gigaword"} <= {task["task"] for task in tasks}


def test_data_warns_of_what_looks_wrong(lensllm, in_tables):
    call = ("data", "accuracies.csv", "--metric", "loss")
    assert lensllm(*call).out.splitlines()[7].startswith("rising task")
    flags = lensllm(*call, "--json").json["flags"]
    assert flags[0]["flag"] == "rising task"
    assert flags[0]["model"] is None or flags[0]["model"] == ""


def test_data_shows_rows_that_cannot_be_read(lensllm, in_tables):
    done = lensllm("data", "bad.csv")
    assert done.code == 2
    assert "row 1 (model a, train_size 200) has -1" in done.out


def test_data_saves_the_tidy_table(lensllm, in_tables):
    done = lensllm("data", "mine.csv", "--save", "tidy.csv")
    assert done.err == "table: tidy.csv\n"
    assert len(pd.read_csv("tidy.csv")) == 8


@pytest.fixture
def chats(tmp_path):
    "A file of forty chats."
    turns = lambda n: [dict(role="user", content=f"{n}?"), dict(role="assistant", content=f"{n}.")]
    lines = [json.dumps(dict(messages=turns(n))) + "\n" for n in range(40)]
    (tmp_path / "chats.jsonl").write_text("".join(lines))
    return tmp_path / "chats.jsonl"


def test_data_shows_three_chats_as_a_model_sees_them(lensllm, chats):
    done = lensllm("data", chats, "--model", "gpt2-mini-manuals")
    assert done.code == 0
    assert done.out.count("</s>]]") == 3
    assert "plainly, since its tokenizer has no chat template" in done.out


def test_data_shows_texts_without_a_model(lensllm, chats):
    found = lensllm("data", chats, "--json").json
    assert found["rows"] == dict(train=32, valid=4, test=4)
    assert len(found["examples"]) == 3
    for example in found["examples"]:
        n = int(example["where"].split()[1]) - 1
        assert example["text"] == f"User:\n{n}?\n\nAssistant:\n[[{n}.]]"


def test_data_shows_a_shipped_task(lensllm):
    done = lensllm("data", "headline", "--model", "t5-german")
    assert done.code == 0 and done.out.count(" -> [[") == 3


@pytest.mark.parametrize(
    "options, message",
    [
        (["--save", "a.csv"], "`--save` has no meaning where"),
        (["--decimal", ","], "`--decimal` has no meaning where"),
        (["--loss-on", "some"], "`--loss-on` must be one of"),
        (["--columns", "text"], "must have columns text"),
    ],
)
def test_data_refuses_what_texts_do_not_have(lensllm, chats, options, message):
    done = lensllm("data", chats, *options)
    assert done.code == 2 and message in done.err


@pytest.mark.parametrize("source", ["flan", None])
def test_data_refuses_a_model_for_curves(lensllm, source):
    done = lensllm("data", *([source] if source else []), "--model", "gpt2-manuals")
    assert done.code == 2 and "`--model` needs texts to train on" in done.err


def test_a_fit_at_its_bound_shows_an_interval_that_does_not_take_it_for_known(lensllm):
    done = lensllm("fit", "flan", "--model", "gpt2", "--seen", 12800)
    assert done.code == 0
    assert "E = 0 (at its bound)" in done.out
    assert "`E` is unknown: any floor from 0 to " in done.out
    predicted, low, high = map(float, done.out.splitlines()[2].split()[2:5])
    assert low < predicted < high


def test_a_method_that_cannot_rank_one_cell_leaves_the_others(lensllm):
    options = ("--method", "rectifiedfit", "--method", "ats", "--ratios", "64,2048")
    done = lensllm("compare", "flan", *options)
    assert done.code == 0
    assert "left out rectifiedfit on flan at 1/2048: " in done.err
    assert "share of true losses within the 90% intervals" in done.out


# bench


def test_a_source_stands_for_its_tasks(lensllm):
    done = lensllm("bench", "mini", "--method", "ats", "--json")
    rows = done.json["rows"]
    assert {row["task"] for row in rows} == {"mini/define", "mini/headline", "mini/translate"}
    assert {row["source"] for row in rows} == {"mini"}


def test_the_bench_shows_a_line_per_method_and_a_dash_for_what_is_not_said(lensllm):
    done = lensllm("bench", "pet/wsc", "--method", "ats", "--method", "subtuning")
    lines = done.out.splitlines()
    assert lines[0] == "pet: 1 task, 4 cells per method"
    assert [line.split()[0] for line in lines[2:]] == ["ats", "subtuning"]
    assert lines[2].split()[2] == "–"  # the standard error over one task


def test_a_mistyped_source_is_told_what_there_is(lensllm):
    done = lensllm("bench", "lcbd")
    assert done.code == 2
    assert "`CURVES` must be a file, got lcbd" in done.err
    assert "lcdb/… (30)" in done.err


def test_runs_that_cost_more_than_the_target_save_nothing(lensllm, in_tables):
    (in_tables / "dear.csv").write_text("model,n_params,100,200\na,1e6,3.1,3.0\nb,2e6,3.0,2.8\n")
    done = lensllm("select", "dear.csv", "--target", 250)
    assert "cost saved: nothing, these runs cost 1.2 times as much as fine-tuning every" in done.out


@pytest.mark.parametrize(
    "asked",
    [
        ["--metric", "accuracy"],
        ["--metric", "quality", "--higher-is-better", "--fraction"],
        ["--task", "t1"],
    ],
)
def test_the_next_line_reads_the_table_in_the_same_way(lensllm, in_tables, asked):
    rows = [
        f"{task},{model},{size},{1e6},{3 - size / 1000},{0.5 + size / 1000},{0.4 + size / 1000}"
        for task in (["t1", "t2"] if "--task" in asked else ["t1"])
        for model in "ab"
        for size in (100, 200)
    ]
    head = "task,model,train_size,n_params,test_loss,accuracy,quality"
    (in_tables / "both.csv").write_text("\n".join([head, *rows]) + "\n")
    done = lensllm("select", "both.csv", "--target", 6400, *asked)
    line = done.out.rstrip().splitlines()[-1].removeprefix("next: lensllm ").partition(" says")[0]
    assert all(word in line.split() for word in asked)
    assert lensllm(*line.split()).code == 0
