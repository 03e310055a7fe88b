"A study of two models that learn to add, for a process of its own."

import json

import transformers
from lensllm._internal.tiny import tiny_model
from lensllm.models.loading import character_tokenizer
from lensllm.tune.recipe import Recipe
from lensllm.tune.study import Study, new_study

WORDS = "zero one two three four five six seven eight nine".split()
SIZES = [50, 100, 200, 300]


def prepare(folder):
    "Texts and candidates."
    digits = [(a, b) for a in range(10) for b in range(10)]
    rows = [(f"{a} {b} {i}", WORDS[(a + b) % 10]) for a, b in digits for i in range(6)]
    lines = [json.dumps(dict(prompt=prompt, target=target)) for prompt, target in rows]
    (folder / "sums.jsonl").write_text("".join(line + "\n" for line in lines))
    alphabet = character_tokenizer(" abcdefghijklmnopqrstuvwxyz0123456789")
    for name, width in (("thin", 16), ("wide", 32)):
        model = tiny_model("gpt2", seed=0, vocab=len(alphabet), tokens=32, width=width)
        model.save_pretrained(folder / name)
        alphabet.save_pretrained(folder / name)


def set_up(folder, texts):
    "The study in a folder, of the texts and candidates that `prepare` left in another."
    return new_study(
        folder,
        task=texts / "sums.jsonl",
        candidates=[texts / "thin", texts / "wide"],
        sizes=SIZES,
        target=300,
        budget_size=300,
        recipe=Recipe(rate=1e-2, passes=2, least_steps=12, checks=3),
    )


def begin(folder, name):
    "The study, new or as it was left."
    if (folder / name / "study.db").is_file():
        try:
            return Study(folder / name)
        except ValueError:
            pass  # it was killed while it was set up
    return set_up(folder / name, folder)


def run(folder, name):
    "Run the study, or go on with it."
    transformers.logging.disable_progress_bar()
    begin(folder, name).run(device="cpu", trust=["sources"])
