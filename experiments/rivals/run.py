"""The race against others' pruners: `python experiments/rivals/run.py [METHOD…]`.

First the policies of lensllm, then `screen` (every variant of every pruner on fewer tables), then
each pruner twice: in the variant that `screen` found best over all sources, and, "by source", in
the one that it found best in each. `screen` and the pruners need what requirements.txt names, in an
environment of its own. One CSV and one JSON per method in results/rivals; finished sources are
kept.
"""

import argparse
import hashlib
import json
import subprocess
import warnings
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from lensllm._internal.atomic import atomic_path
from lensllm.choose.policies import POLICIES, run_costs
from lensllm.choose.replay import simulate
from lensllm.curves.table import CurveSet, benchmark_names, load_benchmark

ROOT = Path(__file__).resolve().parents[2]
OUT, SEED = ROOT / "results" / "rivals", 0
ORDERS, SCREENED_ORDERS = 3, 2  # random orders of the candidates, of a pruner and in `screen`
SMALL, LARGE = (0.1, 0.2, 0.4), (0.01, 0.02, 0.05)  # budgets, shares of full tuning
BY_SOURCE = " by source"  # ends the name of a pruner with one variant per source
OURS = ["race", "halving", "uniform", "subtuning", "hyperband"]


@dataclass(frozen=True)
class Source:
    "Tables that are read together."

    tables: tuple
    budgets: tuple
    size: int | None = None  # candidates in a subset; None: the whole table, once
    draws: int = 1
    every: int = 1  # `screen` reads every so many of the tables and subsets


def subsets_of(name):
    "A large table, of which subsets of 20 candidates are read."
    return Source((name,), LARGE, 20, 20, 10)


SOURCES = {
    "mini": Source(tuple(benchmark_names("mini")), SMALL),
    "mini, 10 of 14": Source(tuple(benchmark_names("mini")), SMALL, 10, 10, 6),
    "pet": Source(tuple(benchmark_names("pet")), SMALL),
    "lcdb": Source(tuple(benchmark_names("lcdb")), SMALL, every=5),
    "flan": subsets_of("flan"),
    "gigaword": subsets_of("gigaword"),
    "wmt19": subsets_of("wmt19"),
}


@dataclass(frozen=True)
class Variant:
    "How a pruner, which knows no budget, is run within one."

    pruner: str  # library and rule
    order: str = "in turn"  # one candidate after another; "in step": all at a size, then the next
    stretch: float | None = None  # largest size: all may climb there for this many budgets
    factor: int = 0  # reduction factor, of the pruners that have one
    late: bool = False  # first rung at 1/factor**3 of the largest size, not at the smallest size


FACTORS = {  # pruner -> reduction factors, its default first; 0: it has none
    "optuna median": [0],
    "optuna percentile": [0],
    "optuna halving": [4, 2],
    "optuna hyperband": [3, 2],
    "syne-tune median": [0],
    "syne-tune asha": [3, 2],
}
VARIANTS = [
    Variant(pruner, order, stretch, factor, late)
    for pruner, factors in FACTORS.items()
    for order, stretch, factor, late in product(
        ["in turn", "in step"], [None, 4.0, 2.0], factors, [False, True]
    )
    if factor or not late
]


def code_version():
    "What the answer depends on besides the settings: the text of the modules that decide."
    modules = (
        *("curves/table", "curves/metrics", "forecast/kalman", "forecast/prior"),
        *("forecast/posterior", "choose/selectors", "choose/policies", "choose/replay"),
    )
    paths = [ROOT / "lensllm" / f"{module}.py" for module in modules]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


CODE = code_version()  # as it is read, whatever changes while the replays run


def without_gaps(curves):
    "The candidates that have every size up to the largest that all have; zero-shot is left out."
    curves = curves.complete()
    losses = curves.wide()
    whole = losses.loc[:, losses.columns > 0].notna().all(axis=1)
    return curves.filter(model=list(whole.index[whole]))


