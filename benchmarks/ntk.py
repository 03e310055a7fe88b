"""The kernel against `torch.func` and against its floor, in time and memory: `make bench`.

`--save` keeps the ratios in results/benchmarks for the notebook.
"""

import json
import statistics
import subprocess
import sys
from functools import partial

import numpy as np
import torch
from lensllm.kernels.gradients import _Output, _patient_attention
from lensllm.kernels.ntk import ntk_gram
from lensllm.models.batches import n_rows, pick_params, sequence_loss, take
from lensllm._internal.tiny import tiny_batch, tiny_model
from timing import highest, report, seconds

SHAPES = dict(
    A=(dict(layers=4, width=128, heads=4, vocab=2048), 256),
    B=(dict(layers=6, width=256, heads=8, vocab=8192), 64),
)  # model, rows
CHUNKS = (16, 32, 64)  # rows at a time that were best on some machine


def task(shape, n=None):
    "A model and a batch of 64 tokens a row."
    sizes, rows = SHAPES[shape]
    return tiny_model("gpt2", seed=0, tokens=64, **sizes), tiny_batch(
        n=n or rows, tokens=64, seed=0, vocab=sizes["vocab"]
    )


def per_row(model, batch, chunk):
    "Gradients of every row by `vmap(grad)`, name -> (n, ...)."
    whole, values = (
        _Output(model, sequence_loss),
        {f"model.{k}": p.detach() for k, p in pick_params(model, "all").items()},
    )

    def loss(p, row):
        return torch.func.functional_call(whole, p, ({k: v[None] for k, v in row.items()},))[0]

    with _patient_attention(model):
        return torch.func.vmap(torch.func.grad(loss), (None, 0), chunk_size=chunk)(values, batch)


def vmap_tuned(model, batch, chunk):
    "The peer: products parameter by parameter."
    K = 0
    for g in per_row(model, batch, chunk).values():
        K = K + g.flatten(1) @ g.flatten(1).T
    return K


def vmap_plain(model, batch, chunk=None):
    "What most would write: one matrix of all gradients."
    G = torch.cat([g.flatten(1) for g in per_row(model, batch, chunk).values()], 1)
    return G @ G.T


def forward_backward(model, batch, rows=8):
    "All gradients once, as in training."
    for i in range(0, n_rows(batch), rows):
        sequence_loss(model, take(batch, slice(i, i + rows))).sum().backward()


def rate(n=2048):
    "Multiplications a second of a large matrix product."
    A = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    return n**3 / seconds(lambda: A @ A)


def works(shape, n=None):
    "What is compared, by name."
    model, batch = task(shape, n)
    both = dict(
        ours=partial(ntk_gram, model, batch),
        backward=partial(forward_backward, model, batch),
        limited=partial(ntk_gram, model, batch, memory=1_500_000_000),
        plain=partial(vmap_plain, model, batch),
    )
    return both | {f"vmap{c}": partial(vmap_tuned, model, batch, c) for c in CHUNKS}, n_rows(
        batch
    ) ** 2 * sum(p.numel() for p in model.parameters()) / 2


def times(shape, names, runs=5):
    """Median seconds of each, taken in turn so that what else the machine does falls on all.

    Seconds of the symmetric product at the machine's rate.
    """
    work, products = works(shape)
    taken = [
        {name: seconds(work[name], 1) for name in names} | dict(products=products / rate())
        for _ in range(runs + 1)
    ][1:]  # the first loads libraries
    return {name: statistics.median(t[name] for t in taken) for name in taken[0]}


def child(shape, what, n):
    "One run in this process: seconds, and bytes above the start."
    work, _ = works(shape, n)
    works(shape, 8)[0]["backward"]()  # libraries load
    before, took = highest(), seconds(work[what], 1)
    print(json.dumps(dict(seconds=took, peak=highest() - before)))


def once(shape, what, n=None):
    "A run in a process of its own."
    done = subprocess.run(
        [sys.executable, __file__, shape, what, str(n or 0)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def rounding():
    """Error of the kernel on shape A in single precision over that of the single-precision loop,
    both against double.
    """
    model, batch = task("A", 12)
    truth = ntk_gram(model, batch, method="naive", dtype=torch.float64).K
    off = [np.linalg.norm(ntk_gram(model, batch, method=m).K - truth) for m in ("auto", "naive")]
    exact = np.linalg.norm(ntk_gram(model, batch, dtype=torch.float64).K - truth) / np.linalg.norm(
        truth
    )
    return off[0] / off[1], exact / 1e-12


def speed(shape, faster):
    "Ratios of one shape, each beside its limit."
    t = times(
        shape, ["ours", "backward", *(f"vmap{c}" for c in CHUNKS), *["plain"] * (shape == "A")]
    )
    tuned = min((name for name in t if name.startswith("vmap")), key=t.get)
    share = once(shape, "ours")["peak"] / once(shape, tuned)["peak"]
    rows = [
        (
            f"{shape}: tuned vmap ({tuned[4:]} rows) over ours, time",
            t[tuned] / t["ours"],
            ">=",
            faster,
        ),
        (f"{shape}: ours over tuned vmap, memory", share, "<=", 0.4),
    ]
    rows += [
        (
            f"{shape}: ours over the floor, time",
            t["ours"] / (t["backward"] + t["products"]),
            "<=",
            1.8,
        )
    ]
    return rows + [
        ("A: plain vmap over ours, time", t["plain"] / t["ours"], ">=", 3.0)
        for _ in range("plain" in t)
    ]


def growth():
    "From 1,024 rows to 2,048 on shape A, within 1.5 GB for gradients."
    pairs = [
        (once("A", "limited", 1024), once("A", "limited", 2048)) for _ in range(3)
    ]  # in turn: one run alone strays by a tenth
    large = max((big for _, big in pairs), key=lambda run: run["peak"])
    return [
        ("A, 2,048 rows: share of 4 GB", large["peak"] / 4e9, "<=", 1.0),
        (
            "A, 2,048 rows over 1,024: time over 4",
            statistics.median(big["seconds"] / small["seconds"] for small, big in pairs) / 4,
            "<=",
            1.0,
        ),
        (
            "A, 2,048 rows: memory beside the 4 n² of the kernel over 1.5 GB",
            (large["peak"] - 4 * 2048**2) / 1.5e9,
            "<=",
            1.0,
        ),
    ]


def main(keep=False):
    "Ratios, each beside its limit; exit code 1 where one is missed."
    rows = [*speed("A", 1.5), *speed("B", 2.0), *growth()]
    rows += [
        (f"A: {what}", value, "<=", limit)
        for what, value, limit in zip(
            ("error in single precision over the loop's", "error in double precision over 1e-12"),
            rounding(),
            (2.0, 1.0),
        )
    ]
    report("kernels", rows, ("ntk", ("torch", "transformers", "numpy")) if keep else None)


if __name__ == "__main__":
    if sys.argv[1:] in ([], ["--save"]):
        main(keep=len(sys.argv) > 1)
    else:
        child(sys.argv[1], sys.argv[2], int(sys.argv[3]) or None)
