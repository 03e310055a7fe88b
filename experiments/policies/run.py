"""Replay policies on subsets of the shipped tasks: `python experiments/policies/run.py NAME…
[--draws N] [--task TASK…] [--out DIR]`. One CSV and one JSON a policy in results/policies; what
is there already is kept.
"""

import argparse
import hashlib
import json
import subprocess
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from lensllm.choose.policies import Halving, Hyperband, Race, SubTuningPolicy, UniformLadder
from lensllm.curves.table import load_benchmark
from lensllm._internal.atomic import atomic_path
from lensllm.choose.replay import pareto

ROOT = Path(__file__).resolve().parents[2]
OUT, BUDGETS, SEED = ROOT / "results" / "policies", (0.005, 0.01, 0.02, 0.05), 0
POLICIES = {
    "race": Race(),
    "race, generic prior": Race(prior="generic"),
    "race, no caution": Race(caution=0.0),
    "race, half the caution": Race(caution=0.5),
    "race, twice the caution": Race(caution=2.0),
    "race, equal sizes": Race(power=1.0),
    "race, one finalist": Race(finalists=1),
    "halving 800": Halving(800),
    "halving 1600": Halving(1600),
    "halving 3200": Halving(3200),
    "halving 1600, keep .65": Halving(1600, 0.65),
    "halving 3200, by loss": Halving(3200, rank="loss"),
    "hyperband": Hyperband(),
    "uniform AtS": UniformLadder(),
    "subtuning": SubTuningPolicy(),
}


def code():
    "What the answer depends on besides the configuration: the text of the modules that decide."
    modules = (
        "curves/table",
        "curves/metrics",
        "forecast/kalman",
        "forecast/prior",
        "forecast/posterior",
        "choose/selectors",
        "choose/policies",
        "choose/replay",
    )
    return hashlib.sha256(
        b"".join((ROOT / "lensllm" / f"{r}.py").read_bytes() for r in modules)
    ).hexdigest()[:12]


CODE = code()  # as it is read, whatever changes while the replays run


def run(name, tasks, draws, folder):
    "One policy on all tasks; nothing is done twice for the same configuration and code."
    path = folder / f"{name.replace(' ', '_').replace(',', '')}.csv"
    cfg = dict(
        name=name,
        policy=type(POLICIES[name]).__name__,
        settings=asdict(POLICIES[name]),
        tasks=tasks,
        budgets=BUDGETS,
        draws=draws,
        size=20,
        seed=SEED,
    )
    old = json.loads(path.with_suffix(".json").read_text()) if path.exists() else {}
    if (old.get("config"), old.get("code")) == (json.loads(json.dumps(cfg)), CODE):
        return print(f"{name}: kept")
    rows = pareto(
        [POLICIES[name]], [load_benchmark(t) for t in cfg["tasks"]], BUDGETS, draws=draws, seed=SEED
    ).assign(policy=name)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.strip()
    meta = dict(
        config=cfg,
        commit=commit,
        code=CODE,
        versions={p: version(p) for p in ("numpy", "scipy", "pandas")},
    )
    with atomic_path(path) as tmp:
        rows.round(6).to_csv(tmp, index=False)
    with atomic_path(path.with_suffix(".json")) as tmp:
        tmp.write_text(json.dumps(meta, indent=1) + "\n")
    print(
        pd.DataFrame(rows).groupby(["task", "budget"]).relative_accuracy.mean().round(1).to_dict(),
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "name", nargs="*", default=list(POLICIES), help="policies; all when none is named"
    )
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--task", nargs="+", default=["flan", "gigaword"])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.name:
        run(name, args.task, args.draws, args.out)
