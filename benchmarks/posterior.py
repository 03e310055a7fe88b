"""Ranking with intervals against multi-start least squares with lmfit's profile intervals, and how
it grows: `make bench`.
"""

import statistics
import sys

import lmfit
import numpy as np
import pandas as pd
from lensllm.curves.table import CurveSet, load_benchmark
from lensllm.forecast.laws import RECTIFIED
from lensllm.forecast.posterior import fit_posterior
from lensllm.choose.selectors import as_selector
from timing import highest, seconds

TARGET = 1638400
FLAN = load_benchmark("flan")


def multistart(model, budget, starts=8):
    """The peer: the rectified law by least squares from several starts, then lmfit's
    `conf_interval` of the winner.
    """
    D, loss = FLAN.up_to(budget).curve(model)
    D, y, rng = D.astype(float), np.log(loss), np.random.default_rng(0)

    def off(p):
        return np.log(np.maximum(RECTIFIED(D, **p.valuesdict()), 1e-9)) - y

    fits = []
    for _ in range(starts):
        p = lmfit.create_params(
            B=dict(value=rng.uniform(5, 500), min=0),
            D_l=dict(value=rng.uniform(1, 100), min=0),
            beta=dict(value=rng.uniform(0.1, 0.6), min=0, max=2),
            E=dict(value=rng.uniform(0, 1), min=0),
        )
        mini = lmfit.Minimizer(off, p)
        fits.append((mini, mini.minimize()))
    mini, best = min(fits, key=lambda f: f[1].chisqr)
    for v in best.params.values():
        v.stderr = (
            v.stderr or 0.1 * abs(v.value) + 1e-3
        )  # the profile wants a step, also where the covariance has none
    try:
        return lmfit.conf_interval(mini, best, sigmas=[1.645], maxiter=50)
    except (lmfit.MinimizerException, ValueError):
        return None  # a profile that never rises has no end: the time was spent


def many(n):
    "n candidates: FLAN's seven first sizes, each curve shifted a little."
    f, rng = FLAN.up_to(12800).frame, np.random.default_rng(0)
    copies = [
        f.assign(model=f.model + f"#{i}", test_loss=f.test_loss * np.exp(0.1 * rng.normal()))
        for i in range(-(-n // 30))
    ]
    return CurveSet(pd.concat(copies)[lambda g: g.model.isin(g.model.unique()[:n])])


def main():
    "Ratios, each beside its limit."
    rows = []
    for ratio in (8, 64, 512):
        seen = FLAN.up_to(TARGET // ratio)
        rows.append(
            (
                f"rank 30 candidates, budget 1/{ratio}: share of 0.3 s",
                seconds(lambda seen=seen: as_selector("posterior").rank(seen, TARGET)) / 0.3,
                1.0,
                "<=",
            )
        )
    ours = seconds(lambda: fit_posterior(FLAN.up_to(102400), TARGET)) / 30
    theirs = statistics.median(
        seconds(lambda m=m: multistart(m, 102400), 1) for m in FLAN.models[::6]
    )  # one curve of five candidates each
    rows.append(("a curve: multi-start + conf_interval over posterior", theirs / ours, 50.0, ">="))
    small, large = many(1000), many(10_000)
    thousand, ten_thousand = (
        seconds(lambda: fit_posterior(small, TARGET).best(), 3),
        seconds(lambda: fit_posterior(large, TARGET).best(), 1),
    )
    rows += [
        ("10,000 curves: share of 60 s", ten_thousand / 60, 1.0, "<="),
        ("10,000 curves over ten times 1,000: time", ten_thousand / thousand / 10, 1.5, "<="),
        ("10,000 curves: share of 2 GB", highest() / 2e9, 1.0, "<="),
    ]
    bad = [value > limit if sign == "<=" else value < limit for _, value, limit, sign in rows]
    for (what, value, limit, sign), wrong in zip(rows, bad):
        print(f"  {what:52} {value:7.2f}  {sign} {limit:g}  {'MISSED' if wrong else 'ok'}")
    sys.exit(any(bad))


if __name__ == "__main__":
    main()
