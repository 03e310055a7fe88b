"Replay policies on subsets of the shipped candidates, at what their runs really cost: `python experiments/policies/mini.py [TASK…]`, results/policies/mini_TASK.csv. A candidate's first run pays for the search for its learning rate besides, as in a study, and so does the whole."
import argparse
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
from lensllm.allocate import FullTuning, Halving, Hyperband, Race, SubTuningPolicy, UniformLadder, run_costs
from lensllm.corpora import load_task
from lensllm.curves import load_benchmark
from lensllm.files import atomic_path
from lensllm.finetune import Recipe
from lensllm.simulate import simulate
from lensllm.study import inspect_candidate, search_price
from lensllm.zoo import zoo_names

ROOT = Path(__file__).resolve().parents[2]
BUDGETS, DRAWS, SIZE, SEED = (.15, .2, .3, .4), 50, 8, 0
POLICIES = {"race": Race(), "halving from 200, keep .65": Halving(200, .65), "hyperband from 100, 400, 1600": Hyperband((100, 400, 1600)), "uniform AtS": UniformLadder(), "subtuning": SubTuningPolicy()}  # the defaults of halving and Hyperband begin at sizes that are the top of this ladder


def searches(name):
    "FLOP of the search for each candidate's rate."
    task, recipe = load_task(name), Recipe()
    others = min(recipe.valid_rows, len(task.valid)), len(task.test)
    looked = {m: inspect_candidate(m, task, recipe) for m in zoo_names()}
    return pd.Series({m: search_price(k["n_params"], k["encoder_params"], k["tokens"], recipe, others) for m, k in looked.items()})


def replay(policy, part, budget, search):
    "A replay whose budget covers the searches too: they are set aside for all candidates, and paid for those that are run."
    costs, needed = run_costs(part, column="flop"), search[part.models].sum()
    bare = costs.iloc[:, -1].sum()
    s = simulate(policy, part, max(budget - needed * (1 - budget) / bare, 0.), costs=costs)
    paid = search[s.trace.model.unique()].sum()
    return dict(choice=s.choice, relative_accuracy=s.relative_accuracy, regret=s.regret, cost_fraction=(s.cost_fraction * bare + paid) / (bare + needed))


def studies(name):
    "One row a study; all policies see the same subsets."
    task, search = load_benchmark(f"mini/{name}").complete(), searches(name)
    rng = np.random.default_rng(SEED)
    for draw in range(DRAWS):
        part = task.filter(model=[task.models[i] for i in np.sort(rng.choice(len(task.models), SIZE, replace=False))])
        for label, policy, budget in [*((k, p, b) for k, p in POLICIES.items() for b in BUDGETS), ("full", FullTuning(), 1.)]:
            yield dict(task=f"mini/{name}", target=max(task.sizes), policy=label, budget=budget, draw=draw, **replay(policy, part, budget, search))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="*", default=["headline", "define"], help="shipped tasks whose curves are measured")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()
    for name in parser.parse_args().task:
        with atomic_path(ROOT / "results" / "policies" / f"mini_{name}.csv") as tmp: pd.DataFrame(studies(name)).assign(commit=commit).to_csv(tmp, index=False, float_format="%.6g")
        print(f"{name}: done", flush=True)
