"Scores of a model's answers: labels ranked, answers generated, and what is refused."

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from lensllm.curves.scores import Metric
from lensllm.models.loading import load_model
from lensllm.tune import evaluation
from lensllm.tune.chats import Chat
from lensllm.tune.evaluation import (
    MetricError,
    Scoring,
    generate_answers,
    longest_answer,
    rank_labels,
    score_answers,
    scoring_of,
    scoring_tokens,
    task_labels,
)
from lensllm.tune.tasks import encode, encode_prompts, split_rows

WORDS = "zero one two three four five six seven eight nine".split()
PROMPTS = [(f"{a} {b} {i}", WORDS[a]) for a in range(10) for b in range(10) for i in range(3)]
TEXTS = [(f"say {a} {b}", f"{WORDS[a]} {WORDS[b]}") for a in range(10) for b in range(10)]
ARCHS = ("gpt2", "llama", "mamba", "t5", "bart")
OWN = """
import statistics

def rows(answers, targets):
    return [float(a == t) for a, t in zip(answers, targets)]

def one_number(answers, targets):
    return statistics.fmean(rows(answers, targets))

def percent(answers, targets):
    return 100 * one_number(answers, targets)

def raises(answers, targets):
    raise KeyError("no such word")

def nan(answers, targets):
    return [float("nan")] * len(answers)

def shape(answers, targets):
    return [1.0, 0.5]

def text(answers, targets):
    return "very good"

def negative(answers, targets):
    return -0.5

constant = 1.0
"""


@pytest.fixture(scope="module")
def naming():
    return split_rows(PROMPTS, "naming")


@pytest.fixture(scope="module")
def texts():
    return split_rows(TEXTS, "texts")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, save_candidate):
    "A function from the kind of a model to one with random weights, and its tokenizer."
    folder = tmp_path_factory.mktemp("models")
    return lambda arch: load_model(save_candidate(folder, arch, arch, tokens=64), device="cpu")


@pytest.fixture
def own(tmp_path, texts):
    "A function from the name of a function in a file to how it scores."
    (tmp_path / "own.py").write_text(OWN)

    def scoring(name, **options):
        metric = Metric(f"{tmp_path / 'own.py'}:{name}", higher_is_better=True)
        return scoring_of(replace(metric, **options), texts)

    return scoring


def refused(text, kind=ValueError):
    return pytest.raises(kind, match=re.escape(text))


# labels


def log_probability(model, tokenizer, row):
    "That of a causal model's target and its end, token by token."
    [(ids, labels)] = encode([row], tokenizer)
    with torch.no_grad():
        table = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), 1)
    return sum(table[i - 1, label].item() for i, label in enumerate(labels) if label != -100)


def test_labels_have_the_log_probability_of_their_tokens(loaded, naming):
    model, tokenizer = loaded("gpt2")
    rows = naming.test[:3]
    by_hand = [[log_probability(model, tokenizer, (row[0], w)) for w in WORDS] for row in rows]
    np.testing.assert_allclose(rank_labels(model, tokenizer, rows, WORDS), by_hand, rtol=1e-4)


