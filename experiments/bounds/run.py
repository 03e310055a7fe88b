"""Fine-tune six small models on ladders of real text and measure every term of the bounds: `python
experiments/bounds/run.py [CANDIDATE…]`. One JSON a candidate and seed in results/bounds; what is
there already is kept.
"""

import argparse
import copy
import hashlib
import inspect
import json
import math
import platform
import pydoc_data.topics
import subprocess
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from lensllm.generalization.bounds import bound_terms, certify, tolerated_noise
from lensllm._internal.atomic import atomic_path
from lensllm.models.batches import n_rows, sequence_loss, take
from lensllm._internal.tiny import tiny_model

ROOT = Path(__file__).resolve().parents[2]
OUT, SEEDS, LADDER, TOKENS, V = (
    ROOT / "results" / "bounds",
    (0, 1, 2),
    [50 * 2**k for k in range(8)],
    32,
    128,
)
CANDIDATES = {  # architecture, sizes, steps of pre-training
    "gpt2-48": ("gpt2", dict(layers=2, width=48, heads=4), 800),
    "gpt2-48-brief": ("gpt2", dict(layers=2, width=48, heads=4), 100),
    "gpt2-24": ("gpt2", dict(layers=2, width=24, heads=4), 800),
    "llama-48": ("llama", dict(layers=2, width=48, heads=4), 800),
    "opt-32": ("opt", dict(layers=2, width=32, heads=4), 400),
    "neox-48": ("gpt_neox", dict(layers=1, width=48, heads=4), 800),
}
MODULES = (
    "argparse",
    "ast",
    "asyncio.events",
    "calendar",
    "cmd",
    "configparser",
    "csv",
    "datetime",
    "difflib",
)
UNSEEN = (
    "dis",
    "doctest",
    "enum",
    "fractions",
    "ftplib",
    "imaplib",
    "inspect",
    "ipaddress",
)  # code that no row is drawn from
RECIPE = dict(
    batch=16,
    pretraining_rate=3e-3,
    rate=1e-3,
    passes=8,
    least_steps=60,
    checks=8,
    validation_rows=400,
    test_rows=8000,
    measured_rows=64,
    single_rows=6,
    loss_bound=math.log(V / 0.01),
)


def texts():
    """Prose, code, and code of other modules, all of which come with Python, as tensors of ASCII
    codes.
    """
    prose = "".join(v for _, v in sorted(pydoc_data.topics.topics.items()))
    code = [
        "".join(inspect.getsource(import_module(m)) for m in names) for names in (MODULES, UNSEEN)
    ]
    return [torch.tensor(list(t.encode("ascii", "replace"))) for t in (prose, *code)]


def windows(text, n, seed):
    "Rows from random places, with repetition: independent draws."
    at = torch.randint(0, len(text) - TOKENS, (n,), generator=torch.Generator().manual_seed(seed))
    rows = text[at[:, None] + torch.arange(TOKENS)]
    return dict(input_ids=rows, attention_mask=torch.ones_like(rows), labels=rows)


def losses(model, rows):
    "Nats per character of every row."
    with torch.no_grad():
        return torch.cat(
            [
                sequence_loss(model.eval(), take(rows, slice(i, i + 500)))
                for i in range(0, n_rows(rows), 500)
            ]
        )


