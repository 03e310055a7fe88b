"What is found of a run: bounds in their order, distances by hand, and reasons instead of crashes."

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lensllm._internal.tiny import tiny_model
from lensllm.generalization.curvature import hessian_trace
from lensllm.kernels.ntk import ntk_gram
from lensllm.models.batches import sequence_loss
from lensllm.tune.findings import Findings
from lensllm.tune.tasks import collate, encode, split_rows

WORDS = "zero one two three four five six seven eight nine".split()
DIGITS = [(a, b) for a in range(10) for b in range(10)]


@pytest.fixture(scope="module")
def watched(alphabet):
    "A small model that has learned to count in 80 steps, with what was found."
    sums = [(f"{a} {b} {i}", WORDS[(a + b) % 10]) for a, b in DIGITS for i in range(8)]
    task = split_rows(sums, "counting")
    rows = dict(train=encode(task.train[:200], alphabet), test=encode(task.test, alphabet))
    start = tiny_model("gpt2", seed=0, vocab=len(alphabet), tokens=64, width=32)
    model = tiny_model("gpt2", seed=0, vocab=len(alphabet), tokens=64, width=32)

    def moment(step, last=False, rows=rows):
        return SimpleNamespace(model=model, tokenizer=alphabet, step=step, last=last, rows=rows)

    watch = Findings(runs=12)
    watch(moment(0))
    adam = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(80):
        batch = collate(rows["train"][step % 10 * 16 :][:16], alphabet)
        sequence_loss(model, batch).mean().backward()
        adam.step()
        adam.zero_grad()
        watch(moment(step + 1))
    watch(moment(80, last=True))
    batch = collate(rows["train"][:32], alphabet)
    return SimpleNamespace(
        found=watch.found, moment=moment, rows=rows, start=start, model=model, batch=batch
    )


def test_the_certificate_lies_between_the_loss_and_a_guess(watched):
    found = watched.found
    assert found["smoothed_loss"] < found["certificate"] < found["guess"]


def test_smoothing_adds_little_to_the_test_loss(watched, alphabet):
    with torch.no_grad():
        batch = collate(watched.rows["test"], alphabet)
        loss = float(sequence_loss(watched.model.eval(), batch).mean())
    assert abs(watched.found["smoothed_loss"] - loss) < 0.2


def test_training_turns_the_kernel_but_not_wholly(watched):
    assert 0 < watched.found["drift"] < 1


def test_the_distance_by_hand(watched):
    pairs = zip(watched.model.parameters(), watched.start.parameters())
    squares = sum(float(((p - q).detach() ** 2).sum()) for p, q in pairs)
    np.testing.assert_allclose(watched.found["distance"], squares**0.5, rtol=1e-5)


def test_a_choice_among_fewer_runs_costs_less(watched):
    one = Findings(runs=1)
    one.start, one.kernel = watched.start, ntk_gram(watched.start, watched.batch)
    one(watched.moment(80, last=True))
    assert one.found["certificate"] < watched.found["certificate"]
    for name in ("drift", "distance", "n"):
        assert one.found[name] == watched.found[name]


def test_rows_that_were_trained_on_certify_nothing_and_the_run_goes_on(watched):
    same = Findings()
    same(watched.moment(0))
    leaky = dict(watched.rows, train=watched.rows["test"])
    same(watched.moment(80, last=True, rows=leaky))
    assert "rows that were not trained on" in same.found["reason"]
    assert same.found["distance"] == 0  # what could be found stays
    assert "certificate" not in same.found


def test_the_trace_is_within_its_error(watched):
    exact = hessian_trace(
        watched.model,
        watched.batch,
        generator=torch.Generator().manual_seed(1),
        num_probes=400,
        rel_stderr=None,
    )
    error = (watched.found["trace_stderr"] ** 2 + exact.stderr**2) ** 0.5
    assert abs(watched.found["trace"] - exact.value) < 4 * error


def test_a_run_that_keeps_its_start_has_no_certificate(watched):
    none = Findings()
    none(watched.moment(0))
    none(watched.moment(0, last=True))
    assert "certificate" not in none.found
    assert none.found["drift"] < 1e-6


@pytest.mark.parametrize(
    "options, message",
    [(dict(runs=0), "`runs` must be a whole number from 1"), (dict(rows=1), "`rows` must be >= 4")],
)
def test_too_few_runs_or_rows_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Findings(**options)
