"Texts become rows, rows become tasks that do not leak, and tasks become batches."

import datetime
import gzip
import lzma
import os
import re
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from lensllm.models.loading import character_tokenizer
from lensllm.tune import tasks
from lensllm.tune.chats import Chat
from lensllm.tune.tasks import TASKS, as_batch, content_key, count_cut, load_rows, load_task
from lensllm.tune.tasks import _is_dataset, split_rows, task_of
from pyarrow import parquet

CASES = Path(__file__).resolve().parents[1] / "cases"
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
        ("b.csv", b"query,reply\n1,2\n", "has query, reply"),
        ("c.csv", b"prompt,target\na,\n", r"row 1 of c\.csv \(line 2\) has none"),
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


def test_four_columns_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("prompt,target\nsay a,a\n")
    with pytest.raises(ValueError, match="`columns` names 4: a, b, c, d"):
        load_rows(tmp_path / "a.csv", columns=("a", "b", "c", "d"))


# Files from the field: each is read whole, or refused by row.


def chat(user, assistant, *system):
    return Chat((*[("system", text) for text in system], ("user", user), ("assistant", assistant)))


READ = {  # file -> rows, and the last of them
    "14_chat_jsonl/alpaca.json": (40, chat("Translate word 39\n\nw39", "v39")),
    "14_chat_jsonl/alpaca.jsonl": (40, chat("Translate word 39\n\nw39", "v39")),
    "14_chat_jsonl/messages.jsonl": (40, chat("What is 39 plus 39?", "It is 78.", "Be short.")),
    "14_chat_jsonl/sharegpt.jsonl": (40, chat("Name 39", "N39")),
    "14_chat_jsonl/prompt_completion_conv.jsonl": (40, chat("Say 39", "39")),
    "14_chat_jsonl/prompt_target_conv.jsonl": (40, chat("Say 39", "39")),
    "14_chat_jsonl/prompt_completion.jsonl": (40, ("Say 39", "39")),  # TRL's names
    "15_text_oddities/bom.jsonl": (40, ("Say 39", "word 39")),
    "15_text_oddities/cr.txt": (40, ("", "line 19 100%")),
    "15_text_oddities/ff.txt": (20, ("", "line 19 first\x0csecond")),
    "15_text_oddities/fs.txt": (20, ("", "line 19 first\x1csecond")),
    "15_text_oddities/nel.txt": (20, ("", "line 19 first\x85second")),
    "15_text_oddities/ls.txt": (20, ("", "line 19 first\u2028second")),
    "15_text_oddities/three_lines.txt": (3, ("", "line three")),
    "15_text_oddities/twelve_lines.txt": (12, ("", "line 12 first\u2028second half 12")),
    "15_text_oddities/zw.txt": (1, ("", "real text here")),
    "15_text_oddities/int_target.jsonl": (40, ("Say 39", "39")),
    "15_text_oddities/nul.jsonl": (40, ("null byte", "a\x00b")),
    "15_text_oddities/spaces.csv": (40, ("say 39", " word 39")),
    "15_text_oddities/unbalanced2.tsv": (40, ("say 39", "word 39")),
    "29_lone_surrogate/surrogate.jsonl": (40, ("cut emoji", "nice \ufffd")),
    "29_lone_surrogate/surrogate_prompt.jsonl": (40, ("cut \ufffd", "nice")),
}
REFUSED = {  # file -> what the error says
    "14_chat_jsonl/dpo.jsonl": "has prompt, chosen, rejected",
    "15_text_oddities/array.jsonl": "line 1 of array.jsonl is no JSON object",
    "15_text_oddities/bad_line.jsonl": "line 21 of bad_line.jsonl is no JSON object",
    "15_text_oddities/bool_target.jsonl": "row 1 of bool_target.jsonl holds false in column target",
    "15_text_oddities/dict_target.jsonl": "holds an object with text, answer_start in",
    "15_text_oddities/list_target.jsonl": "row 1 of list_target.jsonl holds a list of 2",
    "15_text_oddities/latin1.csv": "latin1.csv has the byte 0xe9 in line 2",
    "15_text_oddities/nan.jsonl": "row 40 of nan.jsonl has none",
    "15_text_oddities/null.jsonl": "row 40 of null.jsonl has none",
    "15_text_oddities/one_array_line.jsonl": "line 1 of one_array_line.jsonl holds a list of 40",
    "15_text_oddities/scalar_lines.jsonl": "line 1 of scalar_lines.jsonl holds the text 'text 0'",
    "15_text_oddities/semicolon.csv": "has prompt;target; a comma parts the cells of .csv",
    "15_text_oddities/trailing_comma.jsonl": "without commas between",
    "15_text_oddities/unbalanced.csv": "unbalanced.csv has one in line 7 that does not",
    "15_text_oddities/upper.csv": "has Prompt, Target",
}


