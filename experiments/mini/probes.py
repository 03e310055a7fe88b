"""Kernels, curvature and the bound's terms of LensBench-mini's candidates, `python
experiments/mini/probes.py [TASK…]`: before fine-tuning for all, and after it on three sizes for
some. One line per candidate and size in results/mini/TASK_probes.jsonl, written as it is measured;
what is there already is kept.
"""

import argparse
import copy
import math
import time
from dataclasses import replace

import numpy as np
import torch
import transformers
from lensllm.generalization.bounds import bound_terms
from lensllm.tune.tasks import collate, encode, load_task
from lensllm.generalization.curvature import layer_traces
from lensllm.tune.recipe import Recipe
from lensllm.tune.training import finetune, max_tokens
from lensllm.kernels.lens import lens_law
from lensllm.kernels.ntk import ntk_gram
from lensllm.kernels.spectra import centred_alignment, target_alignment
from lensllm.models.loading import load_model, zoo_names
from records import MINI, commit_now, made, read, write

TUNED = (
    "gpt2-mini-manuals",
    "opt-bible",
    "opt-dictionary",
    "neox-books",
    "t5-dictionary",
    "bart-manuals",
)  # small, in five architectures
SIZES, SEED, ROWS, FEW = (100, 400, 1600), 0, 64, 32  # rows of kernels; rows of curvature


def points():
    return [(m, 0) for m in zoo_names()] + [(m, n) for n in SIZES for m in TUNED]


def at_start(name, task):
    "The kernels of the loss and of sampled logits at theta_0, and curvature layer by layer."
    model, tokenizer = load_model(name, device="cpu")
    model = model.float()  # the shipped weights are halves
    encoded = encode(
        task.subset(ROWS),
        tokenizer,
        max_tokens=max_tokens(model, Recipe()),
        pairs=model.config.is_encoder_decoder,
    )
    kernel, sampled = (
        ntk_gram(model, collate(encoded, tokenizer)),
        ntk_gram(model, collate(encoded, tokenizer), output="sampled", seed=SEED),
    )
    way = (
        dict(method="forward", batch_size=4) if model.config.model_type == "mamba" else {}
    )  # the graph of its scan, kept for double backward, is too large on long rows
    law, traces = (
        lens_law(sampled, eta=1.0),
        layer_traces(
            model,
            collate(encoded[:FEW], tokenizer),
            generator=torch.Generator().manual_seed(SEED),
            num_probes=20,
            **way,
        ),
    )
    of_law = dict(
        eigvals=law.eigvals,
        weights=law.weights,
        alignment=target_alignment(sampled, sampled.residual),
    )  # of Theta = K/n, and of r(0) along its eigenvectors: F(Theta, t) and learning curve follow
    return dict(
        kernel=kernel.to_dict(),
        sampled=sampled.to_dict() | of_law,
        traces=[dict(layer=k, trace=v.value, stderr=v.stderr) for k, v in traces.items()],
    )


class Ends:
    "Watches a run: what training has done to the kernel, and the terms of the bound."

    def __init__(self, size):
        self.size, self.found = size, {}

    def __call__(self, at):
        if not (at.step == 0 or at.last):
            return
        batch = lambda n: collate(at.rows["train"][:n], at.tokenizer)
        kernel = ntk_gram(at.model, batch(ROWS))
        if not at.last:
            self.start, self.kernel = copy.deepcopy(at.model), kernel
        elif at.step:
            self.found = self.compare(at.model, kernel, batch(FEW))

    def compare(self, model, kernel, batch):
        terms = bound_terms(
            self.start,
            model,
            batch,
            n=self.size,
            loss_bound=math.log(model.config.vocab_size / 0.01),
            generator=torch.Generator().manual_seed(SEED),
            over="mean",
        )
        return dict(
            kernel=kernel.to_dict(),
            drift=1 - centred_alignment(self.kernel, kernel),
            terms=terms.frame.to_dict("records"),
            total=terms.total,
            total_stderr=terms.stderr,
            total_along=terms.total_along,
        )


def after(name, task, size, record):
    "The same run once more, watched: its loss must be the one on record."
    ends = Ends(size)
    run = finetune(
        name,
        task,
        size,
        seed=SEED,
        recipe=replace(Recipe(), rate=record["rate"]),
        device="cpu",
        watch=ends,
    )
    if abs(run.byte_loss / record["byte_loss"] - 1) > 0.01:
        raise SystemExit(
            f"{name} on {size} rows of {task.name}: {run.byte_loss} nats/byte, "
            f"{record['byte_loss']} on record; look for what has changed"
        )
    return ends.found | dict(byte_loss=run.byte_loss, step=run.step, rate=run.rate)


def plain(value):
    "Numbers as JSON can hold them: six digits, null for what is not known."
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def measure(name):
    "What is left of a task, as far as its curves have been measured."
    commit, path, task = commit_now(), MINI / f"{name}_probes.jsonl", load_task(name)
    curves, known = (
        {
            (r["model"], r["train_size"]): r
            for r in read(MINI / f"{name}.jsonl")
            if r["seed"] == SEED
        },
        {(r["model"], r["train_size"]): r for r in read(path)},
    )
    for m, n in points():
        if (m, n) in known or n and (m, n) not in curves:
            continue
        began = time.monotonic()
        found = after(m, task, n, curves[m, n]) if n else at_start(m, task)
        known[m, n] = plain(
            made(
                dict(
                    model=m,
                    task=name,
                    train_size=n,
                    seed=SEED,
                    rows=ROWS,
                    **found,
                    seconds=time.monotonic() - began,
                    torch=torch.__version__,
                ),
                commit,
            )
        )
        write(path, [known[p] for p in points() if p in known])
        print(
            f"{time.strftime('%H:%M')} {name}: {len(known)} of {len(points())}, {m} on {n:,}",
            flush=True,
        )


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "task",
        nargs="*",
        default=["headline", "define", "translate"],
        help="tasks; all when none is named",
    )
    for name in parser.parse_args().task:
        measure(name)
