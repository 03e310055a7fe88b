"""What a ladder run and a study cost beside a bare training loop on the same model and batches.

`make bench`.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from lensllm.tune.tasks import collate, encode, load_task
from lensllm.tune.recipe import Recipe
from lensllm.tune.training import _Loop, prepared
from lensllm.models.batches import sequence_loss
from lensllm.models.loading import load_model
from timing import highest, report

MODEL, ROWS, STEPS, RECIPE = "opt-dictionary", 640, 40, Recipe(rate=1e-3, checks=1)


def parts():
    "A model with its rows as tokens."
    model, tokenizer = load_model(MODEL, device="cpu")
    task = load_task("headline")
    return (
        prepared(model, RECIPE),
        tokenizer,
        [encode(rows, tokenizer, max_tokens=128) for rows in (task.subset(ROWS), task.valid[:16])],
    )


def bare():
    "Seconds of the shortest loop that trains the same."
    model, tokenizer, (train, _) = parts()
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)).tolist()
    model.train()
    t0 = time.perf_counter()
    for i in range(STEPS):
        loss = sequence_loss(
            model, collate([train[k] for k in order[i * 16 : (i + 1) * 16]], tokenizer)
        ).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
    return time.perf_counter() - t0


def ours():
    "Seconds of a ladder run's steps."
    model, tokenizer, (train, valid) = parts()
    loop = _Loop(model, tokenizer, train, valid, RECIPE, 1e-3, STEPS, 0, 16)
    t0 = time.perf_counter()
    for _ in range(STEPS):
        loop.advance()
    return time.perf_counter() - t0


def peak(what):
    "Most bytes that a process of its own holds that does it."
    return int(
        subprocess.run(
            [sys.executable, __file__, what], check=True, capture_output=True, text=True
        ).stdout.split()[-1]
    )


def overhead():
    "Seconds that a study adds to a run: asking, entering, telling; by policy."
    from unittest.mock import patch
    from lensllm.tune.study import new_study

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
        dict(bare=bare, ours=ours)[sys.argv[1]]()
        print(highest())
        sys.exit()
    pairs = [(bare(), ours()) for _ in range(5)]  # in turn, so that both meet the same machine
    per_run = overhead()
    report(
        "finetune",
        [
            (
                "throughput of a ladder run over a bare loop's",
                statistics.median(b / o for b, o in pairs),
                ">=",
                0.85,
            ),
            (
                "peak memory of a ladder run over a bare loop's",
                peak("ours") / peak("bare"),
                "<=",
                1.3,
            ),
            *(
                (f"a study's own time a run, {p}, over 50 ms", s / 0.05, "<=", 1.0)
                for p, s in per_run.items()
            ),
        ],
    )
