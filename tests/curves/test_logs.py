"Which log of a folder, and which evaluation of a log, speaks for a run."

import json
import math

import pytest
from lensllm.curves.logs import run_rows, suggested_pattern
from lensllm.curves.table import load_curves, load_trainer_states


def state(*losses, start=None, **rest):
    "A Trainer's state with one evaluation per ten steps, and one before training."
    log = [dict(eval_loss=loss, step=10 * (i + 1)) for i, loss in enumerate(losses)]
    if start is not None:
        log.insert(0, dict(eval_loss=start, step=0))
    return json.dumps(dict(global_step=10 * len(losses), log_history=log) | rest)


def entries(*log):
    "A Trainer's state with these entries."
    return json.dumps(dict(log_history=log))


@pytest.fixture
def folder(tmp_path):
    "Write files below a folder called runs; a name without an ending is a folder of a run."

    def write(files):
        for name, text in files.items():
            path = tmp_path / "runs" / name
            if "." not in path.name or path.name.startswith("0."):
                path = path / "trainer_state.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "runs"

    return write


GOOD = state(3.2, 3.1)


def llamafactory(*losses):
    "Lines of a `trainer_log.jsonl` as LlamaFactory writes them."
    rest = dict(total_steps=40, lr=1e-4, percentage=50.0, elapsed_time="0:00:10")
    lines = []
    for i, loss in enumerate(losses):
        lines.append(dict(current_steps=10 * i + 5, loss=1.0, epoch=0.5 * i) | rest)
        lines.append(dict(current_steps=10 * i + 10, eval_loss=loss, epoch=0.5 * i) | rest)
    return "".join(json.dumps(line) + "\n" for line in lines)


# Which log


@pytest.mark.parametrize(
    "files, loss",
    [
        ({"a/200": GOOD, "a/200/checkpoint-10": state(3.2), "a/200/checkpoint-20": GOOD}, 3.1),
        ({"a/200": state(3.2), "a/200/checkpoint-20": GOOD}, 3.1),
        ({"a/200": GOOD, "a/200/tmp-checkpoint-30": state(3.2, 3.1, 1.0)}, 3.1),
        ({"a/200/checkpoint-20": GOOD, "a/200/tmp-checkpoint-30": state(1.0)}, 3.1),
        ({"a/200": GOOD, ".trash/a/200": state(1.0)}, 3.1),
        ({"a/200": GOOD, "a/200/eval_results.json": '{"eval_loss": 1.0}'}, 3.1),
        ({"a/200/trainer_log.jsonl": '{"current_steps": 5, "eval_loss": 3.1}\n\n'}, 3.1),
        ({"a/200/eval_results.json": '{"eval_loss": 3.1, "epoch": 3}'}, 3.1),
        ({"a/200/all_results.json": '{"eval_loss": 3.1, "train_loss": 1}'}, 3.1),
        (
            {
                "a/200": entries(dict(train_loss=1.0, step=5)),
                "a/200/eval_results.json": '{"eval_loss": 3.1}',
            },
            3.1,
        ),
        ({"a/200": b"\xef\xbb\xbf" + GOOD.encode()}, 3.1),
    ],
)
def test_one_log_speaks_for_a_run(folder, files, loss):
    assert load_curves(folder(files)).wide().to_dict() == {200: {"a": loss}}


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a/200": GOOD, "a/200/checkpoint-50": state(2, 2, 2, 2, 2)}, "are logs of two; move"),
        ({"a/200": GOOD, "a/200 copy": GOOD}, "200 copy/.* does not lie where"),
        ({"a/200": GOOD, "a/200/old": GOOD}, "old/.* does not lie where"),
        ({"a/200": GOOD, "backup/a/200": GOOD}, "must tell runs apart"),
        ({"a/200": GOOD, "a/00200": GOOD}, "must tell runs apart"),
        ({"a/200": GOOD, "a/0.2k": GOOD}, "must tell runs apart"),
        ({"a/200/42": GOOD, "a/200/43": GOOD}, "two folders look like sizes"),
        ({"a/200/seed-1": GOOD}, "is '{model}/{train_size}/seed-{seed}' meant"),
        ({"a/200/tmp-checkpoint-10": GOOD}, "is '{model}/{train_size}/\\*' meant"),
        ({"x/y/a/200": GOOD}, "is '\\*/\\*/{model}/{train_size}' meant"),
        ({"a/1.000/x.json": "", "a/1.000/trainer_state.json": GOOD}, "it may be 1 or 1000"),
        ({"a/200/train_results.json": "{}"}, r"\(train_results.json are no logs\)"),
    ],
)
def test_a_folder_that_does_not_decide_is_refused(folder, files, message):
    with pytest.raises(ValueError, match=message):
        load_curves(folder(files))


