"Replay policies on subsets of the shipped candidates, at what their runs really cost: `python experiments/policies/mini.py [TASK…]`, results/policies/mini_TASK.csv."
import argparse
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
from lensllm.allocate import FullTuning, Halving, Hyperband, Race, SubTuningPolicy, UniformLadder, run_costs
from lensllm.curves import load_benchmark
from lensllm.files import atomic_path
from lensllm.simulate import simulate

ROOT = Path(__file__).resolve().parents[2]
BUDGETS, DRAWS, SIZE, SEED = (.05, .1, .2, .4), 50, 8, 0
POLICIES = {"race": Race(), "halving": Halving(), "hyperband": Hyperband(), "uniform AtS": UniformLadder(), "subtuning": SubTuningPolicy()}


def studies(name):
    "One row a study; all policies see the same subsets."
    task = load_benchmark(f"mini/{name}")
    task = task.up_to(max(d for d in task.sizes if len(task.at(d)) == len(task.models)))
    rng = np.random.default_rng(SEED)
    for draw in range(DRAWS):
        part = task.filter(model=[task.models[i] for i in np.sort(rng.choice(len(task.models), SIZE, replace=False))])
        costs = run_costs(part, column="flop")
        for label, policy in POLICIES.items():
            for b in BUDGETS:
                s = simulate(policy, part, b, costs=costs)
                yield dict(task=f"mini/{name}", target=max(task.sizes), policy=label, budget=b, draw=draw, choice=s.choice, relative_accuracy=s.relative_accuracy, regret=s.regret, cost_fraction=s.cost_fraction)
        s = simulate(FullTuning(), part, 1., costs=costs)
        yield dict(task=f"mini/{name}", target=max(task.sizes), policy="full", budget=1., draw=draw, choice=s.choice, relative_accuracy=s.relative_accuracy, regret=s.regret, cost_fraction=s.cost_fraction)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="*", default=["headline"], help="shipped tasks whose curves are measured")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    for name in parser.parse_args().task:
        with atomic_path(ROOT / "results" / "policies" / f"mini_{name}.csv") as tmp: pd.DataFrame(studies(name)).assign(commit=commit).to_csv(tmp, index=False, float_format="%.6g")
        print(f"{name}: done", flush=True)
