"""How large errors are, shared and own, on every table that ships: `python
experiments/calibration/run.py`.

results/calibration/scales.csv, one row per cell; its means are the constants of
lensllm/forecast/calibration.py. With --held-out, results/calibration/held_out.csv: the bench
of each source with constants from the other sources alone.
"""

import argparse
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from lensllm._internal.atomic import atomic_path
from lensllm.choose.bench import bench_scores, cuts_of
from lensllm.curves.table import benchmark_names, load_benchmark
from lensllm.forecast import calibration
from lensllm.forecast.posterior import fit_posterior

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "calibration"


def errors(name):
    "The errors of the uncalibrated posterior on one table, one row per cell."
    task = load_benchmark(name).complete()
    for ratio, seen in cuts_of(task):
        has_run = task.frame[task.frame.train_size.between(1, seen)].model.unique()
        post = fit_posterior(
            task.filter(model=list(has_run)).up_to(seen), task.sizes[-1], calibrated=False
        )
        error = np.log(task.at(task.sizes[-1])[post.models].to_numpy()) - post.mean()
        found = calibration.hindcast_of(post.distance, error, post.sd())
        source = name.split("/")[0]
        yield dict(source=source, task=name, ratio=ratio) | found._asdict()


def constants(scales):
    "Mean and deviation over sources of ln c and ln k, from root mean squares of their cells."
    by_source = scales.groupby("source")[["shared", "own"]].agg(lambda x: np.sqrt((x**2).mean()))
    ln = np.log(by_source)
    return [(float(ln[name].mean()), float(ln[name].std())) for name in ("shared", "own")]


def held_out(scales):
    "The bench of each source, with what the other sources say."
    for source, tasks in scales.groupby("source").task.unique().items():
        others = constants(scales[scales.source != source])
        calibration.SHARED_SCALE, calibration.OWN_SCALE = others
        yield bench_scores("posterior", [load_benchmark(task) for task in tasks])
        print(f"{source}: c {np.exp(others[0][0]):.4f}, k {np.exp(others[1][0]):.2f}", flush=True)


def main():
    warnings.simplefilter("ignore")  # of fits that are exact
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", action="store_true", help="the bench, source by source")
    if parser.parse_args().held_out:
        path, table = OUT / "held_out.csv", pd.read_csv(OUT / "scales.csv")
        table = pd.concat(held_out(table))
    else:
        path = OUT / "scales.csv"
        table = pd.DataFrame(row for name in benchmark_names() for row in errors(name))
        print(constants(table))
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    with atomic_path(path) as tmp:
        table.assign(commit=commit.strip()).to_csv(tmp, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
