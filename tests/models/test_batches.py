"Batches, outputs, parameters, and a model that holds still."

import copy, re, warnings
import pytest, torch
from torch.testing import assert_close
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.models.batches import (
    IGNORED,
    Batch,
    as_output,
    beside,
    check_batch,
    check_depends,
    evaluating,
    first_nonfinite,
    in_precision,
    label_shift,
    layer_of,
    logits_and_labels,
    n_rows,
    pick_params,
    sample_logits,
    sampled_logits,
    sequence_loss,
    take,
)


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2", seed=0)


@pytest.fixture(scope="module")
def rows():
    return tiny_batch(n=3, tokens=8, seed=0)


# --- a batch


def test_rows_are_counted(rows):
    assert n_rows(rows) == 3
    assert n_rows(take(rows, slice(0, 2))) == 2


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda rows: rows | dict(label=torch.zeros(2)), ValueError, "'label'"),
        (lambda rows: rows | dict(label="text"), ValueError, "'label' of shape None"),
        (lambda rows: rows["input_ids"], TypeError, "dictionary"),
        (lambda rows: {}, ValueError, "got an empty dictionary"),
        (lambda rows: take(rows, slice(0, 0)), ValueError, "at least one row"),
    ],
    ids=["other number of rows", "no tensor", "no dictionary", "empty", "no rows"],
)
def test_what_is_no_batch_is_refused(rows, change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        n_rows(change(rows))


def test_a_batch_is_a_dictionary_with_the_same_tensors(model, rows):
    batch = Batch.of(model, rows)
    assert dict(batch) == rows
    assert all(batch[k] is v for k, v in rows.items())
    assert_close(model(**batch).logits, model(**rows).logits)


def test_what_is_made_of_a_batch_is_a_batch(model, rows):
    batch = Batch.of(model, rows)
    like = torch.zeros(1, dtype=torch.float64)
    parts = (
        batch.rows([0, 2]),
        batch.to("cpu"),
        batch.beside(like),
        batch.with_entries(position=torch.zeros(3, 1)),
        copy.copy(batch),
        copy.deepcopy(batch),
    )
    assert all(isinstance(part, Batch) for part in parts)
    assert [part.n_rows for part in parts] == [2, 3, 3, 3, 3, 3]
    assert [part.shift for part in parts] == [1] * 6


def test_rows_and_pieces_are_those_of_take(model, rows):
    batch = Batch.of(model, rows)
    assert_close(dict(batch.rows(slice(1, 3))), take(rows, slice(1, 3)))
    pieces = list(batch.pieces(2))
    assert [piece.n_rows for piece in pieces] == [2, 1]
    assert_close(torch.cat([piece["labels"] for piece in pieces]), rows["labels"])


def test_beside_a_parameter_only_floats_change_precision(model, rows):
    mixed = rows | dict(weight=torch.ones(3))
    like = torch.zeros(1, dtype=torch.float64)
    for moved in (beside(mixed, like), Batch.of(model, mixed).beside(like)):
        assert moved["weight"].dtype == torch.float64
        assert moved["input_ids"].dtype == torch.int64


@pytest.mark.parametrize("arch, shift", [("gpt2", 1), ("llama", 1), ("t5", 0), ("bart", 0)])
def test_targets_are_the_labels_of_logits_and_labels(arch, shift):
    model, rows = tiny_model(arch, seed=0), tiny_batch(n=3, tokens=8, seed=0, prompt=2)
    batch = Batch.of(model, rows)
    assert label_shift(model) == batch.shift == shift
    assert torch.equal(batch.targets, logits_and_labels(model, rows)[1])
    assert torch.equal(batch.targets[:, : 8 - shift], rows["labels"][:, shift:])
    assert (batch.targets[:, 8 - shift :] == IGNORED).all()


def test_a_module_without_a_configuration_counts_as_causal():
    assert label_shift(torch.nn.Linear(1, 1)) == 1


def masked_row(rows):
    return rows | dict(labels=rows["labels"].index_fill(0, torch.tensor([1]), IGNORED))


def one_token_too_many(rows):
    return rows | dict(input_ids=rows["input_ids"] + 96 - rows["input_ids"].max())


REFUSED = {
    "a masked row": (masked_row, "none in row 1 (1 such rows)"),
    "one token per row": (lambda rows: take(rows, (slice(None), slice(0, 1))), "none in row 0 (3"),
    "an unknown token": (one_token_too_many, "got 96 in input_ids where it has 96"),
    "an unknown label": (
        lambda rows: rows | dict(labels=rows["labels"].clamp(min=96)),
        "got 96 in labels where it has 96",
    ),
    "a label per row": (
        lambda rows: rows | dict(labels=rows["labels"][:, 0]),
        "got labels of shape (3,)",
    ),
    "no labels": (lambda rows: {"input_ids": rows["input_ids"]}, "must hold `labels`"),
}


@pytest.mark.parametrize("change, message", REFUSED.values(), ids=REFUSED)
def test_a_batch_without_what_the_output_needs_is_refused(model, rows, change, message):
    for check in (check_batch, Batch.of):
        with pytest.raises(ValueError, match=re.escape(message)):
            check(model, change(rows), "loss")


def changed(name, change):
    "A function that changes one entry of a batch."
    return lambda rows: rows | {name: change(rows[name].clone())}


def with_entry(name, value):
    return lambda rows: rows | {name: torch.full_like(rows["input_ids"], value)}


def put(value):
    "A function that puts a value into the middle of the first row."

    def change(tensor):
        tensor[0, 4] = value
        return tensor

    return change


ODD = {
    "a negative id": (
        changed("input_ids", put(-1)),
        "tokens that the model knows, got -1 in input",
    ),
    "a label below 0": (changed("labels", put(-5)), "got -5 in labels where it has 96"),
    "a label too high": (changed("labels", put(96)), "got 96 in labels where it has 96"),
    "ids as floats": (
        changed("input_ids", torch.Tensor.float),
        "whole numbers as input_ids, got f",
    ),
    "labels as floats": (changed("labels", torch.Tensor.double), "whole numbers as labels, got fl"),
    "ids as truths": (
        changed("input_ids", torch.Tensor.bool),
        "whole numbers as input_ids, got bool",
    ),
    "a longer mask": (
        changed("attention_mask", lambda mask: torch.cat([mask, mask], 1)),
        "attention_mask of the shape of input_ids, (3, 8), got (3, 16)",
    ),
    "a mask of a number per row": (
        changed("attention_mask", lambda mask: mask[:, 0]),
        "attention_mask of the shape of input_ids, (3, 8), got (3,)",
    ),
    "shorter labels": (
        changed("labels", lambda labels: labels[:, :5]),
        "labels of the shape of input_ids, (3, 8), got (3, 5)",
    ),
    "a mask of twos": (
        changed("attention_mask", put(2)),
        "zeros and ones as attention_mask, got 2",
    ),
    "a row without a token": (
        changed("attention_mask", lambda mask: mask.index_fill(0, torch.tensor([1]), 0)),
        "attention_mask of row 1 is 0 everywhere (1 such rows)",
    ),
    "ids in three dimensions": (
        changed("input_ids", lambda ids: ids[..., None]),
        "input_ids of shape (rows, tokens), got (3, 8, 1)",
    ),
    "a position too high": (with_entry("position_ids", 64), "got 64 in position_ids"),
    "a negative position": (with_entry("position_ids", -1), "got -1 in position_ids"),
}


@pytest.mark.parametrize("change, message", ODD.values(), ids=ODD)
def test_an_odd_batch_is_refused_in_one_line(model, rows, change, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)) as caught:
        Batch.of(model, change(rows))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arch", ["gpt2", "llama", "bart"])
