"Result files of lm-evaluation-harness: scores, standard errors, tasks and filters."

import json

import pytest
from lensllm.cli.app import exit_code
from lensllm.curves.table import load_curves

ARC = {"arc_easy": {"alias": "arc_easy", "acc,none": 0.5, "acc_stderr,none": 0.02}}
GSM = {
    "gsm8k": {
        "exact_match,strict-match": 0.25,
        "exact_match_stderr,strict-match": 0.01,
        "exact_match,flexible-extract": 0.5,
        "exact_match_stderr,flexible-extract": "N/A",
    }
}


@pytest.fixture
def write(tmp_path):
    "Write a result file where the harness puts it: below a folder made of the model's path."

    def written(folder, results, date="2026-01-02T03-04-05.678901", **more):
        made = f"runs__{folder.replace('/', '__')}"
        found = dict(results=results, model_name_sanitized=made, config={}) | more
        path = tmp_path / "results" / folder / made / f"results_{date}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
        return path

    return written


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


def score(curves, size=200, model="a"):
    return curves.metric.score_of(curves.at(size)[model])


def test_scores_come_with_their_standard_errors(write, results):
    write("a/200", ARC)
    curves = load_curves(results, metric="acc")
    assert score(curves) == 0.5
    assert curves.frame.test_loss_se.tolist() == [0.02]
    assert "largest eval_acc after training, from 1 × results_*.json" in curves.source


def test_size_0_is_a_folder_too(write, results):
    write("a/0", ARC)
    write("a/200", ARC)
    assert load_curves(results, metric="acc").sizes == [0, 200]


def test_without_a_standard_error_the_test_examples_tell_it(write, results):
    counts = {"gsm8k": {"original": 1319, "effective": 400}}
    write("a/200", GSM, **{"n-samples": counts})
    curves = load_curves(results, metric="exact_match", eval_set="gsm8k,flexible-extract")
    assert score(curves) == 0.5
    assert curves.frame.test_loss_se.tolist() == pytest.approx([0.025])


def test_filters_are_evaluation_sets(write, results):
    write("a/200", GSM)
    assert score(load_curves(results, metric="exact_match", eval_set="gsm8k,strict-match")) == 0.25
    with pytest.raises(ValueError, match="gsm8k,strict-match, gsm8k,flexible-extract; choose one"):
        load_curves(results, metric="exact_match")


def test_tasks_are_evaluation_sets(write, results):
    both = ARC | {"hellaswag": {"acc,none": 0.3, "acc_stderr,none": 0.1}}
    write("a/200", both)
    curves = load_curves(results, metric="acc", eval_set="hellaswag")
    assert (score(curves), curves.frame.test_loss_se.tolist()) == (0.3, [0.1])
    with pytest.raises(ValueError, match="choose one by `eval_set`, such as arc_easy"):
        load_curves(results, metric="acc")


def test_a_group_is_named_before_its_tasks(write, results):
    tasks = {"anatomy": {"acc,none": 0.1}, "mmlu": {"acc,none": 0.2}}
    write("a/200", tasks, groups={"mmlu": {"acc,none": 0.2}})
    with pytest.raises(ValueError, match="such as mmlu$"):
        load_curves(results, metric="acc")


def test_runs_on_two_tasks_are_refused(write, results):
    write("a/200", ARC)
    write("b/200", {"hellaswag": {"acc,none": 0.3}})
    with pytest.raises(ValueError, match="`eval_set` must say which .* arc_easy and .* hellaswag"):
        load_curves(results, metric="acc")


def test_two_evaluations_of_one_run_must_agree(write, results):
    write("a/200", ARC)
    write("a/200", ARC, date="2026-01-03T03-04-05.678901")
    assert score(load_curves(results, metric="acc")) == 0.5
    write("a/200", {"arc_easy": {"acc,none": 0.6}}, date="2026-01-04T03-04-05.678901")
    with pytest.raises(ValueError, match="move the older one away"):
        load_curves(results, metric="acc")


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "`metric` must name a score, .* holds no losses; say which, such as acc"),
        (dict(metric="f1"), "holds eval_arc_easy_acc, eval_acc, and no eval_f1"),
        (dict(metric="acc", eval_set="mmlu"), "`metric` must be in every log"),
    ],
)
def test_what_is_not_there_is_one_line(write, results, options, message):
    write("a/200", ARC)
    with pytest.raises(ValueError, match=message):
        load_curves(results, **options)


def test_patterns_name_the_folders(write, results):
    write("a-200/seed-1", ARC)
    curves = load_curves(results, pattern="{model}-{train_size}/seed-{seed}", metric="acc")
    assert curves.frame[["model", "train_size", "seed"]].values.tolist() == [["a", 200, 1]]


@pytest.mark.parametrize(
    "text", ['{"results": {"a": 1}}', '{"results": []}', "[1]", "{", "[" * 100_000, "\x00"]
)
def test_other_files_of_such_a_name_are_none_of_ours(write, results, text):
    write("a/200", ARC)
    (results / "results_summary.json").write_text(text)
    assert len(load_curves(results, metric="acc")) == 1


@pytest.mark.parametrize(
    "value, message",
    [
        ([1], "`eval_acc` must be a number"),
        (7.0, "must be in percent or in fractions"),
        (float("nan"), "NaN, infinite or null"),
    ],
)
def test_faulty_scores_are_one_line(write, results, value, message):
    write("a/200", {"arc_easy": {"acc,none": value, "acc_stderr,none": 0.1}})
    write("a/400", ARC)
    with pytest.raises(ValueError, match=message):
        load_curves(results, metric="acc")


@pytest.mark.parametrize("error", ["N/A", None, [1], -0.1, "x"])
def test_a_faulty_standard_error_is_said_or_left_open(write, results, error):
    write("a/200", {"arc_easy": {"acc,none": 0.5, "acc_stderr,none": error}})
    try:
        curves = load_curves(results, metric="acc")
    except ValueError as fault:
        assert "test_loss_se" in str(fault) and "\n" not in str(fault)
    else:
        assert curves.frame.test_loss_se.isna().all()


def test_select_reads_them(write, results, capsys):
    for model, top in (("a", 0.5), ("b", 0.6)):
        for size in (200, 400, 800, 1600):
            acc = {"acc,none": top + size**0.3 / 100, "acc_stderr,none": 0.01}
            write(f"{model}/{size}", {"arc_easy": acc})
    assert exit_code(["select", str(results), "--metric", "acc", "--target", "12800"]) == 0
    assert "b" in capsys.readouterr().out
