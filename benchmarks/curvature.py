"""A Hessian-vector product against a gradient, PyHessian and curvlinops on 32 sequences of 64
tokens: `make bench`; `--save` keeps the ratios in results/benchmarks for the notebook.
"""

import statistics
import sys

import torch
from lensllm.models.batches import n_rows, sequence_loss
from lensllm.generalization.products import Products
from lensllm._internal.tiny import tiny_batch, tiny_model
from ntk import SHAPES  # A and B
from timing import report, seconds

LIMITS = dict(
    gradient=("<=", 2.2), pyhessian=(">=", 1.0), curvlinops=(">=", 1.6)
)  # ours over it, or it over ours


class Tokens(torch.nn.Module):
    "A model from tokens to what cross-entropy takes, as both libraries want it."

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(input_ids=ids, use_cache=False).logits[:, :-1].flatten(0, 1)


def pyhessian(model, batch, v):
    "Its product on one batch: the graph of the gradient is kept."
    from pyhessian.hessian import hessian
    from pyhessian.utils import hessian_vector_product

    held = hessian(
        Tokens(model),
        torch.nn.functional.cross_entropy,
        data=(batch["input_ids"], batch["labels"][:, 1:].flatten()),
        cuda=False,
    )
    parts = [p.view_as(q) for p, q in zip(v.split([q.numel() for q in held.params]), held.params)]
    return lambda: hessian_vector_product(held.gradsH, held.params, parts)


def curvlinops(model, batch, v):
    "Its linear operator."
    from curvlinops import HessianLinearOperator

    whole = Tokens(model)
    H = HessianLinearOperator(
        whole,
        torch.nn.CrossEntropyLoss(),
        list(whole.parameters()),
        [(batch["input_ids"], batch["labels"][:, 1:].flatten())],
        check_deterministic=False,
        num_data=n_rows(batch),
    )
    return lambda: H @ v


def works(shape):
    "What is compared, by name; each gives the product flat or as parts."
    sizes, _ = SHAPES[shape]
    model, batch = (
        tiny_model("gpt2", seed=0, tokens=64, **sizes),
        tiny_batch(n=32, tokens=64, seed=0, vocab=sizes["vocab"]),
    )
    params, eager = (
        list(model.parameters()),
        tiny_model("gpt2", seed=0, tokens=64, attn_implementation="eager", **sizes),
    )
    v = torch.randn(sum(p.numel() for p in params), generator=torch.Generator().manual_seed(0))
    H = Products(model, batch)
    peers = dict(pyhessian=pyhessian(eager, batch, v), curvlinops=curvlinops(eager, batch, v))
    return dict(
        ours=lambda: H @ v,
        gradient=lambda: torch.autograd.grad(sequence_loss(model, batch).mean(), params),
        **peers,
    )


def flat(product):
    return (
        product if isinstance(product, torch.Tensor) else torch.cat([p.flatten() for p in product])
    )


def speed(shape, runs=7):
    """Ratios of median times, taken in turn so that what else the machine does falls on all.

    How far the peers' products are from ours.
    """
    work = works(shape)
    ours = flat(work["ours"]())
    off = {
        k: float((flat(work[k]()) - ours).norm() / ours.norm()) for k in ("pyhessian", "curvlinops")
    }
    taken = [{k: seconds(w, 1) for k, w in work.items()} for _ in range(runs + 1)][1:]
    t = {k: statistics.median(one[k] for one in taken) for k in work}
    rows = [
        (f"{shape}: ours over a gradient, time", t["ours"] / t["gradient"], *LIMITS["gradient"])
    ]
    return rows + [
        (
            f"{shape}: {k} over ours, time (products differ by {off[k]:.0e})",
            t[k] / t["ours"],
            *LIMITS[k],
        )
        for k in off
    ]


if __name__ == "__main__":
    report(
        "curvature",
        [*speed("A"), *speed("B")],
        ("curvature", ("torch", "transformers", "curvlinops-for-pytorch", "PyHessian"))
        if sys.argv[1:] == ["--save"]
        else None,
    )