def test_rows_longer_than_the_positions_are_refused(arch):
    small = tiny_model(arch, seed=0, tokens=8)
    Batch.of(small, tiny_batch(n=2, tokens=8, seed=0))
    with pytest.raises(ValueError, match="got 9 tokens in input_ids where it has 8 positions"):
        Batch.of(small, tiny_batch(n=2, tokens=9, seed=0))


def test_a_longer_target_of_an_encoder_decoder_is_refused():
    bart = tiny_model("bart", seed=0, tokens=8)
    rows = tiny_batch(n=2, tokens=8, seed=0)
    rows["labels"] = torch.cat([rows["labels"]] * 2, 1)
    with pytest.raises(ValueError, match="got 16 tokens in labels where it has 8 positions"):
        Batch.of(bart, rows)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_short_integers_are_read_as_what_they_are(model, rows, dtype):
    short = rows | dict(input_ids=rows["input_ids"].to(dtype))
    if dtype != torch.uint8:
        short["labels"] = rows["labels"].to(dtype)
    assert_close(
        sequence_loss(model, Batch.of(model, short)), sequence_loss(model, Batch.of(model, rows))
    )


def test_a_function_of_your_own_needs_no_labels(model, rows):
    batch = Batch.of(model, {"input_ids": rows["input_ids"]}, lambda model, batch: None)
    assert batch.n_rows == 3


# --- sampled logits


def test_sampled_logits_are_those_at_position_and_token(model, rows):
    drawn, residual = sample_logits(model, rows, 4, seed=1)
    logits, _ = logits_and_labels(model, rows)
    position, token = drawn["position"][1, 2], drawn["token"][1, 2]
    assert drawn["position"].shape == (3, 4)
    assert_close(sampled_logits(model, drawn)[1, 2], logits[1, position, token])
    assert (residual[:, ::2] < 0).all()  # the right class: its probability less 1


def test_sampled_logits_must_be_drawn_first(model, rows):
    with pytest.raises(ValueError, match="sample_logits"):
        sampled_logits(model, rows)


def test_nothing_is_drawn_where_no_label_is_predicted(model, rows):
    blank = rows | dict(labels=torch.full_like(rows["labels"], IGNORED))
    with pytest.raises(ValueError, match=re.escape("none in row 0 (3 such rows)")):
        sample_logits(model, blank, seed=0)