def test_models_of_two_organisations_are_two(folder):
    files = {"x/a/200": GOOD, "y/a/200": state(3.0), "gpt2/200": state(2.9)}
    assert load_curves(folder(files)).at(200).to_dict() == {"gpt2": 2.9, "x/a": 3.1, "y/a": 3.0}


def test_seeds_are_runs_of_their_own(folder):
    place = folder({f"a/200/{seed}": state(3.0 + seed / 10) for seed in (0, 2)})
    curves = load_curves(place, pattern="{model}/{train_size}/{seed}")
    assert list(curves.frame.seed) == [0, 2]
    assert curves.at(200)["a"] == pytest.approx(3.1)


def test_the_folder_of_one_model_or_run_is_read(folder):
    place = folder({"a/200": GOOD})
    assert load_curves(place / "a").models == ["a"]
    assert load_curves(place / "a" / "200").sizes == [200]


def test_a_file_in_a_folder_of_two_numbers_is_refused(folder):
    place = folder({"a/200/42": GOOD}) / "a/200/42/trainer_state.json"
    with pytest.raises(ValueError, match="two folders look like sizes"):
        load_trainer_states([place])


def test_the_source_says_which_logs_speak(folder):
    source = load_curves(folder({"a/200": GOOD, "b/200": GOOD})).source
    assert source.endswith("runs: smallest eval_loss after training, from 2 × trainer_state.json")


def test_a_crashed_training_raises_a_doubt(folder):
    place = folder({"a/200/checkpoint-20": state(3.2, 3.1, max_steps=100)})
    flags = load_curves(place).flags
    assert "ends at step 20" in flags.detail[flags.flag == "unfinished"].iloc[0]


@pytest.mark.parametrize(
    "parts, pattern",
    [
        (("gpt2", "200", "seed-1"), "{model}/{train_size}/seed-{seed}"),
        (("gpt2", "200", "42"), "{model}/{train_size}/{seed}"),
        (("opt-1.3b-200",), "{model}-{train_size}"),
        (("gpt2", "gpt2_200"), "*/{model}_{train_size}"),
        (("gpt2", "n200"), "{model}/n{train_size}"),
        (("200", "gpt2"), "{train_size}/{model}"),
        (("a", "b"), ""),
    ],
)
def test_a_pattern_is_suggested_from_the_folders(parts, pattern):
    assert suggested_pattern(parts) == pattern


# Which entry


def test_step_0_is_the_untrained_model(folder):
    place = folder({"a/200": state(3.2, start=2.0), "a/400": state(3.1, start=2.0)})
    assert load_curves(place).wide().to_dict("list") == {0: [2.0], 200: [3.2], 400: [3.1]}


def test_epoch_0_is_the_untrained_model_where_steps_are_missing(folder):
    log = entries(dict(eval_loss=2.0, epoch=0.0), dict(eval_loss=3.0, epoch=1.0))
    assert load_curves(folder({"a/200": log})).wide().to_dict("list") == {0: [2.0], 200: [3.0]}


def test_different_starts_leave_size_0_out(folder):
    place = folder({"a/200": state(3.2, start=5.0), "a/400": state(3.1, start=4.0)})
    curves = load_curves(place)
    assert curves.sizes == [200, 400]
    assert "different starts" in set(curves.flags.flag)
    assert "different starts" in set(curves.up_to(200).flags.flag)


def test_a_folder_of_size_0_speaks_for_the_untrained_model(folder):
    place = folder({"a/0": entries(dict(eval_loss=5.0, step=0)), "a/200": state(3.2, start=5.01)})
    assert load_curves(place).at(0)["a"] == 5.0


