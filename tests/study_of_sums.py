"A small study for the tests of durability: two models learn to add. `python tests/study_of_sums.py FOLDER STUDY` runs it, or goes on with it."

import json
import sys
from pathlib import Path

import transformers
from lensllm.tune.training import Recipe
from lensllm.tune.study import Study, new_study
from lensllm._internal.tiny import tiny_model
from lensllm.models.loading import character_tokenizer

transformers.logging.disable_progress_bar()
WORDS = "zero one two three four five six seven eight nine".split()
RECIPE = Recipe(rate=1e-2, passes=8, least_steps=60, checks=6)
SIZES = [50, 100, 200, 300]


def prepare(folder):
    "Texts and candidates."
    rows = [
        (f"{a} {b} {i}", WORDS[(a + b) % 10])
        for a in range(10)
        for b in range(10)
        for i in range(6)
    ]
    (folder / "sums.jsonl").write_text(
        "".join(json.dumps(dict(prompt=p, target=t)) + "\n" for p, t in rows)
    )
    alphabet = character_tokenizer(" abcdefghijklmnopqrstuvwxyz0123456789")
    for name, width in (("thin", 16), ("wide", 32)):
        tiny_model("gpt2", seed=0, vocab=len(alphabet), tokens=32, width=width).save_pretrained(
            folder / name
        )
        alphabet.save_pretrained(folder / name)


def begin(folder, name):
    "The study, new or as it was left."
    if (folder / name / "study.db").is_file():
        try:
            return Study(folder / name)
        except ValueError:
            pass  # it was killed while it was set up
    return new_study(
        folder / name,
        task=folder / "sums.jsonl",
        candidates=[folder / "thin", folder / "wide"],
        sizes=SIZES,
        target=300,
        budget_size=300,
        recipe=RECIPE,
    )


def table(study):
    "What must come out the same, however it came."
    return (
        study.store.runs()
        .sort_values(["model", "train_size"])[
            ["model", "train_size", "seed", "state", "test_loss", "test_loss_se", "price"]
        ]
        .reset_index(drop=True)
    )


if __name__ == "__main__":
    begin(Path(sys.argv[1]), sys.argv[2]).run(device="cpu")
