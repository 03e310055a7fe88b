"What a candidate is worth before it is fine-tuned."

import numpy as np
import pytest
from lensllm.models.loading import load_model
from lensllm.tune.looks import zero_shot_look
from lensllm.tune.losses import row_costs
from lensllm.tune.tasks import encode, load_task


@pytest.fixture(scope="module")
def task():
    return load_task("define")


def test_the_loss_is_that_of_the_rows_per_byte(task):
    "By hand, on all of the rows that are read."
    look = zero_shot_look("opt-bible", task, rows=8, seed=3)
    model, tokenizer = load_model("opt-bible", device="cpu")
    import random

    picked = random.Random(3).sample(range(len(task.train)), 8)
    rows = [task.train[i] for i in sorted(picked)]
    nats, _, _ = row_costs(model.float(), tokenizer, encode(rows, tokenizer, max_tokens=256))
    n_bytes = sum(len(target.encode()) for _, target in rows)
    assert look.zero_shot == pytest.approx(nats.sum() / n_bytes, rel=1e-6)
    assert (look.model, look.family, look.rows) == ("opt-bible", "opt", 8)
    assert look.n_params == sum(p.numel() for p in model.parameters())


def test_the_error_is_that_of_other_rows(task):
    looks = [zero_shot_look("opt-bible", task, rows=16, seed=seed) for seed in range(6)]
    spread = np.std([look.zero_shot for look in looks], ddof=1)
    expected = np.mean([look.se for look in looks])
    assert expected / 3 < spread < 3 * expected


def test_a_task_with_fewer_rows_is_read_whole(task):
    from dataclasses import replace

    small = replace(task, train=task.train[:5])
    assert zero_shot_look("opt-bible", small, rows=64).rows == 5


def test_a_loss_that_is_no_number_is_refused(task, monkeypatch):
    from lensllm.tune import looks

    monkeypatch.setattr(looks, "_byte_loss", lambda *_: (float("nan"), 0.1))
    with pytest.raises(ValueError, match="`candidate` opt-bible must have a finite loss, got nan"):
        zero_shot_look("opt-bible", task, rows=4)


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(rows=1), "`rows` must be a whole number from 2"),
        (dict(seed=-1), "`seed` must be"),
        (dict(task="define"), "`task` must be a Task, got 'define'; `load_task` makes one"),
        (dict(source=""), "`source` must be the path"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(task, change, said):
    with pytest.raises((ValueError, TypeError)) as refused:
        zero_shot_look(**(dict(source="opt-bible", task=task) | change))
    assert said in str(refused.value)
