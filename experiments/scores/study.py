"""Scores and losses of the same runs: do they choose the same model?

    python experiments/scores/study.py [--task kind] [--task translate] [--work DIR]

`kind` asks for the part of speech of a word by its gloss in WordNet: four labels, made of the
shipped task `define`, equally many rows each; accuracy by label ranking. `translate` are the
shipped task's rows of at most 100 characters on either side; chrF of generated answers.
The studies lie in DIR, so they can be stopped and begun again. Runs go to
results/scores/TASK.jsonl, what they were made with to results/scores/TASK.json.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from lensllm._internal.atomic import atomic_path
from lensllm.tune.recipe import Recipe
from lensllm.tune.study import new_study
from lensllm.tune.tasks import content_key, load_task

ROOT = Path(__file__).parents[2]
OUT = ROOT / "results" / "scores"
CANDIDATES = (
    "gpt2-mini-manuals",
    "t5-dictionary",
    "bart-manuals",
    "t5-german",
    "opt-bible",
    "gpt2-dictionary",
)
SIZES = (100, 200, 400, 800, 1600)
RECIPE = Recipe(rate=3e-3, passes=2, least_steps=60, checks=3, valid_rows=60)
METRICS = dict(kind="accuracy", translate="chrf")
KINDS = ("noun", "verb", "adjective", "adverb")
OF_A_KIND, MOST_CHARACTERS, TRANSLATED = 700, 100, 2800  # rows, characters, rows


def all_rows(name):
    "All rows of a shipped task, in the order of their content."
    task = load_task(name)
    return [*task.test, *task.valid, *task.train]


def kind():
    "Glosses with the part of speech, equally many of each."
    rows, count = [], dict.fromkeys(KINDS, 0)
    for word, gloss in all_rows("define"):
        label = re.search(r"\((\w+)\)$", word)[1]
        if count[label] < OF_A_KIND:
            count[label] += 1
            rows.append((f"{gloss} is of the kind ", label))
    return rows


def translate():
    "Short pairs."
    rows = [row for row in all_rows("translate") if max(map(len, row)) <= MOST_CHARACTERS]
    return sorted(rows, key=content_key)[:TRANSLATED]


def write_task(name, folder):
    "A file of rows, whose parts are made by content as always."
    path = folder / f"{name}.jsonl"
    rows = dict(kind=kind, translate=translate)[name]()
    lines = (json.dumps(dict(prompt=p, target=t), ensure_ascii=False) for p, t in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_study(name, work):
    "The study, new or as it was left."
    return new_study(
        work / name,
        task=write_task(name, work),
        candidates=CANDIDATES,
        sizes=SIZES,
        target=SIZES[-1],
        budget_size=SIZES[-1],
        recipe=RECIPE,
        metric=METRICS[name],
    )


def commit_here():
    "The commit of this code."
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.strip()


def made_with():
    "Versions and machine."
    packages = ("torch", "transformers", "sacrebleu")
    return dict(
        commit=commit_here(),
        made=time.strftime("%Y-%m-%d"),
        **{package: version(package) for package in packages},
        python=platform.python_version(),
        machine=platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
    )


def keep(study, name, origin):
    "Write all runs that are done, and what they were made with."
    runs = study.store.runs().query("state == 'done'")
    records = [
        {key: value for key, value in result.items() if key not in ("recipe", "made_with", "task")}
        | dict(model=model, price=price)
        for model, price, result in zip(runs.model, runs.price, runs.result)
    ]
    with atomic_path(OUT / f"{name}.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
    facts = study.facts
    about = dict(metric=facts["metric"], recipe=facts["recipe"], sizes=facts["sizes"])
    about |= dict(texts=facts["source"]["fingerprint"], made_with=origin)
    with atomic_path(OUT / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(about, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=METRICS, help="Default: both.")
    parser.add_argument("--work", type=Path, help="where the studies lie")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(parents=True, exist_ok=True)
    origin = made_with()
    for name in options.task or METRICS:
        study = read_study(name, work)
        study.run(device="cpu", progress=lambda study, *_: keep(study, name, origin))  # noqa: B023
        keep(study, name, origin)
        print(study.ranking(), study.ranking_by_loss(), sep="\n")


if __name__ == "__main__":
    main()
