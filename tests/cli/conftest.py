"The command in this process, and small tables, models and studies to run it on."

import contextlib
import io
import json
import pydoc_data.topics
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

TABLES = {
    "mine.csv": "model,200,400,800,1600\nsmall,3.1,3.0,2.9,2.8\nbig,3.0,2.95,2.9,2.86\n",
    "three.csv": (
        "model,n_params,200,400,800\n"
        "small,6e7,3.1,3.0,2.9\nmiddle,3e8,3.05,2.97,2.9\nbig,3e9,3.0,2.9,2.79\n"
    ),
    "short.csv": "model,200,400,800\na,3,2.5,2.2\nb,3.1,2.6,2.5\n",
    "apart.csv": "model,200,400,800\na,2,1.5,1.2\nb,9,8.5,8.2\n",
    "accuracies.csv": (
        "model,n_params,200,400,800,1600\na,1e8,60,62,64,66\nb,1e8,59,61,66,69\nc,1e8,61,62,63,64\n"
    ),
    "scores.csv": (
        "model,n_params,train_size,accuracy\n"
        "a,1e8,200,60\na,1e8,400,62\na,1e8,800,64\na,1e8,1600,66\n"
        "b,1e8,200,59\nb,1e8,400,61\nb,1e8,800,66\nb,1e8,1600,69\n"
        "c,1e8,200,61\nc,1e8,400,62\nc,1e8,800,63\nc,1e8,1600,64\n"
    ),
    "long.csv": (
        "model,train_size,accuracy\na,200,54.05\na,400,60.12\na,800,66.27\na,1600,71.55\n"
        "a,3200,76.18\na,6400,79.81\na,12800,82.93\na,25600,85.27\n"
    ),
    "both.csv": (
        "model,train_size,test_loss,accuracy\n"
        "a,200,2.1,61\na,400,2,63.9\na,800,1.91,66.4\n"
        "b,200,2.2,58.3\nb,400,2.02,63.5\nb,800,1.85,67.9\n"
        "c,200,2.3,54.1\nc,400,2.15,60.2\nc,800,1.92,66.3\n"
    ),
    "fractions.csv": "model,train_size,accuracy\na,200,.60\na,400,.62\nb,200,.59\nb,400,.63\n",
    "mixed.csv": "model,200,400\na,60,.7\nb,61,71\n",
    "own.csv": (
        "model,train_size,quality\n"
        "a,200,.60\na,400,.62\na,800,.64\nb,200,.59\nb,400,.63\nb,800,.67\n"
    ),
    "units.csv": (  # d is in another unit
        "model,n_params,200,400,800\n"
        "a,1e8,3,2.8,2.5\nb,1e8,3.1,2.9,2.6\nc,1e8,3.2,3.0,2.7\nd,1e8,.033,.031,.028\n"
    ),
    "zero.csv": "model,n_params,0\na,1e8,4\nb,1e8,4\nhuge,1e11,4\n",
    "bad.csv": "model,train_size,test_loss\na,200,-1\nb,200,2\n",
    "named.csv": "query,answer\na,b\n",
    "wide.csv": "model,n_params,200,400,800\na,1e8,3,2.5,n/k\nb,1e8,3,2.6,2.5\n",
    "nameless.csv": "name,200,400\na,3,2.5\nb,3,2.6\n",
    "holes.csv": "model,n_params,200,400,800\na,1e8,3,,2.2\nb,1e8,3,,\nc,1e8,3,2.6,2.5\n",
}


@dataclass(frozen=True)
class Call:
    "What a call of the command came to."

    code: int
    out: str
    err: str

    @property
    def json(self):
        assert self.code == 0, self.err
        return json.loads(self.out)


@pytest.fixture(scope="session")
def lensllm():
    "Run the command as a shell would, in this process."
    from lensllm.cli.app import main

    def call(*args):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with pytest.raises(SystemExit) as left:
                main([str(arg) for arg in args])
        return Call(left.value.code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def tables(tmp_path_factory):
    "A folder with small tables, sound and faulty ones."
    folder = tmp_path_factory.mktemp("tables")
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def in_tables(tables, monkeypatch):
    "The working directory holds the tables."
    monkeypatch.chdir(tables)
    return tables


@pytest.fixture(scope="session")
def lines():
    "Lines of Python's manual, none of them twice."
    topics = pydoc_data.topics.topics.values()
    stripped = (line.strip() for topic in topics for line in topic.splitlines())
    return list(dict.fromkeys(line for line in stripped if len(line) > 20 and line.isascii()))[:600]


@pytest.fixture(scope="session")
def models(tmp_path_factory, lines):
    "A folder with small models of random weights, and texts beside them."
    import torch
    from lensllm._internal.tiny import tiny_model
    from lensllm.models.loading import character_tokenizer

    folder = tmp_path_factory.mktemp("models")
    alphabet = character_tokenizer("".join(map(chr, range(32, 127))))
    saved = {
        "lm": tiny_model("gpt2", seed=0, vocab=99),
        "half": tiny_model("gpt2", seed=0, vocab=99).to(torch.bfloat16),
        "t5": tiny_model("t5", seed=0, vocab=99),
    }
    for name, model in saved.items():
        model.save_pretrained(folder / name)
        alphabet.save_pretrained(folder / name)
    topic = pydoc_data.topics.topics["exprlists"].splitlines()
    texts = {
        "lines.txt": [line for line in topic if line.strip()],
        "seen.txt": lines[:400],
        "unseen.txt": lines[400:],
        "few.txt": [line[:40] for line in lines[:30]],
        "odd.txt": ["aaa", "aaa", "ÿÿÿ bb"],
    }
    for name, rows in texts.items():
        (folder / name).write_text("\n".join(rows) + "\n")
    (folder / "named.csv").write_text(TABLES["named.csv"])
    pairs = [(line[:12], line[12:40]) for line in lines[:400] if line[12:40].strip()]
    (folder / "task.jsonl").write_text(
        "".join(json.dumps(dict(prompt=prompt, target=target)) + "\n" for prompt, target in pairs)
    )
    return folder


@pytest.fixture
def in_models(models, monkeypatch):
    "The working directory holds the models."
    monkeypatch.chdir(models)
    return models


@pytest.fixture(scope="session")
def begun_study(lensllm, tmp_path_factory):
    "A study whose runs are made elsewhere: `small` has three losses, `large` has failed."
    folder = tmp_path_factory.mktemp("elsewhere") / "study"
    candidates = ("--candidate", "small=1e8", "--candidate", "large=1e9")
    calls = [
        ("plan", folder, *candidates, "--budget", "30%", "--target", 12800),
        ("tell", folder, "small", 0, 4.9),
        ("tell", folder, "small", 100, 3.5),
        ("tell", folder, "small", 200, 3.1),
        ("tell", folder, "large", 100, "--failed", "out of memory"),
    ]
    for args in calls:
        done = lensllm(*args)
        assert (done.code, done.err) == (0, ""), done.err
    return folder


@pytest.fixture
def study(begun_study, tmp_path):
    "A copy of that study, to be changed."
    return Path(shutil.copytree(begun_study, tmp_path / "study"))
