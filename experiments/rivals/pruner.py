"""LensPruner beside Optuna's pruners, in Optuna: `python experiments/rivals/pruner.py`.

Trials read their losses from the tables of LCDB and FLAN. Each pruner is replayed in the same
settings: without a limit, where its own decisions are all that saves, and with equal budgets.
`studies.csv` has one row per study, `studies.json` says what made it. With `--overhead` instead:
how long LensPruner takes per report, `overhead.csv`. The environment needs Optuna. About ten
minutes on one core.
"""

import argparse
import json
import subprocess
import time
import warnings
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from lensllm._internal.atomic import atomic_path
from lensllm.optuna import LensPruner
from optuna import pruners
from optuna.trial import TrialState
from run import OUT, ROOT, SOURCES, Spending, cells_of, largest_size, run_in_turn, version_of

SEED = 0  # of the order of the candidates, and of samplers
UNLIMITED = 100.0  # budget: every run can be paid for


@dataclass(frozen=True)
class Setting:
    "How trials are run."

    order: str  # "in turn": one candidate after another; "in step": all at a size, then the next
    stretch: float | None = None  # largest size: all may climb there for this many budgets


PRUNERS = ["none", "lens", "median", "halving", "hyperband"]
IN_TURN, IN_STEP = Setting("in turn"), Setting("in step")
LIMITED = [replace(IN_TURN, stretch=2.0), IN_STEP]
TABLES = ["lcdb", "flan"]  # sources of run.py


def pruner_of(name, first, last):
    "A pruner with its defaults, and the first and last size where it asks for them."
    return dict(
        none=pruners.NopPruner,
        lens=lambda: LensPruner(target=last),
        median=pruners.MedianPruner,
        halving=lambda: pruners.SuccessiveHalvingPruner(first),
        hyperband=lambda: pruners.HyperbandPruner(first, last),
    )[name]()


def run_in_step(study, spending, models, sizes):
    "As in run.py, but a trial that is pruned or at its end is told."
    alive = {model: study.ask() for model in models}
    for size in sizes:
        ranked = sorted(alive, key=lambda model: spending.seen.get(model, (0, 0.0))[1])
        ran = {model for model in ranked if spending.run(alive[model], model, size)}
        for model in list(alive):
            if model not in ran:
                study.tell(alive.pop(model), state=TrialState.FAIL)
            elif alive[model].should_prune():
                study.tell(alive.pop(model), state=TrialState.PRUNED)
    for model, trial in alive.items():
        study.tell(trial, spending.seen[model][1])


def study_row(name, setting, cell, budget):
    "One study: what was chosen, what it cost, and how long the pruner took."
    whole = cell.costs.iloc[:, -1].sum()
    spending = Spending(cell.losses, cell.costs, budget * whole)
    top = largest_size(setting, cell.costs, budget * whole)
    sizes = [int(size) for size in cell.costs.columns if size <= top]
    study = optuna.create_study(
        study_name=f"{cell.curves.one_task()} {cell.draw}",  # Hyperband draws brackets from it
        sampler=optuna.samplers.RandomSampler(seed=SEED),
        pruner=pruner_of(name, sizes[0], sizes[-1]),
    )
    models = list(np.random.default_rng([SEED, cell.draw]).permutation(cell.losses.index))
    started = time.perf_counter()
    walk = run_in_turn if setting.order == "in turn" else run_in_step
    walk(study, spending, models, sizes)
    seconds = time.perf_counter() - started
    choice = spending.choice()
    reports = sum(len(trial.intermediate_values) for trial in study.trials)
    row = dict(pruner=name) | cell.case(budget, SEED) | asdict(setting) | dict(choice=choice)
    row |= cell.judged(choice) | dict(cost_fraction=spending.spent / whole)
    row |= dict(cost_of_all=spending.spent / cell.costs.to_numpy().sum())
    return row | dict(reports=reports, seconds=seconds)


def rows_of(name):
    "All studies of a pruner."
    for label in TABLES:
        cases = [(IN_TURN, UNLIMITED), (IN_STEP, UNLIMITED)]
        cases += product(LIMITED, SOURCES[label].budgets[1:2])  # the middle one
        for cell, (setting, budget) in product(cells_of(SOURCES[label]), cases):
            yield dict(source=label) | study_row(name, setting, cell, budget)


def commit_of_code():
    "The commit that is checked out."
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout.strip()


def keep(table, meta, path):
    "Write a table, and beside it what made it."
    meta |= dict(versions={name: version_of(name) for name in ("numpy", "scipy", "optuna")})
    with atomic_path(path) as tmp:
        pd.DataFrame(table).to_csv(tmp, index=False, float_format="%.6g")
    with atomic_path(path.with_suffix(".json")) as tmp:
        tmp.write_text(json.dumps(meta, indent=1) + "\n")


class TimedPruner(LensPruner):
    "LensPruner that notes how long each answer takes."

    def prune(self, study, trial):
        "As LensPruner does."
        started = time.perf_counter()
        answer = super().prune(study, trial)
        self.seconds = [*getattr(self, "seconds", []), time.perf_counter() - started]
        return answer


def overhead_rows(n_steps, n_trials=100):
    "Milliseconds per report of a study of made-up curves, one trial after another."
    sizes = np.unique(np.geomspace(100, 12_800, n_steps).round().astype(int))
    rng = np.random.default_rng(SEED)
    study = optuna.create_study(pruner=TimedPruner(target=int(sizes[-1])))
    for _ in range(n_trials):
        floor, noise = 1 + 0.3 * rng.normal() ** 2, rng.normal(0, 0.005, len(sizes))
        trial, state = study.ask(), TrialState.COMPLETE
        for size, loss in zip(sizes, (floor + 6 * sizes**-0.35) * np.exp(noise)):
            trial.report(loss, int(size))
            if trial.should_prune():
                state = TrialState.PRUNED
                break
        study.tell(trial, loss if state == TrialState.COMPLETE else None, state)
    numbers = [t.number for t in study.trials for _ in t.intermediate_values]
    for trial, seconds in zip(numbers, study.pruner.seconds, strict=True):
        yield dict(steps=n_steps, trial=trial, milliseconds=1000 * seconds)


def main(out):
    "Replay all pruners, and keep one table."
    commit, table = commit_of_code(), []
    for name in PRUNERS:
        started = time.perf_counter()
        table += list(rows_of(name))
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    settings = {label: asdict(SOURCES[label]) for label in TABLES}
    meta = dict(commit=commit, seed=SEED, sources=settings, pruners=PRUNERS)
    keep(table, meta, out / "studies.csv")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of fits that are exact
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT / "lens")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.overhead:
        rows = [row for n_steps in (8, 100) for row in overhead_rows(n_steps)]
        keep(rows, dict(commit=commit_of_code(), seed=SEED), args.out / "overhead.csv")
    else:
        main(args.out)
