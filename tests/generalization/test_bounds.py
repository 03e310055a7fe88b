"Terms, noise and certificates of fine-tuned models: their parts, their order and their mistakes."

import copy
import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.generalization.bounds import (
    NOISES,
    Scale,
    _divergence,
    _rounded,
    _start_sizes,
    _total_stderr,
    bound_terms,
    certify,
    lens_split,
    plain_losses,
    row_nats,
    tolerated_noise,
    update_of,
)
from lensllm.models.batches import IGNORED, layer_of, sequence_loss, take
from oracles import seeded

HELD_OUT = ["held out"]


@pytest.fixture(scope="module")
def tuned():
    "A small model before and after a few steps of training, its rows, and fresh ones."
    start = tiny_model("gpt2", seed=0, layers=2, width=8, vocab=32, tokens=16)
    rows = tiny_batch(n=64, tokens=12, seed=0, vocab=32)
    fresh = tiny_batch(n=800, tokens=12, seed=1, vocab=32)
    end = copy.deepcopy(start).train()
    sgd = torch.optim.SGD(end.parameters(), lr=0.5)
    for _ in range(20):
        loss = sequence_loss(end, rows).mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return SimpleNamespace(start=start, end=end.eval(), rows=rows, fresh=fresh)


@pytest.fixture
def four(tuned):
    return take(tuned.rows, slice(0, 4))


# Terms


def test_errors_of_layers_add_up_within_a_row_and_in_squares_between_rows():
    draws = np.random.default_rng(0).normal(size=50)
    columns = dict(row=[0, 0], trace=[1.0, 1.0], term=[2.0, 2.0], samples=[draws, draws])
    one_row = pd.DataFrame(columns)
    two_rows = one_row.assign(row=[0, 1])
    each = draws.std(ddof=1) / 50**0.5
    np.testing.assert_allclose(_total_stderr(one_row), 2 * each)
    np.testing.assert_allclose(_total_stderr(two_rows), 2**0.5 * each)