def prices_of(curves):
    "FLOP of every run; where no parameters are known, each example costs the same."
    if curves.frame.n_params.notna().all():
        return run_costs(curves)
    frame = curves.frame.assign(examples=curves.frame.train_size)
    return run_costs(CurveSet(frame), column="examples")


@dataclass(frozen=True)
class Cell:
    "One table or a subset of its candidates."

    draw: int
    curves: CurveSet
    losses: pd.DataFrame  # models x sizes
    costs: pd.DataFrame  # the same shape

    def case(self, budget, order):
        "What names a row."
        return dict(task=self.curves.one_task(), budget=budget, draw=self.draw, order=order)

    def judged(self, choice):
        "Relative accuracy and regret of a choice; where there is none, those of the worst one."
        truth = self.losses.iloc[:, -1]
        regret = truth.get(choice, truth.max()) - truth.min()
        return dict(relative_accuracy=100 * (1 - regret / np.ptp(truth)), regret=regret)


@lru_cache
def cells_of(source):
    "The tables of a source, or subsets of them, drawn as `pareto` does."
    cells = []
    for name in source.tables:
        curves, rng = without_gaps(load_benchmark(name)), np.random.default_rng(SEED)
        for draw in range(source.draws):
            part = curves
            if source.size:
                picked = np.sort(rng.choice(len(curves.models), source.size, replace=False))
                part = curves.filter(model=[curves.models[i] for i in picked])
            costs = prices_of(part)
            cells.append(Cell(draw, part, part.wide()[list(costs.columns)], costs))
    return cells


def policy_rows(name, source):
    "One row per table, draw and budget of one of our policies."
    for cell, budget in product(cells_of(source), source.budgets):
        study = simulate(name, cell.curves, budget, costs=cell.costs)
        row = cell.case(budget, 0) | dict(choice=study.choice)
        yield row | cell.judged(study.choice) | dict(cost_fraction=study.cost_fraction)


def largest_size(variant, costs, money):
    "Where the ladder ends: the target, or as far as all could climb for `stretch` times the money."
    if variant.stretch is None:
        return int(costs.columns[-1])
    climbed = costs.sum().cumsum()
    return int(max(costs.columns[1], climbed.index[climbed <= variant.stretch * money].max()))


def study_of(variant, sizes, order):
    "A study of the library; its resource is the number of examples."
    first = max(sizes[0], sizes[-1] // variant.factor**3) if variant.late else sizes[0]
    if variant.pruner.startswith("syne-tune"):
        return SyneTuneStudy(syne_tune_scheduler(variant, first, sizes[-1]))
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        study_name=f"order {order}",  # Hyperband draws its brackets from the name
        sampler=optuna.samplers.RandomSampler(seed=order),
        pruner=optuna_pruner(variant, first, sizes[-1]),
    )


def optuna_pruner(variant, first, last):
    "Optuna's pruner with its first and last rung."
    from optuna import pruners

    if variant.pruner == "optuna median":
        return pruners.MedianPruner()
    if variant.pruner == "optuna percentile":
        return pruners.PercentilePruner(25.0)
    if variant.pruner == "optuna halving":
        return pruners.SuccessiveHalvingPruner(first, variant.factor)
    return pruners.HyperbandPruner(first, last, variant.factor)


def syne_tune_scheduler(variant, first, last):
    "Syne Tune's scheduler; what it would suggest is not asked for."
    from syne_tune.config_space import randint
    from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving
    from syne_tune.optimizer.schedulers.median_stopping_rule import MedianStoppingRule
    from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

    space = dict(candidate=randint(0, 999))
    if variant.pruner == "syne-tune median":
        inner = SingleObjectiveScheduler(space, metric="loss", random_seed=SEED)
        return MedianStoppingRule(inner, time_attr="examples", metric="loss")
    return AsynchronousSuccessiveHalving(
        space,
        metric="loss",
        time_attr="examples",
        max_t=last,
        grace_period=first,
        reduction_factor=variant.factor,
        random_seed=SEED,
    )


