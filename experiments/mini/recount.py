"""What runs cost, counted again from what their records say: `python experiments/mini/recount.py
FILE…` puts `flop` into results/mini/FILE anew. The rows of every step follow from the seed, so
the tokens trained on must come out as recorded, or nothing is written.
"""

import argparse
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import transformers
from lensllm.tune.tasks import encode, load_task
from lensllm.tune.recipe import Recipe
from lensllm.tune.training import max_tokens
from lensllm.models.loading import count_params, load_model, token_work
from records import read, write
from rows import APART

FRESH, ON = Recipe(), Recipe(ladder="continue")
task = lru_cache(load_task)


@lru_cache(None)
def lengths(name, candidate):
    "Parameters (all, encoder) and tokens (read, written) of training, validation and test rows."
    model, tokenizer = load_model(candidate, device="cpu")
    pairs, rows = model.config.is_encoder_decoder, task(name)

    def count(some):
        return np.array(
            [
                (len(read), len(written) if pairs else 0)
                for read, written in encode(
                    some, tokenizer, max_tokens=max_tokens(model, FRESH), pairs=pairs
                )
            ]
        )

    return (
        count_params(model),
        count(rows.train[:20_000]),
        count(rows.valid[: FRESH.valid_rows]),
        count(rows.test),
    )


def trained(rows, seed, begin, end):
    "Tokens (read, written) of the steps from `begin` to `end`."
    places = np.arange(begin * FRESH.batch, end * FRESH.batch)
    total = np.zeros(2, int)
    for lap in np.unique(places // len(rows)):
        order = torch.randperm(
            len(rows), generator=torch.Generator().manual_seed(seed * 1_000_003 + int(lap))
        ).numpy()
        total += rows[order[places[places // len(rows) == lap] % len(rows)]].sum(0)
    return total


def checks(made, planned, times):
    "How often a stretch of `planned` steps is checked in those that were made."
    gap = max(1, planned // times)
    return sum(i % gap == 0 or i == planned for i in range(1, made + 1))


def fresh(r, rows):
    return trained(rows, r["seed"], 0, r["steps"]), 1 + checks(
        r["steps"], FRESH.steps(len(rows)), FRESH.checks
    )


def went_on(r, rows, left):
    """On a ladder that continues.

    At the full rate to `patience` checks after the best state or to the turn, then from that state
    to the end; `left`: step of the state that each size has left behind.
    """
    n, m = (
        len(rows),
        r.get("came_from", len(rows) // 2 if len(rows) > min(left, default=len(rows)) else 0),
    )
    full, fall = ON.steps_from(m, n)
    begin, best = left.get(m, 0), r["steps"] - fall
    end, left[n] = min(begin + full, best + ON.patience * max(1, full // ON.checks)), best
    return trained(rows[m:], r["seed"], begin, end) + trained(
        rows, r["seed"], best, r["steps"]
    ), 1 + checks(end - begin, full, ON.checks) + checks(fall, fall, 2)


def flop(r, left):
    "Of one record; `left`: as for `went_on`, None where runs are fresh."
    (n_params, encoder), train, valid, test = lengths(r["task"], r["model"])
    rows = train[APART * r.get("draw", 0) :][: r["train_size"]]
    tokens, looks = (
        (np.zeros(2, int), 1)
        if not len(rows)
        else fresh(r, rows)
        if left is None
        else went_on(r, rows, left)
    )
    if tokens.sum() != r["tokens"]:
        raise SystemExit(
            f"{r['model']} on {r['train_size']} rows of {r['task']}, seed {r['seed']}: "
            f"{tokens.sum()} tokens counted, {r['tokens']} on record"
        )

    def work(t):
        return token_work(n_params, encoder, int(t[0]), int(t[1]))

    return float(6 * work(tokens) + 2 * looks * work(valid.sum(0)) + 2 * work(test.sum(0)))


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "file", nargs="+", type=Path, help="files of runs, such as results/mini/define.jsonl"
    )
    for path in parser.parse_args().file:
        records, left = read(path), {}
        for r in sorted(records, key=lambda r: r["train_size"]):
            r["flop"] = flop(
                r,
                left.setdefault((r["model"], r["seed"]), {})
                if path.stem.endswith("_continue")
                else None,
            )
        write(path, records)
        print(f"{path.name}: {len(records)} runs", flush=True)
