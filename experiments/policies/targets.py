"""Replay policies at smaller targets too, and the race with scouts: `python
experiments/policies/targets.py`, results/policies/targets.csv. One table names one winner; cut
at other sizes it names others.
"""

import subprocess
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pandas as pd
from lensllm.choose.policies import Halving, Plan, Policy, Race, UniformLadder
from lensllm.curves.table import load_benchmark
from lensllm._internal.atomic import atomic_path
from lensllm.choose.replay import pareto

ROOT = Path(__file__).resolve().parents[2]
TASKS, TARGETS, BUDGETS, DRAWS, SIZE, SEED = (
    ("flan", "gigaword"),
    (204800, 409600, 819200, 1638400),
    (0.01, 0.02, 0.05),
    30,
    20,
    0,
)


@dataclass(frozen=True)
class Scouting(Policy):
    """The race, in which the cheapest candidates run ahead after the opening, so that the others'
    slopes are known from theirs.
    """

    share: float = 0.1  # of the budget, for all scouts together
    scouts: int = 5
    race: Policy = Race()
    name: str = "race with scouts"

    def next(self, seen, costs, budget):
        plan, opened = (
            self.race.next(seen, costs, budget),
            seen is not None and (seen.frame.train_size > self.race.start).any(),
        )
        if opened or plan.why.startswith("the opening") or not plan:
            return plan
        paid = costs.to_numpy()[:, costs.columns <= self.race.start].sum()
        return (
            Plan(
                [
                    run
                    for m in costs.iloc[:, -1].nsmallest(self.scouts).index
                    for run in self.ahead(m, costs, self.share * (budget + paid) / self.scouts)
                ],
                "scouts",
                plan.choice,
            )
            or plan
        )

    def ahead(self, model, costs, money):
        "The longest ladder beyond the opening, every second size, that the money covers."
        for last in range(costs.shape[1] - 1, 0, -1):
            sizes = [d for d in costs.columns[last::-2] if d > self.race.start]
            if costs.loc[model, sizes].sum() <= money:
                return [(model, int(d)) for d in sizes[::-1]]
        return []


POLICIES = {
    "race": Race(),
    "race with scouts": Scouting(),
    "halving 800": Halving(800),
    "halving 1600": Halving(1600),
    "halving 3200": Halving(3200),
    "halving 1600, keep .65": Halving(1600, 0.65),
    "uniform AtS": UniformLadder(),
}


def replay(cell):
    "All studies of one policy on one task and target; all policies see the same subsets."
    label, task, target = cell
    return pareto(
        [POLICIES[label]],
        [load_benchmark(task).up_to(target)],
        BUDGETS,
        draws=DRAWS,
        size=SIZE,
        seed=SEED,
    ).assign(policy=label, target=target)


if __name__ == "__main__":
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.strip()
    with ProcessPoolExecutor() as pool:
        rows = pd.concat(pool.map(replay, product(POLICIES, TASKS, TARGETS)))
    with atomic_path(ROOT / "results" / "policies" / "targets.csv") as tmp:
        rows.assign(commit=commit).to_csv(tmp, index=False, float_format="%.6g")