@pytest.mark.parametrize(
    "log, message",
    [
        (entries(dict(eval_loss=5.0, step=0)), "evaluated at step 0 alone"),
        (entries(), "holds no evaluation"),
        (entries(dict(loss=1.0, step=5)), "holds loss only; training losses are not used"),
        (entries(dict(eval_mail_loss=1.0)), "the evaluation sets mail; choose one by `eval_set`"),
    ],
)
def test_a_log_without_an_evaluation_after_training_is_refused(folder, log, message):
    with pytest.raises(ValueError, match=message):
        load_curves(folder({"a/200": log}))


def test_a_size_0_folder_with_steps_is_refused(folder):
    with pytest.raises(ValueError, match="names 0 examples"):
        load_curves(folder({"a/0": GOOD}))


def test_a_resumed_training_replaces_what_it_did_again(folder):
    steps = [(10, 3.2), (20, 2.0), (30, 1.9), (20, 2.9), (30, 2.8)]
    log = entries(*(dict(step=step, eval_loss=loss) for step, loss in steps))
    assert load_curves(folder({"a/200": log})).at(200)["a"] == 2.8


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "NaN", 10**400])
def test_an_evaluation_without_a_loss_does_not_speak(folder, value):
    log = entries(dict(eval_loss=3.3, step=10), dict(eval_loss=value, step=20))
    place = folder({"a/200": log})
    assert load_curves(place).at(200)["a"] == 3.3
    with pytest.raises(ValueError, match="the last evaluation of .* is NaN, infinite or null"):
        load_trainer_states(place, take="last")


def test_a_loss_in_quotes_is_read(folder):
    assert (
        load_curves(folder({"a/200": entries(dict(eval_loss="3.3", step=1))})).at(200)["a"] == 3.3
    )


@pytest.mark.parametrize(
    "entry, message",
    [
        (dict(eval_loss="low"), "`eval_loss` must be a number, got low in entry 2 of .*a/200"),
        (dict(eval_loss="3,1"), "got 3,1 in entry 2"),
        (dict(eval_loss=True), "got True in entry 2"),
        (dict(eval_loss=[1]), "got \\[1\\] in entry 2"),
        (dict(eval_loss=0), "every label may be masked"),
        (dict(eval_loss=-0.1), "another kind of loss"),
        (dict(eval_loss=3, step="10"), "`step` must be a whole number >= 0, got 10 in entry 2"),
        (dict(eval_loss=3, step=-1), "`step` must be"),
        (dict(eval_loss=3, step=True), "`step` must be"),
        (dict(eval_loss=3, step=math.nan), "`step` must be"),
        ([3], "entry 2 is a list, no object"),
        (None, "entry 2 is a NoneType, no object"),
    ],
)
def test_an_entry_is_checked_before_it_is_used(folder, entry, message):
    log = entries(dict(eval_loss=3.3, step=10), entry)
    with pytest.raises(ValueError, match=message):
        load_curves(folder({"a/200": log}))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[1]", "it is a list, no object"),
        ("null", "it is a NoneType, no object"),
        ("{}", "a list `log_history`, but holds none"),
        ('{"log_history": {}}', "but has a dict"),
        ('{"log_history": "x"}', "but has a str"),
        (GOOD[:-20], "not complete or not valid"),
        ("", "not complete or not valid"),
        ("[" * 100_000, "nested too deeply"),
        ('{"log_history": [{"eval_loss": ' + "9" * 5000 + "}]}", "not valid"),
        (GOOD.encode("utf-16"), "in UTF-8"),
    ],
)
def test_an_odd_state_file_is_one_line(folder, text, message):
    with pytest.raises(ValueError, match=message) as raised:
        load_curves(folder({"a/200": text}))
    assert "\n" not in str(raised.value)


def test_a_line_of_a_jsonl_log_is_named(folder):
    text = '{"eval_loss": 3}\n{"curr'
    with pytest.raises(ValueError, match="trainer_log.jsonl must be .* in line 2"):
        load_curves(folder({"a/200/trainer_log.jsonl": text}))


