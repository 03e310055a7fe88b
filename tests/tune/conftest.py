"Small models and tasks that they can learn: what the tests of this package share."

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: sums in one order are the same sums

import pytest
import transformers
from lensllm._internal.tiny import tiny_model
from lensllm.models.loading import character_tokenizer
from lensllm.tune.recipe import Recipe
from lensllm.tune.tasks import split_rows

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
WORDS = "zero one two three four five six seven eight nine".split()
DIGITS = [(a, b) for a in range(10) for b in range(10)]


@pytest.fixture(scope="session")
def alphabet():
    return character_tokenizer(" abcdefghijklmnopqrstuvwxyz0123456789")


@pytest.fixture(scope="session")
def save_candidate(alphabet):
    "A function that saves a small model with its tokenizer in a folder, and returns its path."

    def save(folder, name, arch, tokens=32, **sizes):
        model = tiny_model(arch, seed=0, vocab=len(alphabet), tokens=tokens, **sizes)
        model.save_pretrained(folder / name)
        alphabet.save_pretrained(folder / name)
        return folder / name

    return save


@pytest.fixture(scope="session")
def places(tmp_path_factory, save_candidate):
    "A causal model and an encoder-decoder."
    folder = tmp_path_factory.mktemp("places")
    return {arch: save_candidate(folder, arch, arch, tokens=64) for arch in ("gpt2", "t5")}


@pytest.fixture(scope="session")
def counting():
    "A task that small models learn from few examples."
    in_words = [(f"{a}{b} {WORDS[a]}", f"{WORDS[b]} {WORDS[(a + b) % 10]}") for a, b in DIGITS]
    in_digits = [(f"{a} {b} {i}", WORDS[(a + b) % 10]) for a, b in DIGITS for i in range(8)]
    return split_rows(in_words + in_digits, "counting")


@pytest.fixture(scope="session")
def recipe():
    return Recipe(rate=1e-2, passes=6, least_steps=40)


@pytest.fixture(scope="session")
def write_sums():
    "A function that writes a file of sums, and returns its path."

    def write(path):
        rows = [(f"{a} {b} {i}", WORDS[(a + b) % 10]) for a, b in DIGITS for i in range(6)]
        lines = [json.dumps(dict(prompt=prompt, target=target)) for prompt, target in rows]
        path.write_text("".join(line + "\n" for line in lines))
        return path

    return write


def table_of(study):
    "What must come out the same, however it came."
    columns = ["model", "train_size", "seed", "state", "test_loss", "test_loss_se", "price"]
    runs = study.store.runs().sort_values(["model", "train_size"])
    return runs[columns].reset_index(drop=True)


@pytest.fixture(scope="session")
def result_table():
    return table_of