@pytest.mark.parametrize("name", READ)
def test_a_file_from_the_field_is_read_whole(name):
    rows = load_rows(CASES / name)
    assert (len(rows), rows[-1]) == READ[name]


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_from_the_field_is_refused_by_row(name):
    with pytest.raises(ValueError, match=re.escape(REFUSED[name])) as refusal:
        load_rows(CASES / name)
    assert str(refusal.value).startswith("`DATA` must ") and "\n" not in str(refusal.value)


def test_every_file_from_the_field_is_tried():
    folders = ("14_chat_jsonl", "15_text_oddities", "29_lone_surrogate")
    there = {f"{folder}/{path.name}" for folder in folders for path in (CASES / folder).iterdir()}
    assert there == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize(
    "name, content, rows",
    [
        ("a.txt", "\ufeffone\r\ntwo\rthree\x1dx\n", ["one", "two", "three\x1dx"]),
        ("a.csv", "\ufefftext\na\n", ["a"]),
        ("a.tsv", "\ufefftext\na\n", ["a"]),
        ("A.CSV", "text\na\n", ["a"]),
        ("a.csv", 'text\n"a, ""b""\nc"\n\nd\n', ['a, "b"\nc', "d"]),
        ("a.csv", "id, text ,\n1,a,\n2,b,\n", ["a", "b"]),  # blanks around a name
        ("a.csv", "text,id\na,1,\nb,2,,\n", ["a", "b"]),  # one delimiter more per row
        ("a.csv", "text,text\u2028\na,b\n", None),  # U+2028 is a blank: the name comes twice
        ("a.csv", "text\nnull\nNaN\n1.10\n", ["null", "NaN", "1.10"]),  # words
        ("a.csv", "text\n" + "x" * 200_000 + "\n", ["x" * 200_000]),
        ("a.tsv", 'id\ttext\n1\t"a\n2\tb"\n', ['"a', 'b"']),  # no cell of two lines
        ("a.tsv", 'id\ttext\n1\t5" disk\n2\t"b" c\n', ['5" disk', '"b" c']),
        ("a.tsv", 'id\ttext\n1\t"a\tb"\n', ["a\tb"]),
        ("a.jsonl", '{"text": 1.10}\n{"text": 1e400}\n{"text": -0}\n', ["1.10", "1e400", "-0"]),
        ("a.jsonl", '{" text": "a"}\n\n{"text ": "b", "x": 1}\n', ["a", "b"]),
        ("a.jsonl", '{"text": "\\ud83d\\ude00"}\n', ["\U0001f600"]),  # both halves: a text
        ("a.jsonl", '{"text": "' + "9" * 5000 + '"}\n', ["9" * 5000]),
        ("a.jsonl", '\ufeff{"text": "a"}\n\ufeff{"text": "b"}\n', ["a", "b"]),  # two files in one
    ],
)
def test_a_text_is_read_as_it_was_written(tmp_path, name, content, rows):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    if rows is None:
        with pytest.raises(ValueError, match="must name a column once"):
            load_rows(tmp_path / name)
        return
    assert [target for _, target in load_rows(tmp_path / name)] == rows


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "prompt,target\nq,a\n\nq, b, c\n", r"row 2 of a\.csv \(line 4\) has 3"),
        ("a.csv", "prompt,target\nq\n", r"row 1 of a\.csv \(line 2\) has 1"),
        ("a.csv", "prompt,target,target\nq,a,b\n", r"a\.csv has 2 named target"),
        ("a.csv", 'prompt,target\nq,"a\nq,b"\n', "a quote of line 2 would swallow"),
        ("a.csv", 'prompt,target\nq,"a" b\n', r"one in line 2 that does not"),
        ("a.tsv", "prompt\ttarget\nq\ta\tb\n", r"row 1 of a\.tsv \(line 2\) has 3"),
        ("a.csv", "prompt,target\nq,\u200b\n", "must have a target in every row"),
        ("a.csv", "text\na\0b\n", "has a NUL in line 2"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', "row 1 of a.jsonl holds two values in column"),
        ("a.jsonl", '{"text": Infinity}\n', "holds the number inf"),
        ("a.jsonl", '{"text": []}\n', "holds a list of 0"),
        (
            "a.jsonl",
            '{"text": "a"}\n\n{"text": true}\n',
            r"row 2 of a\.jsonl \(line 3\) holds true",
        ),
        ("a.jsonl", '{"text": "a"}\n\n{"text": }\n', r"line 3 of a\.jsonl is no JSON object"),
        ("a.jsonl", "[" * 100_000, "line 1 of a.jsonl is nested"),
        ("a.jsonl", '{"target": "a", "prompt": "b", "completion": "c"}', "target and completion"),
        ("a.jsonl", '{"text": "a\x0cb"}', "line 1 of a.jsonl is no JSON object"),
        ("a.jsonl", "", "a.jsonl holds none"),
        ("a.csv", "", "a.csv holds none"),
        ("a.csv", "text\n", "a.csv holds none"),
    ],
)
def test_a_row_that_is_no_text_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    with pytest.raises(ValueError, match=message):
        load_rows(tmp_path / name)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "text\nä\n".encode("utf-16"), "is in UTF-16"),
        ("a.txt", "ä\n".encode("utf-16-be"), "has a NUL in line 1: is it UTF-16|byte"),
        ("a.jsonl", '{"text": "a"}'.encode("utf-16-le"), "has a NUL in line 1: is it UTF-16"),
        ("a.tsv", "text\na\né\n".encode("latin-1"), "has the byte 0xe9 in line 3"),
        ("a.csv", gzip.compress(b"text\na\n"), r"is compressed by gzip: let its name end in \.gz"),
        ("a.csv", b"PK\x03\x04\xff", "is an archive"),
        ("a.csv.gz", gzip.compress(b"text\na\n" * 999)[:-20], "must be a readable file"),
        ("a.jsonl.gz", gzip.compress(b"")[:10] + b"\x07" * 30, "must be a readable file"),
        ("a.csv.xz", lzma.compress(b"text\na\n")[:-9], "must be a readable file"),
        ("a.parquet", b"PAR1 no more", "must be a readable parquet table"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_text_in_utf_8_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"`task` .*({message})"):
        load_task(tmp_path / name)


