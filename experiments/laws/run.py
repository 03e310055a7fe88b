"""Which law extrapolates best: every law fitted to the beginning of every curve, and read where the
curve was not seen, `python experiments/laws/run.py [TASK…]`. Writes results/laws/TASK.csv: one
row a model, law, last size seen and size read.
"""

import argparse
import subprocess
import warnings
from pathlib import Path

import pandas as pd
from lensllm.curves.table import benchmark_names, load_benchmark
from lensllm._internal.atomic import atomic_path
from lensllm.forecast.fit import fit_law
from lensllm.forecast.laws import LAWS

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "laws"
LEAST, FACTORS = 4, (2, 8, 64)  # sizes seen at least; how many times as far a law is read


def fits(curves, model, law):
    "One row a cut and a size read; a law that cannot be fitted is a row without a prediction."
    D, loss = curves.curve(model)
    for i in range(LEAST - 1, len(D)):
        read = [j for f in FACTORS for j in range(len(D)) if D[j] == f * D[i]]
        if not read:
            continue
        try:
            predicted = fit_law(law, D[: i + 1], loss[: i + 1]).predict(D[read])
        except ValueError:
            predicted = [float("nan")] * len(read)  # fewer points than parameters
        for j, p in zip(read, predicted):
            yield dict(
                model=model,
                law=law,
                points=i + 1,
                seen=int(D[i]),
                read=int(D[j]),
                factor=int(D[j] / D[i]),
                predicted=p,
                true=loss[j],
            )


def measure(task):
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.strip()
    curves = load_benchmark(task)
    rows = []
    for law in LAWS:
        for model in curves.models:
            rows += fits(curves, model, law)
        print(f"{task}: {law}", flush=True)
    path = OUT / f"{task.replace('/', '_')}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as tmp:
        pd.DataFrame(rows).assign(task=task, commit=commit).to_csv(
            tmp, index=False, float_format="%.7g"
        )


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of fits that are exact
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "task", nargs="*", default=benchmark_names(), help="shipped tasks; all when none is named"
    )
    for task in parser.parse_args().task:
        measure(task)
