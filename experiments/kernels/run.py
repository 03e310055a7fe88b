"""What takes minutes on the page about kernels: `python experiments/kernels/run.py [PART…]`. Errors
of laws with a kernel on single curves, and of the posterior with hints from kernels. One CSV per
part in results/kernels, with a JSON beside it. Rows that were made with the same code and the
same records are kept. The page makes some rows again with the functions below.
"""

import argparse
import hashlib
import json
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from lensllm._internal.atomic import atomic_path
from lensllm.curves.table import load_benchmark
from lensllm.forecast.fit import fit_law
from lensllm.forecast.posterior import fit_posterior
from lensllm.kernels.dynamics import measured_learning_curve
from lensllm.kernels.lens import LensLaw, curve_hint, hint_of, learn_hints

ROOT = Path(__file__).resolve().parents[2]
RECORDS, OUT = ROOT / "results" / "mini", ROOT / "results" / "kernels"
POINTS = (2, 3, 4, 6)  # sizes that the posterior has seen
SHIFTS = (2, 5, 9)  # how far hints are moved to give them to other candidates
ROWS = np.geomspace(4, 64, 9)  # rows of the kernel at which its learning curve is read
FEATURES = {
    "F, calibrated": ["F"],
    "spectrum": ["effective_dimension", "alignment", "trace"],
    "size and start": ["model_size", "zero_shot"],
}


# The records of *mini*


@dataclass
class Mini:
    "The tasks whose candidates all have a kernel; everything by task, then by candidate."

    curves: dict  # tables of losses, with the loss before training
    known: dict  # the same from the first run on
    starts: dict  # kernels before fine-tuning
    smallest: dict  # the run on 100 examples
    scores: dict  # frames, one row per candidate; larger should be better


def read(name):
    return [json.loads(line) for line in (RECORDS / f"{name}.jsonl").read_text().splitlines()]


def load_mini():
    "Curves, kernels and smallest runs."
    mini = Mini({}, {}, {}, {}, {})
    for path in sorted(RECORDS.glob("*_probes.jsonl")):
        name = path.stem.removesuffix("_probes")
        probes = {row["model"]: row for row in read(path.stem) if not row["train_size"]}
        complete = load_benchmark(f"mini/{name}").complete()
        if set(probes) != set(complete.models):
            continue
        mini.curves[name], mini.starts[name] = complete, probes
        mini.known[name] = complete.where(complete.frame.train_size > 0)
        mini.smallest[name] = {
            row["model"]: row for row in read(name) if (row["train_size"], row["seed"]) == (100, 0)
        }
        scores = {model: scores_of(mini, name, model) for model in probes}
        mini.scores[name] = pd.DataFrame(scores).T
    return mini


# What a kernel tells


def lens_law(start, rate=1.0):
    return LensLaw(start["sampled"]["eigvals"], start["sampled"]["weights"], rate)


def F(mini, name, model):
    "F as LensLLM uses it, at the step and rate of the run on 100 examples."
    run = mini.smallest[name][model]
    return float(lens_law(mini.starts[name][model], run["rate"]).F(run["step"]))


def spectrum(start):
    "Eigenvalues of the kernel of sampled logits, and the residuals' weights on them."
    return np.array(start["sampled"]["eigvals"]), np.array(start["sampled"]["weights"])


def evidence(start):
    "Log evidence per sampled logit under scale·(K/n + noise), less that of noise alone."
    eigvals, weights = spectrum(start)
    noises = eigvals.mean() * np.geomspace(1e-3, 1e3, 61)  # the scales have a closed form
    total = eigvals + noises[:, None]
    fit = np.log(weights.mean()) - np.log((weights / total).mean(1))
    return float(0.5 * (fit - np.log(total).mean(1)).max())


def kernel_curve(start, rows, logits=4):
    "Share of the error that kernel regression leaves; its ridge is the mean eigenvalue."
    eigvals, weights = spectrum(start)
    n = len(eigvals)
    left = measured_learning_curve(  # in its own basis a kernel is diagonal
        np.diag(n * eigvals),
        np.sqrt(weights),
        logits * np.asarray(rows, float),
        ridge=n * eigvals.mean(),
    )
    return left / (weights.sum() / n)


def scores_of(mini, name, model):
    "All scores of one candidate; larger should be better."
    start, task = mini.starts[name][model], mini.curves[name]
    kernel = start["kernel"]
    return dict(
        trace=np.log(kernel["trace"]),
        effective_dimension=kernel["effective_dimension"],
        conditioning=-np.log(kernel["condition_number"] or 1e16),
        alignment=start["sampled"]["alignment"],
        evidence=evidence(start),
        kernel_curve=-float(kernel_curve(start, 64)),
        zero_shot=-task.at(0)[model],
        model_size=np.log(task.n_params()[model]),
        first_size=-task.at(100)[model],
        F=-np.log(F(mini, name, model)),
    )


# Laws on single curves


