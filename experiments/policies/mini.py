"""Replay policies on subsets of the shipped candidates, at the prices of a study: `python
experiments/policies/mini.py [TASK…]`, results/policies/mini_TASK.csv. A candidate's first run
pays for the search for its learning rate besides, and the whole has all searches.
"""

import argparse
import subprocess
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from lensllm.choose.policies import Halving, Hyperband, Policy, Race, SubTuningPolicy, UniformLadder
from lensllm.curves.table import benchmark_names, load_benchmark
from lensllm._internal.atomic import atomic_path
from lensllm.choose.replay import simulate
from lensllm.tune.study import new_study, with_searches
from lensllm.models.loading import zoo_names

ROOT = Path(__file__).resolve().parents[2]
BUDGETS, DRAWS, SIZE, SEED = (0.15, 0.2, 0.3, 0.4), 50, 8, 0
POLICIES = {
    "race": Race(),
    "halving from 200, keep .65": Halving(200, 0.65),
    "hyperband from 100, 400, 1600": Hyperband((100, 400, 1600)),
    "uniform AtS": UniformLadder(),
    "subtuning": SubTuningPolicy(),
}  # the ladder is short for the defaults of halving and Hyperband


def prices(name, sizes):
    "FLOP of every run and of every search for a rate, as a study counts them."
    with tempfile.TemporaryDirectory() as folder:
        study = new_study(
            Path(folder) / "study",
            task=name,
            candidates=zoo_names(),
            sizes=sizes,
            budget_size=sizes[0],
        )
        return study.prices, pd.Series(
            {m: f["search"] for m, f in study.store.candidates().facts.items()}
        )


@dataclass(frozen=True)
class Searching(Policy):
    "A policy whose candidates' first runs pay for a search besides."

    policy: Policy
    search: pd.Series
    name: str = "searching"

    def next(self, seen, costs, budget):
        begun = [] if seen is None else seen.models
        return with_searches(
            self.policy,
            seen,
            costs,
            budget - self.search[begun].sum(),
            self.search[costs.index].mask(costs.index.isin(begun), 0.0),
        )


def replay(policy, part, budget, costs, search):
    "A replay whose budget is a share of fine-tuning all, searches included."
    costs, search = costs.loc[part.models], search[part.models]
    bare, whole = costs.iloc[:, -1].sum(), costs.iloc[:, -1].sum() + search.sum()
    s = simulate(Searching(policy, search), part, budget * whole / bare, costs=costs)
    return dict(
        choice=s.choice,
        relative_accuracy=s.relative_accuracy,
        regret=s.regret,
        cost_fraction=(s.cost_fraction * bare + search[s.trace.model.unique()].sum()) / whole,
    )


def studies(name):
    "One row a study; all policies see the same subsets."
    task = load_benchmark(f"mini/{name}").complete()
    costs, search = prices(name, [d for d in task.sizes if d])
    rng = np.random.default_rng(SEED)
    for draw in range(DRAWS):
        part = task.filter(
            model=[
                task.models[i] for i in np.sort(rng.choice(len(task.models), SIZE, replace=False))
            ]
        )
        for label, budget in product(POLICIES, BUDGETS):
            yield dict(
                task=f"mini/{name}",
                target=max(task.sizes),
                policy=label,
                budget=budget,
                draw=draw,
                **replay(POLICIES[label], part, budget, costs, search),
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "task",
        nargs="*",
        default=[n.removeprefix("mini/") for n in benchmark_names("mini")],
        help="shipped tasks; all whose curves are measured when none is named",
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.strip()
    for name in parser.parse_args().task:
        with atomic_path(ROOT / "results" / "policies" / f"mini_{name}.csv") as tmp:
            pd.DataFrame(studies(name)).assign(commit=commit).to_csv(
                tmp, index=False, float_format="%.6g"
            )
        print(f"{name}: done", flush=True)
