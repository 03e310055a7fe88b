"Texts become rows, rows become tasks that do not leak, and tasks become batches."

import gzip
import os
import re

import datasets
import pandas as pd
import pytest
from lensllm.models.loading import character_tokenizer
from lensllm.tune.tasks import TASKS, as_batch, content_key, count_cut, load_rows, load_task
from lensllm.tune.tasks import _is_dataset, split_rows, task_of

ROWS = [(f"question {i}", f"answer {i}") for i in range(200)]


@pytest.mark.parametrize(
    "name, text, rows",
    [
        ("a.txt", "one line\n\nanother\n", [("", "one line"), ("", "another")]),
        ("a.csv", "prompt,target\nsay a,a\n,b\n", [("say a", "a"), ("", "b")]),
        ("a.jsonl", '{"text": "x"}\n{"text": "y"}\n', [("", "x"), ("", "y")]),
        ("p.jsonl", '{"prompt": "a", "target": "b"}\n{"target": "c"}\n', [("a", "b"), ("", "c")]),
        (
            "n.jsonl",  # numbers stay as they were written
            '{"prompt": null, "target": 1}\n{"prompt": 1, "target": 2.5}\n',
            [("", "1"), ("1", "2.5")],
        ),
        (
            "u.jsonl",  # a separator of lines, but not of JSON's
            '{"text": "a line\u2028and on"}\n',
            [("", "a line\u2028and on")],
        ),
    ],
)
def test_files_of_every_kind_become_rows(tmp_path, name, text, rows):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_rows(tmp_path / name) == rows


def test_a_compressed_table_with_named_columns(tmp_path):
    (tmp_path / "z.csv.gz").write_bytes(gzip.compress(b"q,a,x\n1,2,3\n"))
    assert load_rows(tmp_path / "z.csv.gz", columns=("q", "a")) == [("1", "2")]


def test_missing_cells_of_a_parquet_table_are_empty(tmp_path):
    prompts = pd.array([1, None], dtype="Int64")
    pd.DataFrame(dict(prompt=prompts, target=["a", "b"])).to_parquet(tmp_path / "n.parquet")
    assert load_rows(tmp_path / "n.parquet") == [("1", "a"), ("", "b")]


def test_one_named_column_is_the_target(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,target\nsay a,a\n,b\n")
    assert load_rows(tmp_path / "a.csv", columns=["target "]) == [("", "a"), ("", "b")]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("b.csv", b"question,answer\n1,2\n", "has question, answer"),
        ("c.csv", b"prompt,target\na,\n", "row 0 of c.csv has none"),
        ("d.txt", b"\n", "holds none"),
        ("e.jsonl", b"{no json\n", "must be a readable jsonl table"),
        ("f.csv", None, "must be a file"),
        ("a.doc", None, r"must end in \.txt"),
        ("t.txt.gz", b"no archive", r"must be a readable file, got t\.txt\.gz"),
        ("t.txt.xz", b"no archive", r"must be a readable file, got t\.txt\.xz"),
    ],
)
def test_what_cannot_be_rows_is_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_rows(tmp_path / name)


def test_three_columns_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,target\nsay a,a\n")
    with pytest.raises(ValueError, match="`columns` names 3: a, b, c"):
        load_rows(tmp_path / "a.csv", columns=("a", "b", "c"))


@pytest.mark.parametrize("name", ["headline", "translate", "define"])
def test_a_shipped_task_is_large_nested_and_does_not_leak(name):
    task = load_task(name)
    assert len(task.train) + len(task.valid) + len(task.test) >= 30_000
    assert len(task.test) >= 500
    assert task.repeated == 0
    assert task.subset(400)[:200] == task.subset(200)
    set_apart = {content_key(row) for row in task.test + task.valid}
    assert not set_apart & {content_key(row) for row in task.train}


def word_triples(text):
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


@pytest.mark.parametrize("name", ["headline", "translate", "define"])
def test_no_test_row_resembles_a_training_row(name):
    task = load_task(name)
    others = [word_triples(prompt) for prompt, _ in task.train[:3000]]
    for prompt, _ in task.test[:200]:
        row = word_triples(prompt)
        assert max(len(row & other) / len(row | other) for other in others) < 0.5


def test_shipped_tasks_stay_small():
    assert sum(os.path.getsize(path) for path in TASKS.glob("*.xz")) < 15e6


def test_rows_are_counted_and_repetitions_left_out():
    task = split_rows(ROWS[:190] + ROWS[:3], "a")
    assert (len(task.train), len(task.valid), len(task.test)) == (152, 19, 19)
    assert task.repeated == 3


def test_more_rows_move_no_row_to_another_part():
    fewer, more = split_rows(ROWS[:190] + ROWS[:3], "a"), split_rows(ROWS[::-1], "b")
    assert len(more.test) == 20
    assert not set(fewer.test) & set(more.train)
    assert not set(more.test) & set(fewer.train[5:])  # but for where the parts meet


def test_rows_of_one_prompt_stay_together():
    task = split_rows([("same", str(i)) for i in range(50)] + ROWS, "c")
    parts = [part for part in (task.train, task.valid, task.test) if "same" in dict(part)]
    assert len(parts) == 1


def test_given_test_rows_stay_the_test():
    task = split_rows(ROWS[20:], "d", test=ROWS[:20])
    assert set(task.test) == set(ROWS[:20])
    assert (len(task.valid), len(task.train)) == (18, 162)


