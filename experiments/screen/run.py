"""What is a screen worth? `python experiments/screen/run.py [PART…]`.

Parts: `held_out` (screens on shipped tables that were learned from the others, beside size alone,
zero-shot alone and chance), `looks` (zero-shot losses of the shipped candidates on few rows, with
their cost, beside those of the tables) and `kernels` (what kernel scores before fine-tuning say of
the final loss, on the tasks where they were measured). One CSV each in results/screen, with the
commit it was made at.
"""

import argparse
import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from lensllm._internal.atomic import atomic_path
from lensllm.choose import screening
from lensllm.curves.table import benchmark_names, load_benchmark

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "screen"
DRAWS, KEPT, OF, SEED = 100, (2, 4, 8), 16, 0
LOOKS = {  # what the screen may use -> its features
    "size and zero-shot": ("n_params", "zero_shot"),
    "size": ("n_params",),
    "zero-shot": ("zero_shot",),
    "names alone": (),
}
ROWS = (16, 64)  # rows that are read with each candidate


def summary(replays):
    "Means over subsets of each table, and their standard errors."
    by = ["source", "task", "way", "n", "kept"]
    groups = replays.groupby(by, sort=False)
    found = groups[["best", "near", "cost", "p_kept"]].mean()
    for column in ("best", "near"):
        found[f"{column}_se"] = groups[column].sem()
    return found.assign(draws=groups.size()).reset_index()


def held_out():
    "One row per table, way and setting."
    settings = [(keep, of, "source", "size and zero-shot") for keep in KEPT for of in (None, OF)]
    settings += [(keep, OF, "task", "size and zero-shot") for keep in KEPT]
    settings += [(keep, OF, "source", looks) for keep in KEPT for looks in list(LOOKS)[1:]]
    for keep, of, hold_out, looks in settings:
        options = dict(draws=DRAWS, seed=SEED, hold_out=hold_out, features=LOOKS[looks])
        replays = screening.held_out_screens(keep, of, **options)
        setting = dict(keep=keep, of=of or "all", hold_out=hold_out, looks=looks, expected=True)
        yield summary(replays).assign(**setting)
        print(setting, flush=True)
    screening.EXPECTED = 0.0  # without what is expected of the signs
    screening._fit_without.cache_clear()
    for keep in KEPT:
        replays = screening.held_out_screens(keep, OF, draws=DRAWS, seed=SEED)
        setting = dict(keep=keep, of=OF, hold_out="source", looks="size and zero-shot")
        yield summary(replays).assign(**setting, expected=False)


def looks():
    "One row per shipped candidate, task and number of rows."
    import torch
    import transformers
    from lensllm.tune.looks import zero_shot_look
    from lensllm.tune.tasks import load_task

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for name in benchmark_names("mini"):
        task, table = load_task(name.split("/")[1]), load_benchmark(name).wide()
        zero_shot_look(table.index[0], task, rows=2)  # what is loaded once is not counted
        for rows in ROWS:
            found = [asdict(zero_shot_look(m, task, rows=rows, seed=SEED)) for m in table.index]
            yield pd.DataFrame(found).assign(task=name, in_table=table[0].to_numpy())
        print(name, flush=True)


SCORES = {  # of a kernel before fine-tuning -> where it is in a probe
    "trace of the kernel": lambda probe: probe["kernel"]["trace"],
    "effective dimension": lambda probe: probe["kernel"]["effective_dimension"],
    "decay exponent": lambda probe: probe["kernel"]["decay"]["exponent"],
    "trace, sampled logits": lambda probe: probe["sampled"]["trace"],
    "effective dimension, sampled logits": lambda probe: probe["sampled"]["effective_dimension"],
    "alignment with the residual": lambda probe: probe["sampled"]["alignment"],
}


def scores_of(name):
    "Kernel scores, zero-shot loss and size of a task's candidates, and their final losses."
    path = ROOT / "results" / "mini" / f"{name.split('/')[1]}_probes.jsonl"
    probes = [json.loads(line) for line in path.read_text().splitlines()]
    probes = {probe["model"]: probe for probe in probes if probe["train_size"] == 0}
    curves = load_benchmark(name).complete()
    table = curves.wide()
    found = {
        score: [read(probes[model]) for model in table.index] for score, read in SCORES.items()
    }
    values = pd.DataFrame(found, index=table.index, dtype=float)
    values["zero-shot loss"], values["parameters"] = table[0], curves.n_params()
    return values, table.iloc[:, -1]


def kept_best(values, final, keep=2, of=10):
    "How often the best of a random subset has one of its lowest values."
    rng, found = np.random.default_rng(SEED), []
    for _ in range(DRAWS):
        part = rng.choice(len(final), of, replace=False)
        order = np.argsort(values.to_numpy()[part], kind="stable")
        found.append(final.to_numpy()[part].argmin() in order[:keep])
    return np.mean(found)


def kernels():
    """One row per task and score: what it says of the final loss over the candidates.

    `best`: how often the best of 10 candidates is among the 2 that the score puts first, by the
    direction that it has on the other two tasks.
    """
    tasks = {name: scores_of(name) for name in benchmark_names("mini")}
    correlations = pd.DataFrame(
        {name: values.rank().corrwith(final.rank()) for name, (values, final) in tasks.items()}
    )
    for name, (values, final) in tasks.items():
        signs = np.sign(correlations.drop(columns=name).mean(axis=1))
        best = [kept_best(values[score] * signs[score], final) for score in values]
        found = dict(score=list(values), spearman=correlations[name].to_numpy(), best=best)
        yield pd.DataFrame(found).assign(task=name, n=len(final), draws=DRAWS)


PARTS = dict(held_out=held_out, looks=looks, kernels=kernels)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "part", nargs="*", default=list(PARTS), help="parts; all when none is named"
    )
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    OUT.mkdir(parents=True, exist_ok=True)
    for part in parser.parse_args().part:
        table = pd.concat(PARTS[part]()).assign(commit=commit.strip())
        with atomic_path(OUT / f"{part}.csv") as unfinished:
            table.to_csv(unfinished, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