def laws_of(mini, name, model):
    "The rectified law, and LensLLM's with the candidate's own kernel and with another's."
    models = list(mini.starts[name])
    another = models[(models.index(model) + len(models) // 2) % len(models)]
    own_run, other_run = mini.smallest[name][model], mini.smallest[name][another]
    own_law = lens_law(mini.starts[name][model], own_run["rate"])
    other_law = lens_law(mini.starts[name][another], other_run["rate"])
    return {
        "rectified": "rectified",
        "t free": own_law.law(),
        "t fixed": own_law.law(own_run["step"]),
        "t free, another's": other_law.law(),
        "t fixed, another's": other_law.law(other_run["step"]),
    }


def single_errors(mini, name, model):
    "Squared errors of the laws on one curve: one row per cut, law and size that is read."
    D, loss = mini.known[name].curve(model)
    laws = laws_of(mini, name, model)
    for cut, (label, law) in product(range(4, len(D)), laws.items()):
        fit = fit_law(law, D[:cut], loss[:cut])
        for at in range(cut, len(D)):
            if D[at] in (2 * D[cut - 1], 8 * D[cut - 1]):
                error = np.log(float(fit.predict(D[at : at + 1])[0]) / loss[at])
                factor = int(D[at] / D[cut - 1])
                yield dict(law=label, seen=int(D[cut - 1]), factor=factor, square=error**2)


# The posterior with hints


def law_of(D, loss):
    "ln D_l, beta, E of the rectified law, as hints have them."
    return curve_hint(D, loss, spread=np.ones(3), scale=1.0).mean


def curve_hints(mini, source, name):
    "Hints from kernel curves; their distance from real laws is that on the source."
    misses = []
    for model, start in mini.starts[source].items():
        real = law_of(*mini.known[source].curve(model))
        misses.append(law_of(ROWS, kernel_curve(start, ROWS)) - real)
    miss = np.array(misses)
    spread = miss.T @ miss / len(miss) + 1e-6 * np.eye(3)
    return {
        model: curve_hint(ROWS, kernel_curve(start, ROWS), spread=spread)
        for model, start in mini.starts[name].items()
    }


def between(start, rate):
    "D_l anywhere between floor and cap."
    law = lens_law(start, rate)
    low, high = np.log(np.clip([law.floor, law.cap], 1e-6 * law.cap, None))
    return hint_of(D_l=(float(np.exp((low + high) / 2)), float((high - low) / np.sqrt(12)) + 0.05))


def nearly_exact(mini, name, scale):
    "D_l = F, up to a scale, with a small standard deviation."
    return {model: hint_of(D_l=(scale * F(mini, name, model), 0.1)) for model in mini.starts[name]}


def learned(mini, source, name, columns):
    "What some scores said about the law on another task."
    known, new = mini.scores[source][columns], mini.scores[name][columns]
    return learn_hints(known, mini.known[source], new=new)


def bounded(mini, name):
    "D_l between floor and cap, for each candidate."
    runs = mini.smallest[name]
    return {m: between(start, runs[m]["rate"]) for m, start in mini.starts[name].items()}


def hints(mini, source, name):
    "All kinds of hints about the candidates of a task, in the order of the page."
    return {
        "F, t fixed": nearly_exact(mini, name, 1.0),
        "F per logit": nearly_exact(mini, name, 1 / 256),
        "F, t free": bounded(mini, name),
        **{kind: learned(mini, source, name, columns) for kind, columns in FEATURES.items()},
        "kernel curve": curve_hints(mini, source, name),
    }


def errors_of(mini, name, points, given):
    "Error of ln(loss) at the largest size, whether the 90% interval holds it, the prediction."
    task = mini.known[name]
    target = task.sizes[-1]
    post = fit_posterior(task.up_to(task.sizes[points - 1]), target, hints=given, calibrated=False)
    off = post.mean() - np.log(task.at(target))[post.models]
    held = np.abs(off) < 1.645 * post.sd()
    columns = dict(off=off, held=held, predicted=np.exp(post.mean()))
    return pd.DataFrame(columns, index=post.models).rename_axis("model").reset_index()


def shifted(given, places):
    "The same hints, each given to another candidate."
    return dict(zip(given, np.roll(np.array(list(given.values()), object), places)))


def all_errors(mini, name, source, points):
    "Errors without hints and with all hints, own and another's, for one number of sizes."
    frames = [errors_of(mini, name, points, None).assign(hint="none", whose="own")]
    for kind, given in hints(mini, source, name).items():
        frames.append(errors_of(mini, name, points, given).assign(hint=kind, whose="own"))
        for places in SHIFTS:
            wrong = errors_of(mini, name, points, shifted(given, places))
            frames.append(wrong.assign(hint=kind, whose="another's"))
    return pd.concat(frames).to_dict("records")


# Parts: what a row is of, all the rows there are, and how they are made


def parts(mini):
    "Per part: what each row is of, and the function that makes its rows."
    names = list(mini.starts)
    curves = [dict(task=name, model=model) for name in names for model in mini.known[name].models]
    cases = [
        dict(task=name, source=source, points=points)
        for source, name in zip(names, names[1:] + names[:1])
        for points in POINTS
        if points < len(mini.known[name].sizes)
    ]
    return dict(
        laws=(curves, lambda task, model: single_errors(mini, task, model)),
        hints=(cases, lambda task, source, points: all_errors(mini, task, source, points)),
    )


def code():
    "What the rows depend on: the text of this script, of the modules that decide, the records."
    modules = (
        "forecast/laws",
        "forecast/fit",
        "forecast/kalman",
        "forecast/prior",
        "forecast/posterior",
        "kernels/dynamics",
        "kernels/lens",
    )
    files = [Path(__file__), *(ROOT / "lensllm" / f"{module}.py" for module in modules)]
    files += sorted(RECORDS.glob("*.jsonl"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


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
        write(path, rows, meta)
        print(f"{part}: {i} of {len(left)}", flush=True)
    if not left:
        print(f"{part}: kept")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", help="all when none is named")
    every = parts(load_mini())
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.strip()
    versions = {package: version(package) for package in ("numpy", "scipy", "pandas")}
    for part in parser.parse_args().part or every:
        fill(part, *every[part], dict(commit=commit, code=code(), versions=versions))
