"""What takes minutes on the page about the posterior: `python experiments/posterior/run.py
[PART…]`. One CSV per part in results/posterior, with a JSON beside it. Rows that were made with
the same code are kept. The page makes some rows again with the functions below.
"""

import argparse
import hashlib
import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from lensllm._internal.atomic import atomic_path
from lensllm.choose.selectors import RATIOS, as_selector
from lensllm.curves.metrics import coverage, pearson
from lensllm.curves.table import CurveSet, benchmark_names, load_benchmark
from lensllm.forecast.fit import fit_law
from lensllm.forecast.kalman import MOTION_LAWS, panel
from lensllm.forecast.laws import LAWS
from lensllm.forecast.posterior import fit_posterior
from lensllm.forecast.prior import generic, learn_prior, shared_mode

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "posterior"
LARGE = ("flan", "gigaword")
VARIANTS = {  # of the posterior, each without one of its parts
    "no transfer": dict(prior="generic"),
    "not robust": dict(robust=False),
    "not pooled": dict(pooled=False),
    "no families": dict(family_share=0.0),
    "no floor": dict(laws=("rectified",)),
    "floor only": dict(laws=("floored",)),
    "power only": dict(laws=("power",)),
    "with one break": dict(laws=("floored", "rectified", "one_break")),
}
SHARES = tuple(i / 10 for i in range(10))  # of the growth's variance, common to a family
FLOORS = (0.0, 0.1, 0.2, 0.3, 0.4)  # shares of the median first loss
MADE = ("vanilla", "rectified", "pow4", "mmf4", "bnsl", "m4")  # laws of the synthetic tasks
NEAR_FLOORS, GROUPS = (0, 0.3, 0.6, 0.8), 8  # shares of the last loss seen; groups of each


# Tables, and how far each was seen


def load_tables():
    "The five shipped tables, as far as all candidates of each were tuned."
    tables = {name: load_benchmark(name) for name in LARGE}
    for name in benchmark_names():
        if name.startswith("mini/"):
            tables[name] = load_benchmark(name).complete()
    return tables


