"""What a run and a study cost beside a bare Trainer script on the same model, rows and arguments.

`make bench`. With SMOLLM2=FOLDER, a folder that holds SmolLM2-135M as safetensors, adapters on that
model are measured, too.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from lensllm.models.loading import load_model
from lensllm.tune.recipe import Recipe
from lensllm.tune.study import new_study
from lensllm.tune.tasks import collate, encode, load_task
from lensllm.tune.trainer import Course, Order, Stretch, train_stretch, training_arguments
from lensllm.tune.training import prepared
from timing import highest, report
from transformers import PrinterCallback, Trainer

CASES = {"full": ("opt-dictionary", Recipe(rate=1e-3), 40)}
if os.environ.get("SMOLLM2"):
    # 160 rows: what a run does once, a look at the model, weighs as it does in a study
    CASES["lora"] = os.environ["SMOLLM2"], Recipe(rate=1e-3, method="lora", batch=8), 20
RECIPE = CASES["full"][1]


def parts(case, folder):
    "A course and its only stretch."
    source, recipe, steps = CASES[case]
    model, tokenizer = load_model(source, device="cpu")
    task = load_task("headline")
    rows = encode(task.subset(steps * recipe.batch), tokenizer, max_tokens=128)
    valid = encode(task.valid[:1], tokenizer, max_tokens=128)
    options = dict(rate=1e-3, seed=0, folder=folder, rows_at_once=recipe.batch)
    course = Course(prepared(model, recipe), tokenizer, valid, recipe, **options)
    level = lambda step: 1.0
    return course, Stretch(rows, 0, steps, steps, level, Path(folder), look_first=False)


def bare(case, folder):
    "Seconds of Trainer as a script would use it, on the same batches: padding costs the same."
    course, stretch = parts(case, folder)
    order = Order(len(stretch.rows), course.recipe.batch, course.seed, stretch.start, stretch.end)
    arguments = training_arguments(course, stretch, stretch.end)
    trainer = Trainer(
        course.model,
        replace(arguments, train_sampling_strategy="sequential"),
        data_collator=lambda rows: collate(rows, course.tokenizer),
        train_dataset=[stretch.rows[i] for i in order],
    )
    trainer.remove_callback(PrinterCallback)
    t0 = time.perf_counter()
    trainer.train()
    return time.perf_counter() - t0


def ours(case, folder):
    "Seconds of a stretch of a run."
    course, stretch = parts(case, folder)
    t0 = time.perf_counter()
    train_stretch(course, stretch)
    return time.perf_counter() - t0


def seconds(what, case):
    with tempfile.TemporaryDirectory() as folder:
        return what(case, folder)


def peak(what, case):
    "Most bytes that a process of its own holds that does it."
    return int(
        subprocess.run(
            [sys.executable, __file__, what, case], check=True, capture_output=True, text=True
        ).stdout.split()[-1]
    )


def overhead():
    "Seconds that a study adds to a run: asking, entering, telling; by policy."
    records = dict(byte_loss=2.0, byte_loss_se=0.1, rate=1e-3)
    seconds = {}
    for policy, options in (("all", dict(budget_size=3200)), ("race", dict(budget=0.5))):
        with (
            tempfile.TemporaryDirectory() as folder,
            patch(
                "lensllm.tune.training.work",
                lambda spec, progress: (
                    records | dict(byte_loss=2 + 30 * spec["train_size"] ** -0.5)
                ),
            ),
        ):
            study = new_study(
                Path(folder) / "s",
                task="headline",
                candidates=["opt-dictionary", "opt-bible", "gpt2-mini-manuals"],
                target=6400,
                recipe=RECIPE,
                **({} if policy == "all" else dict(policy=policy)),
                **options,
            )
            study.run()  # the first time, what is needed is read
            n = len(study.store.runs())
            again = new_study(
                Path(folder) / "t",
                task="headline",
                candidates=["opt-dictionary", "opt-bible", "gpt2-mini-manuals"],
                target=6400,
                recipe=RECIPE,
                **({} if policy == "all" else dict(policy=policy)),
                **options,
            )
            t0 = time.perf_counter()
            again.run()
            seconds[policy] = (time.perf_counter() - t0) / n
    return seconds


if __name__ == "__main__":
    if sys.argv[1:]:
        what, case = sys.argv[1:]
        seconds(dict(bare=bare, ours=ours)[what], case)
        print(highest())
        sys.exit()
    rows = []
    for case in CASES:  # in turn, so that both meet the same machine
        pairs = [(seconds(bare, case), seconds(ours, case)) for _ in range(5)]
        shares = sorted(b / o for b, o in pairs)
        share = statistics.median(shares)
        print(f"{case}: throughput over a bare Trainer's, pair by pair", np.round(shares, 3))
        memory = peak("ours", case) / peak("bare", case)
        rows.append((f"throughput over a bare Trainer's, {case}", share, ">=", 0.95))
        rows.append((f"peak memory over a bare Trainer's, {case}", memory, "<=", 1.05))
    for policy, own in overhead().items():
        rows.append((f"a study's own time a run, {policy}, over 50 ms", own / 0.05, "<=", 1.0))
    report("finetune", rows)