@pytest.mark.parametrize(
    "cells, result",
    [
        (["a", None], "must have a text in every row, row 2"),
        ([1, 2], ["1", "2"]),
        ([1.5], "row 1 of p.parquet holds the number 1.5 in column text"),
        ([True], "holds true"),
        ([["a"]], "holds a list of 1"),
        ([dict(a=1)], "holds an object with a"),
        ([b"a"], "holds a bytes"),
        ([datetime.date(2024, 1, 2)], "holds a date"),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    ],
)
def test_cells_of_a_parquet_table_are_texts(tmp_path, cells, result):
    parquet.write_table(pa.table(dict(text=cells)), tmp_path / "p.parquet")
    if isinstance(result, list):
        assert [target for _, target in load_rows(tmp_path / "p.parquet")] == result
        return
    with pytest.raises(ValueError, match=result):
        load_rows(tmp_path / "p.parquet")


def test_whole_numbers_with_gaps_stay_whole(tmp_path):
    parquet.write_table(pa.table(dict(prompt=[1, None], target=["a", "b"])), tmp_path / "n.parquet")
    assert load_rows(tmp_path / "n.parquet") == [("1", "a"), ("", "b")]


@pytest.mark.parametrize(
    "columns, error, message",
    [
        ("text", TypeError, "`columns` must be a list of names, got 'text'"),
        (3, TypeError, "`columns` must be a list of names, got 3"),
        ([], ValueError, "`columns` must be names of columns"),
        (["text", ""], ValueError, "`columns` must be names of columns"),
        ([1], ValueError, "`columns` must be names of columns"),
        (["text", " text"], ValueError, "`columns` must be two columns, got text twice"),
        (["a\nb"], ValueError, "must have columns"),
    ],
)
def test_columns_are_names(tmp_path, columns, error, message):
    (tmp_path / "a.csv").write_text("text\na\n")
    with pytest.raises(error, match=message):
        load_rows(tmp_path / "a.csv", columns=columns)


