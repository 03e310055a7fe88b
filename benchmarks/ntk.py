"The kernel against `torch.func` and against its floor, in time and memory; one process a measurement: `make bench`."
import json
import resource
import statistics
import subprocess
import sys
from functools import partial

import numpy as np
import torch
from lensllm.gradients import _Output, _patient_attention
from lensllm.ntk import ntk_gram
from lensllm.probe import n_rows, pick_params, sequence_loss, take
from lensllm.tiny import tiny_batch, tiny_model
from timing import seconds

SHAPES = dict(A=(dict(layers=4, width=128, heads=4, vocab=2048), 256), B=(dict(layers=6, width=256, heads=8, vocab=8192), 64))  # model, rows
CHUNKS = (16, 32, 64)


def task(shape, n=None):
    "A model and a batch of 64 tokens a row."
    sizes, rows = SHAPES[shape]
    return tiny_model("gpt2", seed=0, tokens=64, **sizes), tiny_batch(n=n or rows, tokens=64, seed=0, vocab=sizes["vocab"])


def per_row(model, batch, chunk):
    "Gradients of every row by `vmap(grad)`, name -> (n, ...)."
    whole, values = _Output(model, sequence_loss), {f"model.{k}": p.detach() for k, p in pick_params(model, "all").items()}
    def loss(p, row): return torch.func.functional_call(whole, p, ({k: v[None] for k, v in row.items()},))[0]
    with _patient_attention(model): return torch.func.vmap(torch.func.grad(loss), (None, 0), chunk_size=chunk)(values, batch)


def vmap_tuned(model, batch, chunk):
    "The peer: products parameter by parameter."
    K = 0
    for g in per_row(model, batch, chunk).values(): K = K + g.flatten(1) @ g.flatten(1).T
    return K


def vmap_plain(model, batch, chunk=None):
    "What most would write: one matrix of all gradients."
    G = torch.cat([g.flatten(1) for g in per_row(model, batch, chunk).values()], 1)
    return G @ G.T


def forward_backward(model, batch, rows=8):
    "All gradients once, as in training."
    for i in range(0, n_rows(batch), rows): sequence_loss(model, take(batch, slice(i, i + rows))).sum().backward()


def rate(n=2048):
    "Multiplications a second of a large matrix product."
    A = torch.randn(n, n, generator=torch.Generator().manual_seed(0))
    return n**3 / seconds(lambda: A @ A)


def child(shape, what, n, runs):
    "One measurement: median seconds and bytes above the start."
    model, batch = task(shape, n)
    work = dict(ours=partial(ntk_gram, model, batch), limited=partial(ntk_gram, model, batch, memory=2_000_000_000), plain=partial(vmap_plain, model, batch), backward=partial(forward_backward, model, batch))
    work |= {f"vmap{c}": partial(vmap_tuned, model, batch, c) for c in CHUNKS}
    forward_backward(model, take(batch, slice(0, 8)))  # libraries load
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first = seconds(work[what], 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    P = sum(p.numel() for p in model.parameters())
    print(json.dumps(dict(seconds=seconds(work[what], runs) if runs else first, peak=peak * 1024, products=n_rows(batch)**2 * P / 2 / rate())))


def measure(shape, what, n=None, runs=5):
    "A measurement in a process of its own."
    done = subprocess.run([sys.executable, __file__, shape, what, str(n or 0), str(runs)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def rounding():
    "Error of the kernel on shape A in single precision over that of the single-precision loop, both against double."
    model, batch = task("A", 12)
    truth = ntk_gram(model, batch, method="naive", dtype=torch.float64).K
    off = [np.linalg.norm(ntk_gram(model, batch, method=m).K - truth) for m in ("auto", "naive")]
    exact = np.linalg.norm(ntk_gram(model, batch, dtype=torch.float64).K - truth) / np.linalg.norm(truth)
    return off[0] / off[1], exact / 1e-12


def main():
    "Ratios, each beside its limit."
    rows = []
    for shape, faster in (("A", 1.5), ("B", 2.)):
        ours, back = measure(shape, "ours"), measure(shape, "backward")
        peers = [measure(shape, f"vmap{c}") for c in CHUNKS]
        tuned = min(peers, key=lambda m: m["seconds"])
        rows += [(f"{shape}: tuned vmap over ours, time", tuned["seconds"] / ours["seconds"], ">=", faster), (f"{shape}: ours over tuned vmap, memory", ours["peak"] / tuned["peak"], "<=", .4),
                 (f"{shape}: ours over the floor, time", ours["seconds"] / (back["seconds"] + statistics.median([back["products"], ours["products"]])), "<=", 1.8)]
        if shape == "A": rows.append(("A: plain vmap over ours, time", measure(shape, "plain")["seconds"] / ours["seconds"], ">=", 3.))
    small, large = measure("A", "limited", 1024, 0), measure("A", "limited", 2048, 0)
    rows += [("A, 2,048 rows: share of 4 GB", large["peak"] / 4e9, "<=", 1.), ("A, 2,048 rows over 1,024: time over 4", large["seconds"] / small["seconds"] / 4, "<=", 1.)]
    rows += [("A, 2,048 rows over 1,024: growth of memory over 4 n²", (large["peak"] - small["peak"]) / (4 * (2048**2 - 1024**2)), "<=", 1.)]
    rows += [(f"A: {what}", value, "<=", limit) for what, value, limit in zip(("error in single precision over the loop's", "error in double precision over 1e-12"), rounding(), (2., 1.))]
    bad = [value > limit if sign == "<=" else value < limit for _, value, sign, limit in rows]
    for (what, value, sign, limit), wrong in zip(rows, bad): print(f"  {what:56} {value:7.2f}  {sign} {limit:g}  {'MISSED' if wrong else 'ok'}")
    sys.exit(any(bad))


if __name__ == "__main__":
    if len(sys.argv) > 1: child(sys.argv[1], sys.argv[2], int(sys.argv[3]) or None, int(sys.argv[4]))
    else: main()