@pytest.mark.parametrize("arch", ARCHS)
def test_labels_do_not_depend_on_the_batch(loaded, naming, arch):
    model, tokenizer = loaded(arch)
    rows = [*naming.test[:4], ("a longer prompt than the others", "one")]
    together = rank_labels(model, tokenizer, rows, WORDS)
    alone = np.concatenate([rank_labels(model, tokenizer, [row], WORDS) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_the_last_answer_of_a_chat_is_ranked(loaded):
    model, tokenizer = loaded("gpt2")
    chat = Chat((("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")), "all")
    last = Chat((*chat.turns[:-1], ("assistant", "five")))
    [(ids, labels)] = encode([last], tokenizer)
    asked = [token for token in labels if token != -100]
    assert tokenizer.decode(asked, skip_special_tokens=True) == "five"
    found = rank_labels(model, tokenizer, [chat], ["two", "five"])
    np.testing.assert_allclose(found[0, 1], log_probability(model, tokenizer, last), rtol=1e-4)


def test_labels_that_are_the_same_tokens_are_refused(loaded, naming):
    model, tokenizer = loaded("gpt2")
    with refused("`labels` must differ as tokens, the tokenizer makes the same of 'ä' and 'ö'"):
        rank_labels(model, tokenizer, naming.test, ["ä", "ö"])


def test_a_task_of_few_targets_has_labels(naming, texts):
    assert task_labels(naming) == tuple(sorted(WORDS))
    assert task_labels(texts) == ()


def test_accuracy_of_texts_says_what_to_take_instead(texts):
    with refused("kinds, each at least twice in training, got 80 different ones"):
        scoring_of("accuracy", texts)
    with refused("take exact_match, rouge or chrf"):
        scoring_of("accuracy", texts)


def test_a_label_seen_once_is_no_label(naming):
    odd = replace(naming, train=(*naming.train, ("7 7 7", "ten")))
    with refused("got 'ten' only once"):
        scoring_of("accuracy", odd)


def test_an_unseen_label_is_refused_with_its_row(naming):
    odd = replace(naming, test=(*naming.test[:4], ("7 7 7", "ten")))
    with refused("`test` must have labels that training rows have, row 5 of 5 has 'ten'"):
        scoring_of("accuracy", odd)


# generation


def greedy(model, tokenizer, prompt, new_tokens):
    "The most probable token, again and again."
    ids = list(prompt)
    for _ in range(new_tokens):
        with torch.no_grad():
            token = model(torch.tensor([ids])).logits[0, -1].argmax().item()
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)


def test_generation_takes_the_most_probable_tokens(loaded, texts):
    model, tokenizer = loaded("gpt2")
    prompts = encode_prompts(texts.test[:4], tokenizer, max_tokens=64)
    by_hand = [greedy(model, tokenizer, prompt, 9) for prompt in prompts]
    found = generate_answers(model, tokenizer, texts.test[:4], new_tokens=9, max_tokens=64)
    assert found == by_hand


@pytest.mark.parametrize("arch", ARCHS)
def test_answers_do_not_depend_on_the_batch(loaded, texts, arch):
    model, tokenizer = loaded(arch)
    rows = [*texts.test[:4], ("a longer prompt than the others", "one")]
    options = dict(new_tokens=8, max_tokens=64)
    together = generate_answers(model, tokenizer, rows, **options)
    assert together == [generate_answers(model, tokenizer, [r], **options)[0] for r in rows]


@pytest.mark.parametrize("arch", ["gpt2", "t5"])
def test_generation_ends_where_no_end_token_comes(loaded, texts, arch):
    model, tokenizer = loaded(arch)
    never = torch.nn.Linear(model.lm_head.in_features, model.lm_head.out_features)
    torch.nn.init.zeros_(never.weight)
    with torch.no_grad():
        never.bias.copy_(torch.arange(len(never.bias)) == tokenizer.convert_tokens_to_ids("a"))
    model.lm_head = never
    assert generate_answers(model, tokenizer, texts.test[:2], new_tokens=7) == ["a" * 7] * 2


def test_a_long_prompt_leaves_room_for_an_answer(loaded):
    model, tokenizer = loaded("gpt2")
    rows = [("a b " * 50, "x")]
    [answer] = generate_answers(model, tokenizer, rows, new_tokens=60, max_tokens=64)
    assert len(answer) <= 32


def test_a_prompt_ends_where_the_answer_begins(loaded):
    _, tokenizer = loaded("gpt2")
    chat = Chat((("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two")))
    rows = [("ab cd", "one two"), ("", "one"), chat]
    for row, prompt in zip(rows, encode_prompts(rows, tokenizer)):
        [(ids, labels)] = encode([row], tokenizer)
        asked = next(i for i, label in enumerate(labels) if label != -100)
        assert prompt == ids[:asked]


def test_own_settings_of_a_checkpoint_do_not_count(loaded, texts):
    model, tokenizer = loaded("gpt2")
    plain = generate_answers(model, tokenizer, texts.test[:3], new_tokens=6)
    model.generation_config.update(num_beams=3, min_length=40, no_repeat_ngram_size=1)
    assert generate_answers(model, tokenizer, texts.test[:3], new_tokens=6) == plain
    assert model.generation_config.num_beams == 3


def test_the_longest_target_in_training_is_the_limit(loaded, texts):
    _, tokenizer = loaded("gpt2")
    longest = max(len(target) for _, target in texts.train)
    assert longest_answer(texts, tokenizer) == longest + 1
    assert longest_answer(texts, tokenizer, max_tokens=5) == 4


# scores


def test_exact_match_looks_past_blanks_around_an_answer(texts):
    scoring = scoring_of("exact_match", texts)
    assert score_answers(scoring, [" one ", "One"], ["one", "one"])[0] == 50


def test_an_accuracy_has_its_binomial_error(naming):
    scoring, n = scoring_of("accuracy", naming), 400
    score, error = score_answers(scoring, ["one"] * n, ["one"] * 313 + ["two"] * (n - 313))
    np.testing.assert_allclose(score, 78.25)
    np.testing.assert_allclose(error, 100 * np.sqrt(0.7825 * 0.2175 / (n - 1)))


@pytest.mark.parametrize("answer", ["one", "two"])
@pytest.mark.parametrize("metric", ["exact_match", "rouge", "chrf"])
def test_all_right_and_all_wrong_are_not_certain(texts, metric, answer):
    scoring = scoring_of(metric, texts)
    score, error = score_answers(scoring, [answer] * 50, ["one"] * 50)
    right = {"one": 100, "two": 0}.get(answer, score)
    if metric != "chrf":  # which shared letters raise
        assert score == pytest.approx(right)
    assert error > 1


def test_rouge_is_that_of_the_library_on_plain_english(texts):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    pairs = [("The cat sat_on a mat.", "the cat's mat"), ("one two", "two one"), ("", "x")]
    expected = np.mean([scorer.score(target, a)["rougeL"].fmeasure for a, target in pairs])
    found, _ = score_answers(scoring_of("rouge", texts), *map(list, zip(*pairs)))
    np.testing.assert_allclose(found, 100 * expected)


def test_rouge_reads_other_alphabets(texts):
    assert score_answers(scoring_of("rouge", texts), ["Über größere"], ["über größere"])[0] == 100


def test_chrf_is_that_of_the_library(texts):
    metrics = pytest.importorskip("sacrebleu.metrics")
    answers, targets = ["one two tree", "for", "sevn"], ["one two three", "four", "seven"]
    expected = metrics.CHRF().corpus_score(answers, [targets]).score
    np.testing.assert_allclose(
        score_answers(scoring_of("chrf", texts), answers, targets)[0], expected
    )


def test_the_jackknife_of_a_mean_is_its_standard_error(own):
    targets = ["one"] * 20
    answers = ["one"] * 13 + ["two"] * 7
    by_row, by_number = (score_answers(own(f), answers, targets) for f in ("rows", "one_number"))
    np.testing.assert_allclose(by_number, by_row)


def test_a_function_in_percent(own):
    scoring = own("percent", percent=True)
    assert score_answers(scoring, ["one", "two"], ["one", "one"])[0] == 50
    assert scoring.metric.name == "percent" and scoring.name == "own.py:percent"


@pytest.mark.parametrize(
    "name, text",
    [
        ("raises", "it raised KeyError: 'no such word'"),
        ("nan", "got NaN or infinity for row 1"),
        ("shape", "must return a number per row, 10, or one number, got numbers of shape (2,)"),
        ("text", "got 'very good'"),
        ("negative", "must lie between 0 and 1, got -0.5"),
        ("percent", "must lie between 0 and 1, got 100; say --percent"),
        ("constant", "must name a function, own.py has none called constant"),
    ],
)
def test_a_function_that_gives_no_score_is_named(own, name, text):
    with refused(text, MetricError) as caught:
        own(name)
    assert f"own.py:{name}" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_does_not_run_is_named(tmp_path, texts):
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    with refused("must be in a file that runs: ModuleNotFoundError", MetricError):
        scoring_of(Metric(f"{tmp_path / 'broken.py'}:score", True), texts)


@pytest.mark.parametrize(
    "metric, text",
    [
        ("bleurt", "`metric` must be accuracy, exact_match, rouge, chrf, or FILE.py:function"),
        ("nowhere.py:score", "`metric` must be in a file that exists"),
        (Metric("chrf", percent=False), "`metric` chrf is in percent, and higher is better"),
    ],
)
def test_what_is_no_metric_is_refused(texts, metric, text):
    with refused(text):
        scoring_of(metric, texts)


def test_a_function_needs_its_direction(tmp_path, texts):
    (tmp_path / "own.py").write_text(OWN)
    with refused("must come with its direction; say --higher-is-better"):
        scoring_of(f"{tmp_path / 'own.py'}:rows", texts)


@pytest.mark.parametrize("metric, package", [("rouge", "rouge-score"), ("chrf", "sacrebleu")])
def test_a_missing_package_names_the_extra(texts, monkeypatch, metric, package):
    monkeypatch.setattr(evaluation, "find_spec", lambda name: None)
    with refused(f"needs the package {package}, which is not installed; pip install 'lensllm[sc"):
        scoring_of(metric, texts)


# what it costs


@pytest.mark.parametrize("pairs", [False, True])
def test_each_label_costs_a_reading(loaded, naming, pairs):
    _, tokenizer = loaded("gpt2")
    found = scoring_tokens(naming, scoring_of("accuracy", naming), tokenizer, pairs=pairs)
    prompts = sum(len(WORDS) * len(row[0]) for row in naming.test) / len(naming.test)
    labels = sum(len(word) + 1 for word in WORDS)
    one_more = len(WORDS) if pairs else 0  # the prompt of an encoder-decoder has its own end
    assert found == ([prompts + one_more, labels] if pairs else [prompts + labels, 0])


@pytest.mark.parametrize("pairs", [False, True])
def test_an_answer_costs_its_longest_length(loaded, texts, pairs):
    _, tokenizer = loaded("gpt2")
    found = scoring_tokens(texts, scoring_of("exact_match", texts), tokenizer, pairs=pairs)
    prompt = np.mean([len(row[0]) for row in texts.test]) + pairs
    longest = longest_answer(texts, tokenizer)
    np.testing.assert_allclose(found, [prompt, longest] if pairs else [prompt + longest, 0])


def test_a_file_that_is_gone_is_no_fault_of_the_candidate(tmp_path):
    path = tmp_path / "gone.py"
    scoring = Scoring(f"{path}:score", Metric("score", True, False))
    texts = ["a", "b"]
    with pytest.raises(MetricError, match="must be in a file that exists"):
        score_answers(scoring, texts, texts)


def test_a_long_prompt_takes_no_room_from_others():
    model, tokenizer = load_model("opt-bible", device="cpu")
    rows = [("a", "x"), ("b " * 120, "x"), ("c d", "x")]
    options = dict(new_tokens=100, max_tokens=128)
    together = generate_answers(model, tokenizer, rows, **options)
    assert together == [generate_answers(model, tokenizer, [row], **options)[0] for row in rows]