def test_a_test_row_among_the_others_is_refused():
    message = "`test` must share no row with those to train on, got 'question 1'"
    with pytest.raises(ValueError, match=message):
        split_rows(ROWS, "e", test=[("Question  1", "?")])


def test_a_test_row_among_validation_rows_is_refused():
    message = "share no row with `validation`, by which a state is chosen, got 10 in both"
    with pytest.raises(ValueError, match=message):
        split_rows(ROWS[20:], "e", validation=ROWS[:10], test=ROWS[:10])


def test_one_prompt_cannot_be_parted(tmp_path):
    lines = "\n".join(f"Translate:,{i}" for i in range(500))
    (tmp_path / "same.csv").write_text("prompt,target\n" + lines)
    message = "got 500 different ones in same with 1 different prompts, which are not parted"
    with pytest.raises(ValueError, match=message):
        load_task(tmp_path / "same.csv")


def test_a_subset_larger_than_the_task_is_refused():
    with pytest.raises(ValueError, match="`train_size` must be 1 to 152"):
        split_rows(ROWS[:190], "a").subset(1000)


def test_a_task_of_two_rows_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,target\nsay a,a\n,b\n")
    with pytest.raises(ValueError, match="at least 10 are needed"):
        load_task(tmp_path / "a.csv")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`task` must be a file"):
        load_task(tmp_path / "none.csv")


def test_a_task_from_plain_data_is_read_once(tmp_path):
    (tmp_path / "a.csv").write_text("p,t\n" + "\n".join(f"{p},{t}" for p, t in ROWS))
    source = dict(task=str(tmp_path / "a.csv"), test=None, columns=["p", "t"])
    assert task_of(source) is task_of(source)


@pytest.fixture
def saved(tmp_path):
    "A data set with splits of its own, as `datasets` saves it."
    datasets.disable_progress_bars()
    parts = dict(train=ROWS[40:], test=ROWS[:40])
    datasets.DatasetDict(
        {
            name: datasets.Dataset.from_dict(dict(q=[p for p, _ in part], a=[t for _, t in part]))
            for name, part in parts.items()
        }
    ).save_to_disk(tmp_path / "set")
    return tmp_path / "set"


def test_splits_of_a_data_set_are_respected(saved):
    task = load_task(saved, columns=("q", "a"))
    assert set(task.test) == set(ROWS[:40])
    assert len(task.train) == 144
    assert task.name == "set"


def test_a_data_set_with_other_columns_is_refused(saved):
    with pytest.raises(ValueError, match="must have columns prompt and target, or text"):
        load_task(saved)


@pytest.mark.parametrize(
    "name, answer",
    [
        ("imdb", True),
        ("owner/name-1.5", True),
        ("owner/texts.csv", False),
        ("texts.docx", False),
        ("far/away/texts.x", False),
    ],
)
def test_a_name_of_two_parts_is_a_data_set_unless_it_ends_like_a_file(name, answer):
    assert _is_dataset(name) == answer


TOKENIZER = character_tokenizer("abcdefghij ")


def test_a_batch_reads_the_prompt_and_answers_for_the_target():
    batch = as_batch([("ab", "cd"), ("", "efgh")], TOKENIZER, max_tokens=6)
    answers = [TOKENIZER.decode(row[row != -100]) for row in batch["labels"]]
    assert answers == ["cd</s>", "efgh</s>"]
    first = batch["input_ids"][0][batch["attention_mask"][0] > 0]
    assert TOKENIZER.decode(first) == "abcd</s>"
    assert TOKENIZER.decode(batch["input_ids"][1]) == "</s>efgh</s>"


def test_a_long_prompt_loses_its_beginning():
    batch = as_batch([("abcdef", "ghij")], TOKENIZER, max_tokens=6)
    assert TOKENIZER.decode(batch["input_ids"][0]) == "fghij</s>"
    assert (batch["labels"] != -100).sum() == 5


def test_a_pair_is_cut_on_either_side():
    batch = as_batch([("ab", "cd"), ("a", "efghij")], TOKENIZER, max_tokens=4, pairs=True)
    answers = [TOKENIZER.decode(row[row != -100]) for row in batch["labels"]]
    assert answers == ["cd</s>", "efgh"]


@pytest.mark.parametrize("max_tokens, cut", [(5, 2), (6, 1), (10, 1), (11, 0)])
def test_cut_rows_are_counted(max_tokens, cut):
    rows = [("abcdef", "ghij"), ("a", "b"), ("", "cdef")]
    assert count_cut(rows, TOKENIZER, max_tokens=max_tokens) == cut


@pytest.mark.parametrize("max_tokens, cut", [(4, 1), (7, 0)])
def test_cut_pairs_are_counted(max_tokens, cut):
    rows = [("ab", "cd"), ("a", "efghij")]
    assert count_cut(rows, TOKENIZER, max_tokens=max_tokens, pairs=True) == cut


def test_a_tokenizer_without_tokens_is_refused():
    class Mute:
        eos_token_id = 1

        def __call__(self, texts, **_):
            return dict(input_ids=[[] for _ in texts])

    with pytest.raises(ValueError, match="was the model's own tokenizer saved with it"):
        as_batch([("", "a")], Mute())
