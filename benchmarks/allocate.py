"A step of the race, and what a thousand simulated studies take: `make bench`."

import sys

from lensllm.choose.policies import Race, run_costs
from lensllm.curves.table import load_benchmark
from lensllm.choose.replay import simulate
from timing import seconds

FLAN = load_benchmark("flan")


def main():
    "Ratios, each beside its limit."
    costs = run_costs(FLAN)
    seen, budget = (
        FLAN.where((FLAN.frame.train_size > 0) & (FLAN.frame.train_size <= 12800)),
        0.05 * costs[1638400].sum(),
    )
    part = FLAN.filter(model=FLAN.models[::3] + FLAN.models[1::3])
    rows = [
        (
            "a step for 30 candidates: share of 0.5 s",
            seconds(lambda: Race().next(seen, costs, budget)) / 0.5,
        ),
        (
            "1,000 studies of 20 candidates on one core: share of 10 minutes",
            seconds(lambda: simulate("race", part, 0.02)) * 1000 / 600,
        ),
    ]
    for what, value in rows:
        print(f"  {what:64} {value:5.2f}  <= 1  {'MISSED' if value > 1 else 'ok'}")
    sys.exit(any(value > 1 for _, value in rows))


if __name__ == "__main__":
    main()