def test_a_named_set_is_read_beside_an_unnamed_one(folder):
    place = folder({"a/200": entries(dict(eval_loss=3.0, step=9), dict(eval_x_loss=2.0, step=9))})
    assert load_curves(place).at(200)["a"] == 3.0
    assert load_curves(place, eval_set="x").at(200)["a"] == 2.0
    with pytest.raises(ValueError, match="got 'y'; .* holds x, and eval_loss without a name"):
        load_curves(place, eval_set="y")


# Unit


@pytest.mark.parametrize(
    "beside, unit",
    [
        (dict(), "nats"),
        (dict(perplexity=math.exp(3.1)), "nats/token"),
        (dict(perplexity=2.0), "nats"),
        (dict(perplexity="x"), "nats"),
        (dict(eval_mean_token_accuracy=0.5), "nats/token"),
        (dict(eval_accuracy=0.5), "nats"),
        ({"eval_rewards/margins": 1.0}, "nats"),
    ],
)
def test_a_unit_per_token_is_known_or_not_said(folder, beside, unit):
    log = entries(dict(eval_loss=3.1, step=10) | beside)
    assert load_curves(folder({"a/200": log})).unit == unit


def test_a_perplexity_in_the_results_tells_the_unit_of_the_log(folder):
    results = json.dumps(dict(eval_loss=3.1, perplexity=math.exp(3.1)))
    place = folder({"a/200": GOOD, "a/200/eval_results.json": results})
    assert load_curves(place).unit == "nats/token"


@pytest.mark.parametrize("key", ["eval_accuracy", "eval_f1", "eval_rewards/margins", "eval_rouge1"])
def test_another_kind_of_loss_is_doubted(folder, key):
    log = entries({"eval_loss": 0.5, "step": 10, key: 0.5})
    doubt = run_rows(folder({"a/200": log})).doubts[0]
    assert (doubt[0], key in doubt[3]) == ("another kind", True)


def test_a_loss_too_large_for_a_token_is_doubted(folder):
    runs = run_rows(folder({"a/200": state(1200.0)}))
    assert (runs.unit, runs.doubts[0][0]) == ("nats", "another kind")


def test_folders_of_seeds_are_no_models(folder):
    with pytest.raises(ValueError, match="seed"):
        load_curves(folder({f"gpt2/seed{i}/{n}": GOOD for i in (0, 1) for n in (200, 400)}))


def test_an_evaluation_that_is_no_number_hides_no_doubt(folder):
    odd = entries(dict(eval_loss=math.nan, step=10), dict(eval_loss=50.0, step=20))
    curves = load_curves(folder({"a/200": odd, "a/400": state(49.0, 48.0)}))
    plain = load_curves(folder({"a/200": state(51.0, 50.0), "a/400": state(49.0, 48.0)}))
    assert set(curves.flags.flag) == set(plain.flags.flag)
    assert curves.unit == plain.unit


def test_a_folder_behind_a_link_is_read_once(folder, tmp_path):
    place = folder({"a/200": GOOD})
    folder({"../elsewhere/b/200": GOOD})
    (place / "b").symlink_to(tmp_path / "elsewhere" / "b")
    (place / "a" / "back").symlink_to(place)  # which leads round in a circle
    assert load_curves(place).models == ["a", "b"]


# LlamaFactory


def test_llamafactory_logs_of_a_layout_of_its_own(folder):
    files = {
        f"{model}/lora/train_{size}/trainer_log.jsonl": llamafactory(loss, loss - 0.1)
        for model, loss in (("gpt2", 3.2), ("opt", 3.0))
        for size in (200, 400)
    }
    curves = load_curves(folder(files), pattern="{model}/lora/train_{train_size}")
    assert curves.at(400).tolist() == pytest.approx([3.1, 2.9])
    assert "4 × trainer_log.jsonl" in curves.source


def test_a_llamafactory_log_that_is_cut_is_named(folder):
    place = folder({"a/200/trainer_log.jsonl": llamafactory(3.2, 3.1)[:-30]})
    with pytest.raises(ValueError, match="in line 4 it is not complete"):
        load_curves(place)


def test_a_llamafactory_run_with_results_alone(folder):
    results = '{"epoch": 3.0, "eval_loss": 3.1, "eval_runtime": 5.2, "train_loss": 2.9}'
    assert load_curves(folder({"a/200/all_results.json": results})).at(200)["a"] == 3.1
