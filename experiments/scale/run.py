"""On which scale are scores best predicted? `python experiments/scale/run.py`.

results/scale/cells.csv: each table of error rates (PET, LCDB) fitted on three scales, with what the
other sources say of errors; all figures in points of the score. One row per table, scale and cell.
"""

import subprocess
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from lensllm._internal.atomic import atomic_path
from lensllm.choose.bench import cuts_of
from lensllm.choose.selectors import rank
from lensllm.curves.metrics import interval_score
from lensllm.curves.table import CurveSet, benchmark_names, load_benchmark
from lensllm.forecast import calibration

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "scale"
SOURCES = ("pet", "lcdb")
# to the scale that is fitted, back, and the slope, by which standard errors are carried over
SCALES = {
    "error": (lambda e: e, lambda y: y, np.ones_like),
    "odds": (lambda e: e / (1 - e), lambda y: y / (1 + y), lambda e: (1 - e) ** -2),
    "-ln(score)": (lambda e: -np.log1p(-e), lambda y: -np.expm1(-y), lambda e: 1 / (1 - e)),
}


def constants_without(source):
    "What the other sources say of errors, shared and own: mean and deviation of ln(scale)."
    scales = pd.read_csv(ROOT / "results" / "calibration" / "scales.csv")
    others = scales[scales.source != source].groupby("source")[["shared", "own"]]
    ln = np.log(others.agg(lambda x: np.sqrt((x**2).mean())))
    return [(float(ln[name].mean()), float(ln[name].std())) for name in ("shared", "own")]


def on_scale(task, scale):
    "The table with its error rates on another scale; those of 1 have no odds and are dropped."
    forward, _, slope = SCALES[scale]
    frame = task.frame[task.frame.test_loss < 1].copy()
    if "test_loss_se" in frame:
        frame["test_loss_se"] *= slope(frame.test_loss)
    frame["test_loss"] = forward(frame.test_loss)
    return CurveSet(frame[[c for c in frame if c != "metric"]], unit="nats")


def cell(task, scale, ratio, seen):
    "How well one cell is predicted, in points of the score."
    target, back = task.sizes[-1], SCALES[scale][1]
    has_run = task.frame[task.frame.train_size.between(1, seen)].model.unique()
    visible = on_scale(task, scale).filter(model=list(has_run)).up_to(seen)
    ranking = rank(visible, target)
    frame = ranking.frame.set_index("model")
    truth = task.at(target)[frame.index].to_numpy()
    low, high = (100 * back(frame[end].to_numpy()) for end in ("low", "high"))
    points = 100 * truth
    chosen = float(task.at(target)[ranking.best])
    return dict(
        source=task.one_task().split("/")[0],
        task=task.one_task(),
        scale=scale,
        ratio=ratio,
        models=len(frame),
        coverage=float(((low <= points) & (points <= high)).mean()),
        width=float((high - low).mean()),
        interval_score=float(np.mean(interval_score(low, high, points, level=0.9))),
        error=float(np.abs(100 * back(frame.predicted_loss.to_numpy()) - points).mean()),
        regret=100 * (chosen - truth.min()),
        relative_accuracy=100 * (truth.max() - chosen) / (truth.max() - truth.min()),
    )


def main():
    warnings.simplefilter("ignore")  # of fits that are exact
    rows = []
    for source in SOURCES:
        calibration.SHARED_SCALE, calibration.OWN_SCALE = constants_without(source)
        for name in benchmark_names():
            if not name.startswith(f"{source}/"):
                continue
            task = load_benchmark(name).complete()
            for ratio, seen in cuts_of(task):
                rows += [cell(task, scale, ratio, seen) for scale in SCALES]
            print(name, flush=True)
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    OUT.mkdir(parents=True, exist_ok=True)
    with atomic_path(OUT / "cells.csv") as tmp:
        pd.DataFrame(rows).assign(commit=commit.strip()).to_csv(
            tmp, index=False, float_format="%.6g"
        )


if __name__ == "__main__":
    main()