def sizes_seen(name, curves):
    "The largest sizes seen, from which we predict the loss at a table's last size."
    if name in LARGE:
        return [max(curves.sizes) // ratio for ratio in RATIOS]
    return [size for size in curves.sizes if size > 100][:-1]


def cases_of(tables, names=None):
    "Pairs of a table and a largest size seen."
    return [(name, size) for name in names or tables for size in sizes_seen(name, tables[name])]


def forecast(curves, size, **options):
    "The posterior of one table, seen up to one size: the model's own word, without hindcasts."
    return fit_posterior(curves.up_to(size), max(curves.sizes), calibrated=False, **options)


# Rows. Each function makes the rows of one case.


def predictions(tables, name, size, variant):
    "What one variant predicts: the median loss of each candidate."
    post = forecast(tables[name], size, **VARIANTS[variant])
    return [dict(model=m, median=loss) for m, loss in zip(post.models, post.quantile(0.5))]


def forecast_scores(post, losses):
    "Error of ln(loss), coverage of 90% intervals and correlation of one forecast."
    losses = losses[post.models]
    error = post.mean() - np.log(losses.to_numpy())
    return dict(
        rmse=np.sqrt(np.mean(error**2)),
        inside_90=np.mean(abs(error) < 1.645 * post.sd()),
        pearson=pearson(-np.exp(post.mean()), losses.to_numpy()),
    )


def scores(tables, name, size, **options):
    "Scores of the posterior with other options."
    curves = tables[name]
    post = forecast(curves, size, **options)
    return [forecast_scores(post, curves.at(max(curves.sizes)))]


def share_scores(tables, name, size, share):
    "Scores if a family has `share` of the growth's variance in common."
    return scores(tables, name, size, family_share=share)


def law_scores(tables, name, size, law):
    "Scores of one law alone."
    return scores(tables, name, size, laws=(law,))


def taught_scores(tables, name, size):
    "Scores with a prior that knows all other tables."
    # A task's own record is left out when the prior is asked about that task.
    return scores(tables, name, size, prior=learn_prior(tables.values()))


def floor_law(share):
    "The name of the law with a floor of `share` of the median first loss; it is registered."
    law = f"floor {share:g}" if share else "rectified"
    return MOTION_LAWS.setdefault(law, (1.0, share)) and law


def floor_evidence(seen, share):
    "Log evidence of a floor of `share` of the median first loss, with the generic prior."
    law = floor_law(share)
    return shared_mode(panel(seen), law, *generic(law)).log_evidence


def floor_scores(tables, name, size, share):
    "Evidence of a floor, and errors with it: alone, and averaged with the law without a floor."
    law, prior = floor_law(share), "generic"
    laws = (law, "rectified")
    (alone,) = scores(tables, name, size, prior=prior, laws=(law,))
    (averaged,) = scores(tables, name, size, prior=prior, laws=laws)
    evidence = floor_evidence(tables[name].up_to(size), share)
    return [dict(log_evidence=evidence, alone=alone["rmse"], averaged=averaged["rmse"])]


def choice_accuracy(true, choice):
    "Where a choice lies between the worst candidate (0) and the best (100)."
    return float(100 * (true.max() - true[choice]) / np.ptp(true))


def subsets(tables, n_subsets=3):
    "Candidates of each subset: 20 of 30, or 8 of 14."
    rng, chosen = np.random.default_rng(0), {}
    for name, curves in tables.items():
        n_models = 20 if name in LARGE else 8
        for i in range(n_subsets):
            chosen[name, i] = list(rng.permutation(curves.models)[:n_models])
    return chosen


def subset_gain(tables, name, size, subset):
    "What the second opinion adds to relative accuracy on a subset of the candidates."
    models = subsets(tables)[name, subset]
    part, target = tables[name].filter(model=models), max(tables[name].sizes)
    ranking = as_selector("posterior").rank(part.up_to(size), target)
    true, lowest = part.at(target), ranking.scores.idxmax()
    return [dict(gain=choice_accuracy(true, ranking.best) - choice_accuracy(true, lowest))]


# Rows of synthetic tasks, where the truth is known


def curve_rows(model, sizes, losses, noise, rng):
    "Rows of a table: one curve with relative noise."
    noisy = losses * np.exp(noise * rng.normal(size=len(sizes)))
    return pd.DataFrame(dict(model=model, train_size=sizes, test_loss=noisy))


def inside(post, losses, probability):
    "Share of true losses within the posterior's intervals."
    low, high = (1 - probability) / 2, (1 + probability) / 2
    return coverage(post.quantile(low), post.quantile(high), losses)


def synthetic(flan, law, noise=0.006, seed=0):
    "Twelve curves that follow `law` as fitted to FLAN's, and the exact losses at the target."
    rng, sizes = np.random.default_rng(seed), np.array([size for size in flan.sizes if size])
    curves, exact = [], {}
    for model in flan.models[::5] + flan.models[2::5]:
        fitted = fit_law(law, *flan.curve(model)).params
        losses = LAWS[law](sizes.astype(float), **fitted)
        curves.append(curve_rows(model, sizes, losses, noise, rng))
        exact[model] = losses[-1]
    return CurveSet(pd.concat(curves).assign(task=law)), pd.Series(exact)


def synthetic_scores(flan, law):
    "Coverage and error on the task of one law, at three sizes seen."
    curves, exact = synthetic(flan, law)
    target = max(curves.sizes)
    for ratio in (8, 64, 512):
        seen = curves.up_to(target // ratio)
        post = fit_posterior(seen, target, prior="generic", calibrated=False)
        losses = exact[post.models].to_numpy()
        ats = as_selector("ats").rank(seen, target).frame.set_index("model").predicted_loss
        ats_error = np.log(ats[post.models].to_numpy() / losses)
        yield dict(
            ratio=ratio,
            inside_50=inside(post, losses, 0.5),
            inside_90=inside(post, losses, 0.9),
            rmse=np.sqrt(np.mean(np.log(post.quantile(0.5) / losses) ** 2)),
            rmse_ats=np.sqrt(np.mean(ats_error**2)),
        )


def near_floor(share, seed, noise=0.005):
    "Six curves with a floor of `share` of the loss at 12,800, and exact losses at 204,800."
    rng, D = np.random.default_rng(seed), 200 * 2.0 ** np.arange(11)
    curves, exact = [], {}
    for i in range(6):
        A, d, b = rng.uniform(5, 25), rng.uniform(100, 2000), rng.uniform(0.25, 0.45)
        fall = A / (d + D) ** b
        losses = share / (1 - share) * fall[6] + fall
        curves.append(curve_rows(f"m{i}", D.astype(int), losses, noise, rng))
        exact[f"m{i}"] = losses[-1]
    return CurveSet(pd.concat(curves).assign(task="floored")), pd.Series(exact)


def near_floor_scores(share, seed):
    "Coverage of the 90% intervals and mean error of ln(loss) on one group."
    curves, exact = near_floor(share, seed)
    post = fit_posterior(curves.up_to(12800), 204800, prior="generic", calibrated=False)
    losses = exact[post.models].to_numpy()
    bias = float(np.mean(np.log(post.quantile(0.5) / losses)))
    return [dict(inside_90=inside(post, losses, 0.9), bias=bias)]


# Parts: what a row is of, all the rows there are, and how they are made


def with_third(cases, name, values):
    "Every case with every value of a third column."
    return [dict(task=t, seen=s) | {name: value} for value in values for t, s in cases]


def parts(tables):
    "Per part: what each row is of, and the function that makes its rows."
    of_all, of_large = cases_of(tables), cases_of(tables, LARGE)
    made = [dict(law=law) for law in MADE]
    groups = [dict(floor=floor, seed=seed) for floor in NEAR_FLOORS for seed in range(GROUPS)]

    def of_case(function):
        return lambda task, seen, *rest: function(tables, task, seen, *rest)

    return dict(
        variants=(with_third(of_large, "variant", VARIANTS), of_case(predictions)),
        shares=(with_third(of_all, "share", SHARES), of_case(share_scores)),
        floors=(with_third(of_large, "share", FLOORS), of_case(floor_scores)),
        laws=(with_third(of_all, "law", ("rectified", "floored")), of_case(law_scores)),
        taught=([dict(task=t, seen=s) for t, s in of_all], of_case(taught_scores)),
        subsets=(with_third(of_all, "subset", range(3)), of_case(subset_gain)),
        made=(made, lambda law: synthetic_scores(tables["flan"], law)),
        near_floor=(groups, near_floor_scores),
    )


def code():
    "What the rows depend on: the text of this script and of the modules that decide."
    modules = (
        "curves/table",
        "curves/metrics",
        "forecast/laws",
        "forecast/fit",
        "forecast/kalman",
        "forecast/prior",
        "forecast/posterior",
        "choose/selectors",
    )
    texts = [(ROOT / "lensllm" / f"{module}.py").read_bytes() for module in modules]
    return hashlib.sha256(b"".join([Path(__file__).read_bytes(), *texts])).hexdigest()[:12]


def write(path, rows, meta):
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as tmp:
        pd.DataFrame(rows).to_csv(tmp, index=False, float_format="%.9g")
    with atomic_path(path.with_suffix(".json")) as tmp:
        tmp.write_text(json.dumps(meta, indent=1) + "\n")


def fill(part, keys, make, meta):
    "Make the rows of a part that are not there yet."
    path, rows = OUT / f"{part}.csv", []
    if path.exists():
        made_with = json.loads(path.with_suffix(".json").read_text())
        if made_with["code"] == meta["code"]:
            meta, rows = made_with, pd.read_csv(path).to_dict("records")
    done = {tuple(row[name] for name in keys[0]) for row in rows}
    left = [key for key in keys if tuple(key.values()) not in done]
    for i, key in enumerate(left, 1):
        rows += [key | row for row in make(*key.values())]
        if i % 20 == 0 or i == len(left):
            write(path, rows, meta)
            print(f"{part}: {i} of {len(left)}", flush=True)
    if not left:
        print(f"{part}: kept")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help="all when none is named")
    every = parts(load_tables())
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.strip()
    versions = {package: version(package) for package in ("numpy", "scipy", "pandas")}
    for part in parser.parse_args().part or every:
        fill(part, *every[part], dict(commit=commit, code=code(), versions=versions))