class SyneTuneStudy:
    "A scheduler of Syne Tune, asked as a study of Optuna is."

    def __init__(self, scheduler):
        self.scheduler, self.count = scheduler, 0

    def ask(self):
        "A new trial."
        from syne_tune.backend.trial_status import Trial

        trial = Trial(self.count, dict(candidate=self.count), datetime.now())
        self.scheduler.on_trial_add(trial)
        self.count += 1
        return SyneTuneTrial(self.scheduler, trial)


class SyneTuneTrial:
    "A trial that reports and is asked whether to stop."

    def __init__(self, scheduler, trial):
        self.scheduler, self.trial = scheduler, trial

    def report(self, loss, size):
        "Keep a loss until the scheduler is asked."
        self.result = dict(loss=loss, examples=size)

    def should_prune(self):
        "Whether the scheduler stops the trial at its last report."
        return self.scheduler.on_trial_result(self.trial, self.result) == "STOP"


class Spending:
    "What has been paid for: the money left and the last loss of each candidate."

    def __init__(self, losses, costs, money):
        self.losses, self.costs = losses.to_dict("index"), costs.to_dict("index")
        self.money, self.spent, self.seen = money * (1 + 1e-9), 0.0, {}

    def run(self, trial, model, size):
        "Pay for one run and report its loss; False where the money does not cover it."
        price = self.costs[model][size]
        if self.spent + price > self.money:
            return False
        self.spent += price
        self.seen[model] = size, self.losses[model][size]
        trial.report(self.seen[model][1], size)
        return True

    def choice(self):
        "The lowest last loss among the candidates seen furthest; None where nothing was run."
        furthest = max((size for size, _ in self.seen.values()), default=0)
        last = {model: loss for model, (size, loss) in self.seen.items() if size == furthest}
        return min(last, key=last.get, default=None)


def run_in_turn(study, spending, models, sizes):
    "One trial after another, each up the ladder until it is pruned or too dear."
    for model in models:
        trial, state = study.ask(), "COMPLETE"
        for size in sizes:
            if not spending.run(trial, model, size):
                state = "FAIL"
                break
            if trial.should_prune():
                state = "PRUNED"
                break
        tell(study, trial, spending.seen[model][1] if state == "COMPLETE" else None, state)


def tell(study, trial, loss, state):
    "End a trial; the rules of Syne Tune do not ask how one ended."
    if isinstance(study, SyneTuneStudy):
        return
    from optuna.trial import TrialState

    study.tell(trial, loss, TrialState[state])


def run_in_step(study, spending, models, sizes):
    "All trials at one size, the lowest losses first, then each is asked in its order."
    alive = {model: study.ask() for model in models}
    for size in sizes:
        ranked = sorted(alive, key=lambda model: spending.seen.get(model, (0, 0.0))[1])
        ran = {model for model in ranked if spending.run(alive[model], model, size)}
        alive = {
            model: trial
            for model, trial in alive.items()
            if model in ran and not trial.should_prune()
        }


def pruned_study(variant, cell, budget, order):
    "Choice and spending of a study with the candidates in one random order."
    whole = cell.costs.iloc[:, -1].sum()
    spending = Spending(cell.losses, cell.costs, budget * whole)
    top = largest_size(variant, cell.costs, budget * whole)
    sizes = [int(size) for size in cell.costs.columns if size <= top]
    study = study_of(variant, sizes, order)
    models = list(np.random.default_rng(order).permutation(cell.losses.index))
    walk = run_in_turn if variant.order == "in turn" else run_in_step
    walk(study, spending, models, sizes)
    return spending.choice(), spending.spent / whole


def pruner_rows(variant, cells, budgets, orders):
    "One row per table, draw, budget and random order of a pruner."
    for cell, budget, order in product(cells, budgets, range(orders)):
        choice, spent = pruned_study(variant, cell, budget, order)
        row = cell.case(budget, order) | dict(choice=choice)
        yield row | cell.judged(choice) | dict(cost_fraction=spent)