def test_a_model_that_has_not_moved_has_no_terms(tuned, four):
    options = dict(n=4, loss_bound=1.0, generator=seeded(), over="mean", num_probes=2)
    terms = bound_terms(tuned.start, tuned.start, four, **options)
    assert (terms.total, terms.total_along) == (0.0, 0.0)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(n=0, loss_bound=1.0), "`n` must be a whole number from 1"),
        (dict(n=4, loss_bound=math.inf), "smooth the loss, or clip it"),
        (dict(n=4, loss_bound=1.0, b=1.0), "`b` must lie in (0, 1)"),
        (dict(n=4, loss_bound=1.0, over="sum"), "one of max, mean"),
    ],
)
def test_option_of_the_terms_without_a_meaning_is_refused(tuned, four, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        bound_terms(tuned.start, tuned.end, four, generator=seeded(), **options)


# Splits along a ladder

LADDER = 100 * 2 ** np.arange(9)


@pytest.mark.parametrize(
    "values, two_parts",
    [
        (2 * LADDER**-0.2 + 30 * LADDER**-0.75, True),
        (2 + 30 * LADDER**-0.75, True),
        (LADDER**-0.75, False),
        (LADDER**0.1, False),
    ],
    ids=["two laws", "law and constant", "steep law", "rising law"],
)
def test_two_parts_are_told_apart_where_there_are_two(values, two_parts):
    assert lens_split(LADDER, values).told_apart == two_parts


def test_a_beta_at_the_end_of_its_range_has_no_error():
    split = lens_split(LADDER, 2 + 30 * LADDER**-0.75)
    assert round(split.beta, 3) == 0.0
    assert math.isnan(split.beta_stderr)
    assert "the end of its range" in repr(split)


def test_the_split_of_what_rises_is_a_constant():
    rising = 1.0 + 0.05 * np.arange(len(LADDER))
    split = lens_split(LADDER, rising)
    best = (1 / rising).sum() / (1 / rising**2).sum()  # of least relative error
    assert split.beta == split.c == 0
    np.testing.assert_allclose(split.C, best, rtol=1e-9)


def test_an_absent_part_takes_no_certainty_and_rounding_takes_none():
    concave = 3 * LADDER**-0.3 * np.exp(-0.02 * np.log(LADDER / 100) ** 2)
    split, shaken = (lens_split(LADDER, concave * (1 + e)) for e in (0, 1e-13))
    assert split.c == 0
    assert math.isnan(split.c_stderr)
    np.testing.assert_allclose(split.beta_stderr, shaken.beta_stderr, rtol=1e-6)
    np.testing.assert_allclose(split.beta_stderr, split.slope_stderr, rtol=0.2)  # it is a line


@pytest.mark.parametrize(
    "n, values, message",
    [
        ([1, 2, 3], [1.0, 1.0, 1.0], "length >= 4"),
        ([1, 2, 3, 4], [1.0, 1.0, 1.0, -1.0], "a gap below 0 has no power law"),
    ],
)
def test_ladder_that_has_no_power_law_is_refused(n, values, message):
    with pytest.raises(ValueError, match=message):
        lens_split(n, values)


# Risks


@pytest.fixture
def nats(tuned):
    return row_nats(tuned.end, take(tuned.rows, slice(0, 5)), Scale(32))


def test_risks_lie_between_0_and_1(nats):
    risks = Scale(32).risks(nats)
    assert (risks > 0).all()
    assert (risks < 1).all()


def test_risks_and_losses_are_one_scale(nats):
    scale = Scale(32)
    np.testing.assert_allclose(scale.nats(scale.risks(nats)), nats, rtol=1e-9)


def test_plain_losses_are_those_of_the_model_in_pieces_of_64(tuned):
    rows = take(tuned.fresh, slice(0, 90))
    pieces = (take(rows, slice(0, 64)), take(rows, slice(64, 90)))
    with torch.no_grad():
        expected = torch.cat([sequence_loss(tuned.end, piece) for piece in pieces])
    assert torch.equal(plain_losses(tuned.end, [rows]), expected)


# Noise


@pytest.mark.parametrize(
    "tolerance, message",
    [(0.0, "`tolerance` must be > 0"), (1e9, "must be a rise that noise")],
)
def test_tolerance_that_no_noise_makes_is_refused(tuned, four, tolerance, message):
    options = dict(tolerance=tolerance, generator=seeded())
    with pytest.raises(ValueError, match=message):
        tolerated_noise(tuned.start, tuned.end, four, **options)


# Parts of certificates


def test_a_posterior_that_is_part_of_the_prior_pays_for_being_picked(tuned):
    unmoved = {k: torch.zeros_like(u) for k, u in update_of(tuned.start, tuned.end).items()}
    sizes = _start_sizes(tuned.start, unmoved)
    np.testing.assert_allclose(_divergence(unmoved, sizes, NOISES[3]), math.log(len(NOISES)))


any_update = given(seed=st.integers(0, 2**31))
few_examples = settings(max_examples=10, derandomize=True, deadline=None, database=None)


def random_update(seed):
    g = seeded(seed)
    a, b = torch.randn(40, 5, generator=g), torch.randn(7, generator=g) * 1e-3
    return dict(a=a, b=b, c=torch.zeros(3))


@few_examples
@any_update
def test_a_finer_code_is_longer(seed):
    update = random_update(seed)
    coarse, middle, fine = (_rounded(update, c)[1] for c in (4.0, 1.0, 0.25))
    assert coarse < middle < fine


@few_examples
@any_update
def test_a_rounded_update_is_within_half_a_step(seed):
    update = random_update(seed)
    rounded, _ = _rounded(update, 0.25)
    assert not rounded["c"].any()
    for name in "ab":
        size = update[name].square().mean().sqrt()
        largest_step = 0.25 * size * 2**0.5  # a power of two near 0.25 times the size
        error = (update[name] - rounded[name]).abs().max()
        assert error <= largest_step / 2 * 1.01


# The held-out certificate


@pytest.fixture
def held_out_bound(tuned):
    "The held-out bound with other options."

    def bound(**options):
        options = dict(generator=seeded(), held_out=tuned.fresh, ways=HELD_OUT) | options
        return certify(tuned.start, tuned.end, tuned.rows, **options).best.bound

    return bound


def test_all_parameters_are_trainable_here(held_out_bound):
    assert held_out_bound(params="trainable") == held_out_bound()


def test_more_candidates_loosen_the_bound(held_out_bound):
    assert held_out_bound() < held_out_bound(candidates=30)


def test_fewer_rows_loosen_the_bound(held_out_bound, tuned):
    fewer = take(tuned.fresh, slice(0, 200))
    options = dict(candidates=30)
    assert held_out_bound(**options) < held_out_bound(**options, held_out=fewer)


def test_a_larger_delta_tightens_the_bound(held_out_bound):
    assert held_out_bound(delta=0.2) < held_out_bound()


def test_one_row_certifies_nothing(tuned):
    row = take(tuned.rows, slice(0, 1))
    single = certify(tuned.start, tuned.end, row, generator=seeded(), draws=2, noise=0.1)
    assert single.best.vacuous
    assert "all are vacuous" in repr(single)


def test_a_few_rows_that_were_trained_on_are_named_in_a_warning(tuned, four):
    overlapping = take(tuned.rows, slice(3, 12))
    options = dict(held_out=overlapping, generator=seeded(), ways=HELD_OUT)
    with pytest.warns(UserWarning, match="1 rows of `held_out`"):
        certify(tuned.start, tuned.end, four, **options)


# Mistakes


def with_padding(batch):
    "The same rows with another padded token."
    n = len(batch["labels"])
    padding = dict(input_ids=31, attention_mask=0, labels=IGNORED)
    columns = {name: torch.full((n, 1), value) for name, value in padding.items()}
    return {name: torch.cat([batch[name], columns[name]], 1) for name in padding}


def without_labels(batch):
    return {name: value for name, value in batch.items() if name != "labels"}


def masked(batch):
    return batch | dict(labels=torch.full_like(batch["labels"], IGNORED))


def in_second_block(name, p):
    return layer_of(name) == "transformer.h.1"


@pytest.mark.parametrize(
    "options, error, message",
    [
        (dict(params=in_second_block), ValueError, "`params` must name all that fine-tuning"),
        (dict(ways=HELD_OUT), ValueError, "`held_out` must be given"),
        (dict(ways="held out"), TypeError, "take ['held out']"),
        (dict(ways=["luck"]), ValueError, "`ways` must be of held out, PAC-Bayes, compression"),
        (dict(ways=[]), ValueError, "`ways` must name at least one"),
        (dict(delta=1.5), ValueError, "`delta` must lie in (0, 1), got 1.5"),
        (dict(held_out=[]), ValueError, "`held_out` must hold at least one batch"),
        (dict(noise=0.0), ValueError, "`noise` must be > 0"),
        (dict(draws=0), ValueError, "`draws` must be a whole number from 1"),
        (dict(unit="byte"), ValueError, "`target_bytes`"),
        (dict(unit="word"), ValueError, "one of token, byte"),
        (dict(generator=0), TypeError, "must be a torch.Generator"),
    ],
)
def test_option_that_certifies_nothing_is_refused(tuned, four, options, error, message):
    options = dict(generator=seeded()) | options
    with pytest.raises(error, match=re.escape(message)):
        certify(tuned.start, tuned.end, four, **options)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda rows: [], ValueError, "`data` must hold at least one batch"),
        (lambda rows: rows["input_ids"], TypeError, "must be a dictionary of tensors"),
        (lambda rows: take(rows, slice(0, 0)), ValueError, "at least one row"),
        (without_labels, ValueError, "must hold `labels`"),
        (masked, ValueError, "a label that is predicted"),
    ],
    ids=["no batch", "tensor", "no row", "no labels", "all masked"],
)
def test_rows_without_a_loss_are_refused(tuned, four, change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        certify(tuned.start, tuned.end, change(four), generator=seeded())


@pytest.mark.parametrize("change", [dict, with_padding], ids=["the same", "padded otherwise"])
def test_held_out_rows_that_were_trained_on_are_refused(tuned, four, change):
    message = "`held_out` must hold rows that were not trained on, got 4 that are in `data`"
    with pytest.raises(ValueError, match=re.escape(message)):
        certify(tuned.start, tuned.end, four, held_out=change(four), generator=seeded())


def test_a_choice_among_no_candidates_is_refused(tuned, four):
    options = dict(held_out=take(tuned.fresh, slice(0, 4)), candidates=0, generator=seeded())
    with pytest.raises(ValueError, match="`candidates`"):
        certify(tuned.start, tuned.end, four, **options)


def test_more_tokens_per_byte_than_stated_are_refused(tuned, four):
    in_bytes = four | dict(target_bytes=torch.full((4,), 2))  # of 11 tokens
    with pytest.raises(ValueError, match="`tokens_per_byte` must hold"):
        certify(tuned.start, tuned.end, in_bytes, generator=seeded(), unit="byte")


def test_a_start_of_another_architecture_is_refused(tuned, four):
    other = tiny_model("gpt2", seed=0, layers=1, width=8, vocab=32, tokens=16)
    message = "must be of one architecture, got gpt2 and gpt2, transformer.h.1"
    with pytest.raises(ValueError, match=re.escape(message)):
        certify(other, tuned.end, four, generator=seeded())


@pytest.mark.parametrize("way", ["PAC-Bayes", "compression"])
def test_a_loss_that_is_not_finite_is_refused(tuned, four, way):
    broken = copy.deepcopy(tuned.end)
    with torch.no_grad():
        next(broken.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="finite"):
        certify(tuned.start, broken, four, ways=[way], generator=seeded())


def test_layer_that_makes_the_first_nan_is_named(tuned, four):
    broken = copy.deepcopy(tuned.end)
    with torch.no_grad():
        broken.transformer.h[0].mlp.c_proj.bias[3] = math.nan
    with pytest.raises(ValueError, match=r"first in transformer\.h\.0\.mlp\.c_proj"):
        certify(tuned.start, broken, four, generator=seeded())