def test_at_least_one_logit_is_drawn(model, rows):
    with pytest.raises(ValueError, match="`m` must be a whole number from 1"):
        sample_logits(model, rows, 0, seed=0)


# --- outputs and parameters by name


def test_an_unknown_output_is_refused():
    with pytest.raises(ValueError, match="must be one of loss, logits, sampled"):
        as_output("losses")


@pytest.mark.parametrize(
    "name, layer",
    [
        ("transformer.h.0.attn.c_attn.weight", "transformer.h.0"),
        ("transformer.wte.weight", "transformer.wte"),
        ("0.weight", "0"),
        ("scale", "scale"),
    ],
)
def test_layer_of_a_parameter(name, layer):
    assert layer_of(name) == layer


def test_parameters_are_picked_by_a_function(model):
    picked = pick_params(model, lambda name, p: name.endswith("ln_f.bias"))
    assert list(picked) == ["transformer.ln_f.bias"]


@pytest.mark.parametrize(
    "params, message",
    [
        ("lora", "matches none; the model's are named like transformer.wte"),
        ("trainable", "none is trainable"),
        ("some", "must be one of all, layers, trainable, lora"),
    ],
)
def test_no_parameters_are_refused(params, message):
    frozen = tiny_model("gpt2", seed=0).requires_grad_(False)
    with pytest.raises(ValueError, match=message):
        pick_params(frozen, params)


def test_a_model_without_floats_has_no_parameters():
    with pytest.raises(ValueError, match="it has none of floating point"):
        pick_params(torch.nn.Flatten(), "all")


# --- a model that holds still


def warnings_of(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with evaluating(model):
            pass
    return [str(w.message) for w in caught]


@pytest.mark.parametrize("arch", ["gpt2", "opt", "gpt_neox", "llama", "t5", "bart"])
def test_only_active_dropout_is_warned_of(arch):
    "In some models the rate is an attribute of another module."
    assert len(warnings_of(tiny_model(arch, seed=0, dropout=0.1).train())) == 1
    assert not warnings_of(tiny_model(arch, seed=0).train())
    assert not warnings_of(tiny_model(arch, seed=0, dropout=0.1).eval())


def test_the_warning_names_the_module():
    (message,) = warnings_of(tiny_model("gpt2", seed=0, dropout=0.1).train())
    assert "dropout (transformer.drop)" in message


def test_a_model_is_restored_even_after_an_error():
    model = tiny_model("gpt2", seed=0).train()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
        raise ZeroDivisionError
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_half_precision_is_copied_to_single(model):
    half = tiny_model("gpt2", seed=0).to(torch.bfloat16)
    assert in_precision(half).dtype == torch.float32
    assert half.dtype == torch.bfloat16
    assert in_precision(model) is model
    assert in_precision(model, torch.float32) is model
    assert in_precision(model, torch.float64).dtype == torch.float64


def test_the_first_layer_that_makes_a_nan_is_named(model, rows):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    assert first_nonfinite(sequence_loss, model, rows) == ""
    assert first_nonfinite(sequence_loss, broken, rows) == "transformer.h.1.mlp.c_fc"


def test_an_output_that_makes_its_own_nan_is_named(model, rows):
    def root_of_minus_one(model, batch):
        return (sequence_loss(model, batch) * 0 - 1).sqrt()

    assert first_nonfinite(root_of_minus_one, model, rows) == "the output itself"


# --- what holds no values, and outputs that are none


def test_weights_on_the_meta_device_are_refused(model, rows):
    with pytest.raises(ValueError, match="`model` must hold its weights"):
        Batch.of(copy.deepcopy(model).to("meta"), rows)


def test_a_batch_on_the_meta_device_is_refused(model, rows):
    with pytest.raises(ValueError, match="`batch` must hold its values, those of 'input_ids'"):
        Batch.of(model, {name: tensor.to("meta") for name, tensor in rows.items()})


def test_weights_in_two_precisions_are_to_be_brought_to_one(model, rows):
    mixed = copy.deepcopy(model)
    mixed.transformer.h[0].half()
    with pytest.raises(ValueError, match=r"float16, float32: bring them to one with model.float"):
        Batch.of(mixed, rows)


@pytest.mark.parametrize("index", ["x", ["x"], [7], 1.5])
def test_rows_that_are_no_index_are_named(rows, index):
    with pytest.raises((TypeError, ValueError), match="`rows` must be an index"):
        take(rows, index)


@pytest.mark.parametrize("device", ["gpu", "meta", 3], ids=str)
def test_a_device_that_keeps_nothing_is_named(rows, device):
    with pytest.raises(ValueError, match="`device` must be"):
        take(rows, [0], device)


@pytest.mark.parametrize("trainable", [True, False])
def test_asking_whether_an_output_depends_leaves_the_model_as_it_was(model, rows, trainable):
    kept = copy.deepcopy(model).requires_grad_(trainable)
    check_depends(sequence_loss, kept, Batch.of(kept, rows))
    assert {p.requires_grad for p in kept.parameters()} == {trainable}
