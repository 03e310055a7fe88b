"""LensBench-mini's curves: fine-tune every shipped candidate on every shipped task, `python
experiments/mini/run.py [TASK…]`. One line per run in results/mini/TASK.jsonl, written as it ends;
what is there already is kept, so it can be stopped and begun again.
"""

import argparse
import json
import time
from dataclasses import asdict, replace

import transformers
from lensllm._internal.atomic import atomic_path
from lensllm.tune.recipe import Recipe
from lensllm.tune.study import new_study
from lensllm.models.loading import zoo_names
from records import MINI, ROOT, commit_now, made, read, write

TASKS, SIZES, RECIPE, SEED = (
    ("headline", "define", "translate"),
    tuple(100 * 2**k for k in range(7)),
    Recipe(),
    0,
)
AGAIN, SEEDS = {"headline": 1600}, (1, 2)  # other seeds up to this size: what chance does
FURTHER, TOP = (
    ("gpt2-mini-manuals", "t5-dictionary", "bart-german", "opt-bible"),
    12800,
)  # cheap candidates that go on to this size


def runs(task):
    """All runs of a task, the first seed's before the others' and small sizes first, so that what
    is cut short is a table all the same; TASK_continue is the ladder that continues, to be
    compared.
    """
    other = (
        []
        if task.endswith("_continue")
        else [
            (m, n, s) for s in SEEDS for n in SIZES if n <= AGAIN.get(task, 0) for m in zoo_names()
        ]
    )
    further = [] if task.endswith("_continue") else [(m, TOP, SEED) for m in FURTHER]
    return sorted(
        [(m, n, SEED) for n in (0, *SIZES) for m in zoo_names()] + other + further,
        key=lambda run: (run[2], run[1]),
    )


class Kept:
    "Writes each run that ends, in the order of the plan."

    def __init__(self, task, commit):
        self.task, self.commit, self.known = (
            task,
            commit,
            {(r["model"], r["train_size"], r["seed"]): r for r in read(MINI / f"{task}.jsonl")},
        )

    def __call__(self, study, *_):
        done = study.store.runs().query("state == 'done'")
        new = [r for r in done.itertuples() if (r.model, r.train_size, r.seed) not in self.known]
        for r in new:
            self.known[r.model, r.train_size, r.seed] = made(r.result, self.commit, model=r.model)
        if not new:
            return
        ordered = {
            r: self.known[r] for r in runs(self.task) if r in self.known
        } | self.known  # what is not of the plan comes last, and stays
        write(MINI / f"{self.task}.jsonl", ordered.values())
        print(
            f"{time.strftime('%H:%M')} {self.task}: {len(self.known)} of {len(runs(self.task))}, "
            f"{new[-1].model} on {new[-1].train_size:,}: {new[-1].test_loss:.4f}",
            flush=True,
        )


def check_recipe():
    "One recipe for all records, which do not repeat it."
    path = MINI / "recipe.json"
    if not path.exists() and list(MINI.glob("*.jsonl")):
        raise SystemExit(
            f"{path} is missing, which says by what recipe the records beside it were made; "
            "restore it"
        )
    if not path.exists():
        with atomic_path(path) as tmp:
            tmp.write_text(json.dumps(asdict(RECIPE), indent=1) + "\n")
    if (was := json.loads(path.read_text())) != asdict(RECIPE):
        raise SystemExit(
            f"results/mini was made by another recipe: {was}; move it away, or restore the recipe"
        )


def check_trunks(study, known):
    "A ladder goes on only from the states it has left behind."
    for m, n, s in known:
        if 0 < n < SIZES[-1] and not (study.store.artefact((m, s), "trunk") / f"{n}.pt").exists():
            raise SystemExit(
                f"{m} cannot go on from {n} rows: .cache holds no state of it; "
                "move the records of this ladder away to begin it anew"
            )


def measure(task, workers):
    "What is left of a task, with the rates that its first runs found."
    kept, name = Kept(task, commit_now()), task.removesuffix("_continue")
    recipe = replace(RECIPE, ladder="fresh" if name == task else "continue")
    study = new_study(
        ROOT / ".cache" / "mini" / task,
        task=name,
        candidates=zoo_names(),
        sizes=[*SIZES, TOP],
        budget_size=SIZES[-1],
        seed=SEED,
        recipe=recipe,
    )
    for run, r in kept.known.items():
        if r["rate"]:
            study.store.set_fact(f"rate of {run[0]}", r["rate"])
        study.store.done(run, r["byte_loss"], test_loss_se=r["byte_loss_se"], result=r)
    if study.continues:
        check_trunks(study, kept.known)
    study.store.plan(runs(task))
    study.run(workers=workers, progress=kept)


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "task", nargs="*", default=list(TASKS), help="tasks; all when none is named"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="runs at once; with OMP_NUM_THREADS=1 a core each"
    )
    args = parser.parse_args()
    MINI.mkdir(parents=True, exist_ok=True)
    check_recipe()
    for task in args.task:
        measure(task, args.workers)