def train(model, rows, steps, rate, seed, valid=None):
    """AdamW with a rate that falls to 0.

    With validation rows the best of the states that were checked, and its step.
    """
    g, adam = torch.Generator().manual_seed(seed), torch.optim.AdamW(model.parameters(), lr=rate)
    best = (
        (float(losses(model, valid).mean()), 0, copy.deepcopy(model.state_dict()))
        if valid
        else None
    )
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * (1 - step / steps)
        loss = sequence_loss(
            model.train(),
            take(rows, torch.randint(0, n_rows(rows), (RECIPE["batch"],), generator=g)),
        ).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        if (
            valid
            and (step + 1) % max(1, steps // RECIPE["checks"]) == 0
            and (now := float(losses(model, valid).mean())) < best[0]
        ):
            best = (now, step + 1, copy.deepcopy(model.state_dict()))
    if valid:
        model.load_state_dict(best[2])
    return model.eval(), best[1] if valid else steps


def truth(model, **rows):
    "Mean losses on rows of several kinds, with standard errors."
    each = {k: losses(model, r) for k, r in rows.items()}
    return {k: float(v.mean()) for k, v in each.items()} | {
        f"{k}_se": float(v.std() / len(v) ** 0.5) for k, v in each.items()
    }


def measure(start, end, rows, held_out, seed):
    "All that the bounds say of one run."
    g, some, n = (
        torch.Generator().manual_seed(seed),
        take(rows, slice(0, RECIPE["measured_rows"])),
        n_rows(rows),
    )
    at = dict(n=n, loss_bound=RECIPE["loss_bound"], generator=g)
    terms = bound_terms(start, end, some, over="mean", num_probes=24, **at)
    single = bound_terms(
        start, end, take(rows, slice(0, RECIPE["single_rows"])), num_probes=10, steps=10, **at
    )
    certificates, noise = (
        certify(start, end, rows, generator=g, held_out=held_out, draws=50),
        tolerated_noise(start, end, rows, generator=g, draws=16),
    )
    return dict(
        n=n,
        noise=noise.scale,
        terms=terms.frame.to_dict("list"),
        single=single.frame.to_dict("list"),
        certificates=certificates.to_dict(),
    )


def code():
    """What the answer depends on besides the configuration.

    The text of the modules that measure, and of this file.
    """
    modules = (
        "_internal/tiny",
        "models/batches",
        "generalization/products",
        "generalization/curvature",
        "generalization/certificates",
        "generalization/bounds",
    )
    paths = [*(ROOT / "lensllm" / f"{module}.py" for module in modules), Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:12]


CODE = code()  # as it is read, whatever changes meanwhile


def run(name, seed, prose, python, unseen):
    "One candidate's ladder with one seed; the start is the same for all seeds."
    path, (arch, sizes, pretraining) = OUT / f"{name}_{seed}.json", CANDIDATES[name]
    cfg = dict(
        name=name,
        arch=arch,
        sizes=sizes,
        pretraining_steps=pretraining,
        seed=seed,
        ladder=LADDER,
        recipe=RECIPE,
        modules=MODULES,
        unseen=UNSEEN,
        texts=[
            hashlib.sha256(t.numpy().tobytes()).hexdigest()[:12] for t in (prose, python, unseen)
        ],
    )
    old = json.loads(path.read_text()) if path.exists() else {}
    if (old.get("config"), old.get("code")) == (json.loads(json.dumps(cfg)), CODE):
        return print(f"{name}, seed {seed}: kept")
    start, _ = train(
        tiny_model(arch, seed=0, vocab=V, tokens=TOKENS, **sizes),
        windows(prose, 40_000, 1),
        pretraining,
        RECIPE["pretraining_rate"],
        0,
    )
    tests = dict(
        test=windows(python, RECIPE["test_rows"], 2), unseen=windows(unseen, RECIPE["test_rows"], 2)
    )
    valid, rows, ladder = (
        windows(python, RECIPE["validation_rows"], 3),
        windows(python, LADDER[-1], 100 + seed),
        [],
    )
    for n in LADDER:
        mine = take(rows, slice(0, n))
        steps = max(RECIPE["least_steps"], RECIPE["passes"] * n // RECIPE["batch"])
        end, step = train(copy.deepcopy(start), mine, steps, RECIPE["rate"], seed, valid)
        ladder.append(
            dict(
                step=step,
                steps=steps,
                **truth(end, train=mine, **tests),
                **measure(start, end, mine, windows(python, n, 200 + seed), seed),
            )
        )
        print(
            f"{name}, seed {seed}: n = {n}, test {ladder[-1]['test']:.3f}, step {step}", flush=True
        )
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.strip()
    record = dict(
        config=cfg,
        commit=commit,
        code=CODE,
        versions={p: version(p) for p in ("torch", "transformers", "numpy", "scipy")}
        | dict(python=platform.python_version()),
        P=sum(p.numel() for p in start.parameters()),
        zero_shot=truth(start, **tests),
        ladder=ladder,
    )
    OUT.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as tmp:
        tmp.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "name", nargs="*", default=list(CANDIDATES), help="candidates; all when none is named"
    )
    args = parser.parse_args()
    for seed in SEEDS:
        for name in args.name:
            run(name, seed, *texts())
