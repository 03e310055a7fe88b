"""LensBench-mini as the library ships it: results/mini to lensllm/data/curves/mini/TASK.csv,
`python experiments/mini/tables.py`. One seed, losses per byte, which compare tokenizers; whole
columns only, since a size that some candidates lack favours none.
"""

import json
from pathlib import Path

import pandas as pd
from lensllm._internal.atomic import atomic_path
from lensllm.models.loading import load_zoo

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "lensllm" / "data" / "curves" / "mini"
COLUMNS = dict(
    byte_loss="test_loss",
    byte_loss_se="test_loss_se",
    test_loss="token_loss",
    test_loss_se="token_loss_se",
    step="step",
    flop="flop",
)


def table(name):
    "One task's curves; None where no size is whole."
    path, zoo = ROOT / "results" / "mini" / f"{name}.jsonl", load_zoo().set_index("name")
    if not path.exists():
        return None
    runs = pd.read_json(path, lines=True).query("seed == 0")
    whole = runs.groupby("train_size").model.nunique() == len(zoo)
    runs = runs[
        runs.train_size.isin(whole.index[whole])
    ]  # what few candidates have run beyond stays in results/mini
    if runs.empty:
        return None
    told = (
        runs[["model", "n_params", "train_size", *COLUMNS]]
        .rename(columns=COLUMNS)
        .assign(task=f"mini/{name}", family=runs.model.map(zoo.architecture), seed=0)
    )
    order = [
        "task",
        "model",
        "family",
        "n_params",
        "train_size",
        "seed",
        "test_loss",
        "test_loss_se",
        "token_loss",
        "token_loss_se",
        "step",
        "flop",
    ]
    return told[order].sort_values(["model", "train_size"])


def about(name):
    "What stands beside the table."
    return dict(
        citation=f"LensBench-mini, {name}: the candidates that lensllm ships, "
        "fine-tuned by lensllm; "
        "one run a cell, results/mini in its repository",
        license="Apache-2.0",
        unit="nats/byte",
        columns=dict(
            test_loss="nats per byte of the target",
            token_loss="nats per token of the model's own tokenizer",
        ),
    )


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    for name in ("headline", "define", "translate"):
        if (rows := table(name)) is None:
            continue
        with atomic_path(OUT / f"{name}.csv") as tmp:
            rows.to_csv(tmp, index=False, float_format="%.7g")
        with atomic_path(OUT / f"{name}.json") as tmp:
            tmp.write_text(json.dumps(about(name), indent=1) + "\n")
        print(
            f"mini/{name}: {rows.model.nunique()} candidates, "
            f"sizes {', '.join(f'{n:,}' for n in sorted(rows.train_size.unique()))}"
        )
