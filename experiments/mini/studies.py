"""Real studies: each policy asks, this fine-tunes and tells, `python experiments/mini/studies.py
TASK…`. Seed 1, so that no run belongs to the table of seed 0 which later judges the choice; what
several policies ask for is run once. Runs go to results/mini/TASK_studies.jsonl, studies to
results/policies/real_TASK.jsonl.
"""

import argparse
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import transformers
from lensllm.choose.policies import POLICIES
from lensllm.tune.tasks import load_task
from lensllm.tune.recipe import Recipe
from lensllm.tune.training import finetune
from lensllm.tune.study import new_study
from lensllm.models.loading import zoo_names
from records import MINI, ROOT, commit_now, made, read, write

OUT = ROOT / "results" / "policies"
SIZES, SEED, SHARES = tuple(100 * 2**k for k in range(7)), 1, (0.15, 0.2, 0.3)


class Runs:
    """Runs of the studies' seed.

    Those of the table's further seeds, and those made here, at the rate that the table's first run
    of a candidate found.
    """

    def __init__(self, task, commit):
        table, self.path = read(MINI / f"{task}.jsonl"), MINI / f"{task}_studies.jsonl"
        self.made, self.task, self.commit = read(self.path), load_task(task), commit
        self.rates = {r["model"]: r["rate"] for r in table if r["seed"] == 0 and r["rate"]}
        self.known = {
            (r["model"], r["train_size"]): r for r in table + self.made if r["seed"] == SEED
        }

    def __call__(self, model, size):
        if (model, size) not in self.known:
            r = finetune(
                model,
                self.task,
                size,
                seed=SEED,
                recipe=replace(Recipe(), rate=self.rates[model]),
                device="cpu",
            ).to_dict()
            self.made.append(made(r, self.commit, model=model))
            write(self.path, self.made)
            self.known[model, size] = self.made[-1]
        return self.known[model, size]


def study(task, policy, share, runs):
    "One study from its first question to its choice."
    with tempfile.TemporaryDirectory() as folder:
        s, trace = (
            new_study(
                Path(folder) / "study",
                task=task,
                candidates=zoo_names(),
                sizes=SIZES,
                policy=policy,
                budget=share,
                seed=SEED,
            ),
            [],
        )
        while plan := s.ask():
            prices = s.priced(plan)
            s.store.plan([(m, n, SEED) for m, n in plan], prices=prices, why=plan.why)
            for (model, size), price in zip(plan, prices):
                r = runs(model, size)
                s.store.done(
                    (model, size, SEED), r["byte_loss"], test_loss_se=r["byte_loss_se"], result=r
                )
                trace.append(
                    dict(
                        model=model,
                        train_size=size,
                        why=plan.why,
                        price=price,
                        flop=r["flop"],
                        seconds=r["seconds"],
                    )
                )
        search = {m: f["search"] for m, f in s.store.candidates().facts.items()}
        return dict(
            policy=policy,
            budget=share,
            target=SIZES[-1],
            seed=SEED,
            choice=plan.choice,
            p_best=None if math.isnan(plan.p_best) else plan.p_best,
            why=plan.why,
            spent=s.spent,
            whole=s.whole,
            search=search,
            trace=trace,
        )


def measure(task):
    commit = commit_now()
    runs, path = Runs(task, commit), OUT / f"real_{task}.jsonl"
    done = read(path)
    for share in SHARES:
        for policy in POLICIES:
            if policy == "full" or any((r["policy"], r["budget"]) == (policy, share) for r in done):
                continue
            done.append(study(task, policy, share, runs) | dict(commit=commit))
            write(path, done)
            print(
                f"{time.strftime('%H:%M')} {task}, {policy} with {share:.0%}: {done[-1]['choice']} "
                f"after {len(done[-1]['trace'])} runs, "
                f"{done[-1]['spent'] / done[-1]['whole']:.1%} spent",
                flush=True,
            )


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="*", default=["headline"], help="shipped tasks")
    for name in parser.parse_args().task:
        measure(name)