@pytest.mark.parametrize("path", [None, 3, ["a.csv"], True])
def test_a_path_is_a_path(path):
    with pytest.raises(TypeError, match="`DATA` must be the path of a file"):
        load_rows(path)
    with pytest.raises(TypeError, match="`task` must be the name of a task"):
        load_task(path)


def test_a_text_instead_of_its_file_is_refused():
    with pytest.raises(ValueError, match="`DATA` must"):
        load_rows("a long text " * 1000 + ".txt")


@pytest.mark.parametrize(
    "rows, error, message",
    [
        ("text", TypeError, "`rows` must be a list of .* pairs, got 'text'"),
        (["text"], TypeError, "got 'text' as row 1"),
        ([("a", "b"), ("a", 1)], TypeError, r"got \('a', 1\) as row 2"),
        ([("a", "b", "c")], TypeError, "as row 1; a row without a prompt is"),
        ([("a", "b\ud83d")], ValueError, "row 1 holds half of a surrogate pair"),
    ],
)
def test_rows_are_pairs_of_texts(rows, error, message):
    for function in (lambda: as_batch(rows, TOKENIZER), lambda: split_rows(rows, "a")):
        with pytest.raises(error, match=message):
            function()


@pytest.mark.parametrize("n", [True, 1.5, "2", None])
def test_a_subset_has_a_whole_number_of_rows(n):
    with pytest.raises(TypeError, match="`train_size` must be a whole number"):
        split_rows(ROWS[:190], "a").subset(n)


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


def test_words_of_a_folder_of_csv_stay_words(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    (tmp_path / "set").mkdir()
    lines = [f"{word} {i},NA" for i in range(20) for word in ("a", "b")] + ["NA,null"]
    (tmp_path / "set" / "train.csv").write_text("prompt,target\n" + "\n".join(lines))
    task = load_task(tmp_path / "set")
    assert ("NA", "null") in task.train + task.valid + task.test


def test_chats_of_a_data_set_are_refused_by_row(tmp_path):
    chat = [dict(role="user", content="a")]
    datasets.disable_progress_bars()
    rows = dict(prompt=["a", "b"], target=[chat, chat])
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "set")
    with pytest.raises(
        ValueError, match="row 1 of .* split train holds the text .a. in column prompt"
    ):
        load_task(tmp_path / "set")


def test_a_data_set_with_other_columns_is_refused(saved):
    with pytest.raises(ValueError, match="must have columns prompt and target, text, or messages"):
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


def test_a_folder_of_other_things_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "_MOST_FILES", 3)
    for name in "abcd":
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="a folder of at most 3 files, got more in"):
        load_task(tmp_path)


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


def test_an_odd_quote_takes_no_quotes_off_other_cells(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('prompt\ttarget\n"He said ""hi"""\tyes\n"odd\tno\n')
    with pytest.raises(ValueError, match="quotes that pair up"):
        load_rows(path)


def test_inches_in_a_table_of_tabs_are_text(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('prompt\ttarget\n"a 5\tx\n12" disk\ty\n')
    assert load_rows(path) == [('"a 5', "x"), ('12" disk', "y")]
