"""Every selector on every task and budget: `python experiments/selection/run.py [TASK…]
[--out DIR]`.

results/selection/TASK.csv, and TASK_settings.csv for Accept-then-Stop under other settings of (k,
delta), which LensLLM's study calls (gamma, tau).
"""

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import transformers
from lensllm.curves.table import CurveSet, benchmark_names, load_benchmark
from lensllm._internal.atomic import atomic_path
from lensllm.choose.selectors import SELECTORS, AtS, NLPMetrics, compare
from lensllm.models.tails import tail_metrics
from lensllm.models.loading import load_model

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "selection"
SETTINGS = [(k, delta) for k in (3, 4, 5) for delta in (1, 2, 3, 4, 5)]


def curves_of(task):
    """A task's curves up to the largest size that all candidates have run.

    For mini with the NLPmetrics of the candidates.
    """
    cs = load_benchmark(task).complete()
    if not task.startswith("mini/"):
        return cs
    metrics = pd.DataFrame({m: tail_metrics(load_model(m, device="cpu")[0]) for m in cs.models}).T
    return CurveSet(cs.frame.join(metrics, on="model"), cs.source, cs.unit)


def ratios_of(cs):
    return [
        r
        for r in (2, 4, 8, 16, 32, 64, 128, 256, 512)
        if max(cs.sizes) / r in cs.sizes and (len(cs.models) < 30 or r >= 8)
    ]


def cells(cs, selector):
    "What one selector gives at every budget that it can read, and nothing at the others, said why."
    found = []
    for r in ratios_of(cs):
        try:
            found.append(compare([selector], [cs], [r]))
        except ValueError as e:
            print(f"{cs.one_task()}, 1/{r}: {e}", file=sys.stderr, flush=True)
    return found


def settings(cs):
    "Accept-then-Stop under other settings; a budget with fewer sizes than it accepts has none."
    for k, delta in SETTINGS:
        enough = [
            r for r in ratios_of(cs) if sum(0 < d <= max(cs.sizes) / r for d in cs.sizes) >= k + 1
        ]
        if enough:
            yield compare([AtS(k, delta)], [cs], enough).assign(k=k, delta=delta)


def write(path, tables, commit):
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as tmp:
        pd.concat(tables).assign(commit=commit).to_csv(tmp, index=False, float_format="%.6g")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of fits that are exact
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "task", nargs="*", default=benchmark_names(), help="shipped tasks; all when none is named"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.strip()
    for task in args.task:
        cs, name = curves_of(task), task.replace("/", "_")
        methods = [
            *SELECTORS,
            *(
                [NLPMetrics("e_tpl_lambda", "nlpmetrics, lambda")]
                if task.startswith("mini/")
                else []
            ),
        ]
        write(args.out / f"{name}.csv", [c for m in methods for c in cells(cs, m)], commit)
        write(args.out / f"{name}_settings.csv", list(settings(cs)), commit)
        print(f"{task}: done", flush=True)
