"""What other training rows do: the same candidates, recipe and seed on other rows of the same task,
`python experiments/mini/rows.py [TASK…]`. One line per run in results/mini/TASK_rows.jsonl,
written as it ends; draw k has the rows after the first 6,400 · k, which no other draw and no run
of the table up to that size has.
"""

import argparse
import time
from dataclasses import replace

import transformers
from lensllm.tune.tasks import load_task
from lensllm.tune.recipe import Recipe
from lensllm.tune.training import finetune
from lensllm.models.loading import zoo_names
from records import MINI, commit_now, made, read, write

SIZES, DRAWS, APART, SEED = (200, 800), (1, 2), 6400, 0


def measure(name):
    """What is left of a task.

    Every run at the rate that the table's first run of its candidate found.
    """
    commit, path, task = commit_now(), MINI / f"{name}_rows.jsonl", load_task(name)
    rates = {
        r["model"]: r["rate"]
        for r in read(MINI / f"{name}.jsonl")
        if r["seed"] == SEED and r["rate"]
    }
    plan = [(draw, n, m) for draw in DRAWS for n in SIZES for m in zoo_names()]
    known = {(r["draw"], r["train_size"], r["model"]): r for r in read(path)}
    for draw, n, m in plan:
        if (draw, n, m) in known:
            continue
        run = finetune(
            m,
            replace(task, train=task.train[APART * draw :]),
            n,
            seed=SEED,
            recipe=replace(Recipe(), rate=rates[m]),
            device="cpu",
        ).to_dict()
        known[draw, n, m] = made(run, commit, model=m, draw=draw)
        write(path, [known[p] for p in plan if p in known])
        print(
            f"{time.strftime('%H:%M')} {name}: {len(known)} of {len(plan)}, "
            f"{m} on {n}, draw {draw}: {run['byte_loss']:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "task", nargs="*", default=["headline"], help="shipped tasks whose curves are measured"
    )
    for name in parser.parse_args().task:
        measure(name)
