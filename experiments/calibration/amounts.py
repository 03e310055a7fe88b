"""Is the size that a loss needs predicted honestly? `python experiments/calibration/amounts.py`.

Every table that ships is cut after a third of its sizes, at least three. Each later size of a
candidate is a question: when does its curve come down to the loss that it has there? The true
answer is that size, where no earlier loss was as low. A second kind of question is the gain from
the last size seen to a later one. results/calibration/amounts.csv counts, table by table, how many
90% intervals held the truth. Constants of the calibration come from the other sources.
"""

import subprocess

import numpy as np
import pandas as pd
from lensllm._internal.atomic import atomic_path
from lensllm.choose.amounts import data_gain, needed_sizes
from lensllm.curves.table import benchmark_names, load_benchmark
from lensllm.forecast import calibration
from lensllm.forecast.posterior import fit_posterior
from run import OUT, ROOT, constants

LEAST_SEEN, QUESTIONS = 3, 4  # sizes; later sizes of a candidate, at most
FURTHEST = 4.0  # times the true size that is looked at, at least


def cut(name):
    "What is seen of a table, and the whole."
    task = load_benchmark(name)
    sizes = [size for size in task.complete().sizes if size > 0]
    seen = sizes[max(LEAST_SEEN, round(len(sizes) / 3)) - 1]
    runs = task.frame[task.frame.train_size.between(1, seen)]
    return task.filter(model=list(runs.model.unique())).up_to(seen), task, seen


def asked(sizes, seen):
    "Later sizes, as evenly spaced on a logarithmic axis as they can be."
    later = np.flatnonzero(sizes > seen)
    wanted = np.geomspace(sizes[later[0]], sizes[-1], QUESTIONS)
    return sorted({later[np.abs(np.log(sizes[later] / size)).argmin()] for size in wanted})


def answers(name):
    "Questions about one table, with what was predicted and what is true."
    visible, task, seen = cut(name)
    post = fit_posterior(visible, task.sizes[-1])
    gains = {}
    for model in post.models:
        sizes, losses = task.curve(model)
        on = sizes > 0
        sizes, losses = sizes[on], losses[on]
        if sizes[-1] <= seen:
            continue
        for i in asked(sizes, seen):
            if losses[i] < losses[:i].min():
                times = max(100.0, FURTHEST * sizes[i] / seen)
                found = needed_sizes(post, losses[i], times=times).loc[model]
                yield dict(kind="size", truth=sizes[i], low=found.low, high=found.high)
            if seen in sizes:
                if sizes[i] not in gains:
                    gains[sizes[i]] = data_gain(post, seen, int(sizes[i]))
                found = gains[sizes[i]].loc[model]
                truth = losses[sizes == seen][0] - losses[i]
                yield dict(kind="gain", truth=truth, low=found.low, high=found.high)


def counts(name):
    "Of one table: questions of each kind, and where the truth lay."
    rows = pd.DataFrame(answers(name))
    rows["below"], rows["above"] = rows.truth < rows.low, rows.truth > rows.high
    rows["open"] = np.isinf(rows.high)
    found = rows.groupby("kind")[["below", "above", "open"]].sum()
    found.insert(0, "questions", rows.groupby("kind").size())
    return found.reset_index().assign(source=name.split("/")[0], task=name)


def main():
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    scales, tables = pd.read_csv(OUT / "scales.csv"), []
    for name in benchmark_names():
        others = scales[scales.source != name.split("/")[0]]
        calibration.SHARED_SCALE, calibration.OWN_SCALE = constants(others)
        tables.append(counts(name))
        print(tables[-1].to_string(header=False), flush=True)
    table = pd.concat(tables).assign(commit=commit.strip())
    with atomic_path(OUT / "amounts.csv") as unfinished:
        table.to_csv(unfinished, index=False)


if __name__ == "__main__":
    main()
