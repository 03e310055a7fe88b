"One random cell of LensBench-mini, run again, has the loss on record within a seed's noise."

import json
import math
import os
import random
import time
from itertools import combinations
from pathlib import Path
from statistics import fmean

from lensllm.curves.table import benchmark_names, load_benchmark
from lensllm.tune.recipe import Recipe
from lensllm.tune.tasks import load_task
from lensllm.tune.training import finetune

RESULTS = Path(__file__).resolve().parents[2] / "results" / "mini"


def records():
    return [
        json.loads(line)
        for path in RESULTS.glob("*.jsonl")
        if path.stem in ("headline", "define", "translate")
        for line in path.read_text().splitlines()
    ]


def noise(runs):
    "Standard deviation that a seed adds to the log of a loss, over all pairs of seeds of one cell."
    cells = {}
    for r in runs:
        cells.setdefault((r["task"], r["model"], r["train_size"]), []).append(
            math.log(r["byte_loss"])
        )
    return math.sqrt(
        fmean((a - b) ** 2 / 2 for losses in cells.values() for a, b in combinations(losses, 2))
    )


def test_a_random_cell_again():
    runs, seed = records(), int(os.environ.get("LENSLLM_CELL", time.time_ns() % 1_000_000))
    cell = random.Random(seed).choice(
        [r for r in runs if r["train_size"] in (100, 200, 400) and r["n_params"] < 8e5]
    )
    again = finetune(
        cell["model"],
        load_task(cell["task"]),
        cell["train_size"],
        seed=cell["seed"],
        recipe=Recipe(rate=cell["rate"]),
        device="cpu",
    )
    assert abs(math.log(again.byte_loss / cell["byte_loss"])) < 4 * noise(runs), (
        f"LENSLLM_CELL={seed} chooses this cell again",
        cell["model"],
        cell["task"],
        cell["train_size"],
        cell["seed"],
        again.byte_loss,
        cell["byte_loss"],
    )


def test_the_shipped_tables_are_the_records():
    shipped = benchmark_names("mini")
    known = {
        (f"mini/{r['task']}", r["model"], r["train_size"]): r["byte_loss"]
        for r in records()
        if r["seed"] == 0
    }
    assert shipped
    for name in shipped:
        for row in load_benchmark(name).frame.itertuples():
            assert math.isclose(
                row.test_loss, known[row.task, row.model, row.train_size], rel_tol=1e-6
            )
