"""Every method on every table that ships: `python experiments/bench/run.py [METHOD…]`.

results/bench/METHOD.csv, one row per cell, with the commit it was made at.
"""

import argparse
import subprocess
import warnings
from pathlib import Path

from lensllm._internal.atomic import atomic_path
from lensllm.choose.bench import bench_scores
from lensllm.choose.selectors import SELECTORS

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "bench"
# No table has the column of nlpmetrics; without a kernel ntkfit is rectifiedfit.
METHODS = [name for name in SELECTORS if name not in ("nlpmetrics", "ntkfit")]


def main():
    warnings.simplefilter("ignore")  # of fits that are exact
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "method", nargs="*", default=METHODS, help="methods; all when none is named"
    )
    methods = parser.parse_args().method
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.strip()
    OUT.mkdir(parents=True, exist_ok=True)
    for method in methods:
        cells = bench_scores(method).assign(commit=commit)
        with atomic_path(OUT / f"{method}.csv") as tmp:
            cells.to_csv(tmp, index=False, float_format="%.6g")
        print(f"{method}: {len(cells)} cells, {(cells.refusal != '').sum()} refused", flush=True)


if __name__ == "__main__":
    main()