def screened_rows(source):
    "Mean relative accuracy and regret of every variant, on some tables and subsets."
    cells = cells_of(source)[:: source.every]
    for variant in VARIANTS:
        rows = pd.DataFrame(pruner_rows(variant, cells, source.budgets, SCREENED_ORDERS))
        for budget, group in rows.groupby("budget"):
            means = group[["relative_accuracy", "regret", "cost_fraction"]].mean()
            yield asdict(variant) | dict(budget=budget, studies=len(group), **means)


def best_variants(pruner, folder):
    "The best variant of `screen` over all sources, and by source; ties go by that over all."
    screen = pd.read_csv(folder / "screen.csv")
    screen = screen[screen.pruner == pruner]
    names = ["order", "stretch", "factor", "late"]
    means = screen.groupby([*names, "source"], dropna=False).relative_accuracy.mean().unstack()
    means["overall"] = means.mean(axis=1)
    best = {}
    for label in ["overall", *SOURCES]:
        ranked = means.sort_values(list(dict.fromkeys([label, "overall"])), ascending=False)
        order, stretch, factor, late = ranked.index[0]
        stretch = None if np.isnan(stretch) else float(stretch)
        best[label] = Variant(pruner, order, stretch, int(factor), bool(late))
    return best.pop("overall"), best


def method_and_settings(name, folder):
    "What makes the rows of one source, and all that decides them."
    if name in OURS:
        return lambda label: policy_rows(name, SOURCES[label]), asdict(POLICIES[name]())
    if name == "screen":
        return lambda label: screened_rows(SOURCES[label]), dict(variants=len(VARIANTS))
    overall, by_source = best_variants(name.removesuffix(BY_SOURCE), folder)
    one_for_all = not name.endswith(BY_SOURCE)
    variants = dict.fromkeys(SOURCES, overall) if one_for_all else by_source

    def rows_of(label):
        source = SOURCES[label]
        return pruner_rows(variants[label], cells_of(source), source.budgets, ORDERS)

    if one_for_all:
        return rows_of, asdict(overall)
    return rows_of, {label: asdict(variant) for label, variant in variants.items()}


def orders_of(name):
    "Random orders of the candidates; our policies do not depend on it."
    return 1 if name in OURS else SCREENED_ORDERS if name == "screen" else ORDERS


def version_of(package):
    "Its version, or None where it is not installed."
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def run(name, folder):
    "One method on all sources; a source that is there with the same settings and code is kept."
    path = folder / f"{name.replace(' ', '_')}.csv"
    rows_of, settings = method_and_settings(name, folder)
    config = dict(name=name, settings=settings, seed=SEED, orders=orders_of(name))
    config |= dict(sources={label: asdict(source) for label, source in SOURCES.items()})
    config = json.loads(json.dumps(config))
    known = path.with_suffix(".json")
    old = json.loads(known.read_text()) if path.exists() else {}
    same = (old.get("config"), old.get("code")) == (config, CODE)
    table = pd.read_csv(path) if same else pd.DataFrame(columns=["source"])
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.strip()
    packages = ("numpy", "scipy", "pandas", "optuna", "syne-tune")
    meta = dict(config=config, commit=commit, code=CODE)
    meta |= dict(versions={package: version_of(package) for package in packages})
    for label in SOURCES:
        if label in set(table.source):
            continue
        rows = pd.DataFrame(rows_of(label))
        rows.insert(0, "source", label)
        table = rows if table.empty else pd.concat([table, rows], ignore_index=True)
        with atomic_path(path) as tmp:
            table.to_csv(tmp, index=False, float_format="%.6g")
        with atomic_path(known) as tmp:
            tmp.write_text(json.dumps(meta, indent=1) + "\n")
        print(name, label, rows.groupby("budget").relative_accuracy.mean().round(1).to_dict())


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of fits that are exact
    parser = argparse.ArgumentParser(description=__doc__)
    rivals = [*FACTORS, *(pruner + BY_SOURCE for pruner in FACTORS)]
    parser.add_argument("method", nargs="*", default=[*OURS, "screen", *rivals])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for method in args.method:
        run(method, args.out)
