"Models that are small enough to hold every matrix of."

import pydoc_data.topics
from types import SimpleNamespace

import pytest
import torch
import transformers
from lensllm._internal.tiny import tiny_model
from lensllm.generalization.products import Products
from lensllm.models.batches import sequence_loss
from oracles import dense_hessian, small_model_and_batch


@pytest.fixture(scope="session", autouse=True)
def quiet_transformers():
    "Silence what transformers reports about small configurations."
    transformers.logging.set_verbosity_error()


@pytest.fixture(scope="session")
def small_gpt2():
    "A small GPT-2 in double precision, a batch for it, and its whole Hessian."
    model, batch = small_model_and_batch("gpt2")
    return SimpleNamespace(model=model, batch=batch, hessian=dense_hessian(model, batch))


def _letters():
    "Python's own manual as letters, coded from 3 on."
    prose = "".join(text for _, text in sorted(pydoc_data.topics.topics.items())).lower()
    letters = [c for c in prose if c in " abcdefghijklmnopqrstuvwxyz"][:200_000]
    return torch.tensor([3 + (0 if c == " " else ord(c) - 96) for c in letters])


@pytest.fixture(scope="session")
def trained():
    "A small transformer that has learned prose letter by letter, its Hessian and its spectrum."
    text = _letters()

    def rows_of(n, seed):
        generator = torch.Generator().manual_seed(seed)
        places = torch.randint(0, len(text) - 16, (n,), generator=generator)
        rows = text[places[:, None] + torch.arange(16)]
        return dict(input_ids=rows, attention_mask=torch.ones_like(rows), labels=rows)

    model = tiny_model("gpt2", seed=0, layers=1, width=8, vocab=30, tokens=16).train()
    adam = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(400):
        loss = sequence_loss(model, rows_of(32, step)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    model, rows = model.eval().double(), rows_of(64, 10_000)
    hessian = dense_hessian(model, rows)
    hessian = (hessian + hessian.T) / 2
    return SimpleNamespace(model=model, rows=rows, hessian=hessian, products=Products(model, rows))
