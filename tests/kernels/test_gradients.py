"Per-example gradients: three routes, the forms in which they are kept, and what no rule covers."

import gc, weakref
import pytest, torch
from hypothesis import given, settings, strategies as st
from torch.testing import assert_close
from lensllm._internal.tiny import ARCHITECTURES, tiny_batch, tiny_model
from lensllm.kernels.gradients import (
    Dense,
    Gather,
    Outer,
    _Recorder,
    as_matrix,
    dense_slice,
    functional_gradients,
    functional_or_naive_gradients,
    layerwise_gradients,
    naive_gradients,
)
from lensllm.models.batches import (
    Batch,
    evaluating,
    pick_params,
    sample_logits,
    sampled_logits,
    sequence_loss,
)


def largest_difference(arch, f=sequence_loss, padding="right", **config):
    "Of any parameter's layerwise gradients from the loop's, relative; and those without a rule."
    model = tiny_model(arch, seed=0, **config).double()
    batch = Batch.of(model, tiny_batch(n=4, tokens=9, seed=1, padding=padding, prompt=2))
    if f is sampled_logits:
        batch, _ = sample_logits(model, batch, 3, seed=0)
    params = pick_params(model, "all")
    with evaluating(model):
        fast = layerwise_gradients(model, batch, f, params)
        plain = naive_gradients(model, batch, f, params)
    assert_close(fast.outputs, plain.outputs)
    expected = {k: plain.forms[k][0].grad.flatten(1) for k in params if k not in fast.unknown}
    largest = max(g.norm() for g in expected.values())
    errors = []
    for k, g in expected.items():
        found = dense_slice(fast.forms[k], 0, as_matrix(params[k])[0]) if k in fast.forms else 0 * g
        errors.append((found - g).norm() / (g.norm() + 1e-6 * largest))
    return max(errors).item(), sorted(fast.unknown)


# --- forms


def test_a_tied_head_sums_its_two_forms():
    g = torch.tensor([[[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]])
    a = torch.tensor([[[1.0, 0.0], [1.0, 3.0]]])
    looked_up = Gather(torch.tensor([[2, 1]]), torch.tensor([[[5.0, 5.0], [7.0, 7.0]]]))
    by_hand = g[0].T @ a[0] + torch.tensor([[0.0, 0.0], [7.0, 7.0], [5.0, 5.0]])
    assert_close(dense_slice([Outer(g, a), looked_up], 0, 3).view(3, 2), by_hand)
    assert_close(dense_slice([Outer(g, a), looked_up], 1, 3), by_hand[1:].reshape(1, -1))
    assert_close(dense_slice([Dense(by_hand[None])], 0, 1), by_hand[:1])


def test_memory_that_is_given_is_written_over():
    g, a = torch.ones(2, 3, 4), torch.ones(2, 3, 5)
    forms = [Outer(g, a), Dense(torch.ones(2, 4, 5)), Outer(g, a)]
    dirty = torch.full((100,), float("nan"))
    assert_close(dense_slice(forms, 1, 3, dirty), torch.full((2, 10), 7.0))


# --- the three routes


@pytest.mark.parametrize("padding", ["right", "left"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_layerwise_agrees_with_the_loop(arch, padding):
    error, unknown = largest_difference(arch, padding=padding)
    assert error < 1e-12
    if arch == "t5":
        names = {name.rpartition("SelfAttention.")[2] for name in unknown}
        assert names == {"relative_attention_bias.weight"}
    else:
        assert bool(unknown) == (arch == "mamba")


@pytest.mark.parametrize("arch", ["gpt2", "t5", "opt"])
def test_layerwise_agrees_for_untied_heads(arch):
    assert largest_difference(arch, tie_word_embeddings=False)[0] < 1e-12


@pytest.mark.parametrize("arch", ["gpt2", "t5", "opt"])
def test_layerwise_agrees_for_several_outputs_per_row(arch):
    assert largest_difference(arch, sampled_logits)[0] < 1e-12


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_functional_agrees_with_the_loop(arch):
    model = tiny_model(arch, seed=0).double()
    batch = Batch.of(model, tiny_batch(n=3, tokens=6, seed=0, padding="left"))
    params = pick_params(model, "all")
    with evaluating(model):
        mapped = functional_gradients(model, batch, sequence_loss, params)
        plain = naive_gradients(model, batch, sequence_loss, params)
    for name in params:
        expected = plain.forms[name][0].grad
        assert_close(mapped.forms[name][0].grad, expected, rtol=1e-10, atol=1e-13)


def test_a_module_that_is_no_language_model():
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 5),
        torch.nn.Tanh(),
        torch.nn.Conv1d(1, 2, 2),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 1),
    ).double()

    def height(model, batch):
        hidden = model[1](model[0](batch["x"]))
        return model[4](model[3](model[2](hidden[:, None])))[:, 0]

    inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    x, params = Batch.of(net, dict(x=inputs), height), pick_params(net, "all")
    with evaluating(net):
        fast = layerwise_gradients(net, x, height, params)
        plain = naive_gradients(net, x, height, params)
        mapped = functional_or_naive_gradients(net, x, height, params)
    assert fast.unknown == {"2.weight", "2.bias"}  # the convolution: no rule
    first = dense_slice(fast.forms["0.weight"], 0, 5)
    assert_close(first, plain.forms["0.weight"][0].grad.flatten(1))
    assert_close(mapped.forms["2.weight"][0].grad, plain.forms["2.weight"][0].grad)


def test_position_embeddings_come_apart_by_row():
    model = tiny_model("gpt2", seed=0).double()
    batch = Batch.of(model, tiny_batch(n=3, tokens=5, seed=0))
    name = "transformer.wpe.weight"
    wpe = {name: model.get_parameter(name)}
    with evaluating(model):
        fast = layerwise_gradients(model, batch, sequence_loss, wpe).forms[name]
        plain = naive_gradients(model, batch, sequence_loss, wpe).forms[name][0].grad
    assert_close(dense_slice(fast, 0, 64), plain.flatten(1))
    assert plain[0].norm() != plain[1].norm()


@settings(max_examples=10, derandomize=True, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 5),
    tokens=st.integers(2, 12),
    arch=st.sampled_from(["gpt2", "opt", "llama", "bart"]),
)
def test_rows_add_up_to_the_gradient_of_the_sum(seed, n, tokens, arch):
    model = tiny_model(arch, seed=seed).double()
    batch = Batch.of(model, tiny_batch(n=n, tokens=tokens, seed=seed, padding="right"))
    params = pick_params(model, "all")
    of_sum = torch.autograd.grad(sequence_loss(model, batch).sum(), list(params.values()))
    with evaluating(model):
        forms = layerwise_gradients(model, batch, sequence_loss, params).forms
    sums = dict(zip(params, of_sum, strict=True))
    assert len(forms) > len(params) / 2
    for name, form in forms.items():
        added = dense_slice(form, 0, as_matrix(params[name])[0]).sum(0)
        assert_close(added, sums[name].flatten(), rtol=1e-9, atol=1e-12)


# --- the recorder

REORDERS = {  # four rows of three tokens lie folded in the first dimension of h
    "index": (lambda h, i: h[i], True),
    "index behind a new dimension": (lambda h, i: h[None, i], True),
    "mask": (lambda h, i: h[h[:, 0] > 0], True),
    "index_select": (lambda h, i: h.index_select(0, i), True),
    "index_select by name": (lambda h, i: torch.index_select(h, dim=-2, index=i), True),
    "gather": (lambda h, i: h.gather(0, i[:, None]), True),
    "masked_select": (lambda h, i: h.masked_select(h > 0), True),
    "one row": (lambda h, i: h[0], False),
    "new dimension": (lambda h, i: h[None], False),
    "index of columns": (lambda h, i: h[:, i], False),
    "index of the last dimension": (lambda h, i: h[..., i], False),
    "index_select of columns": (lambda h, i: h.index_select(1, i), False),
    "gather of columns": (lambda h, i: h.gather(-1, i[None]), False),
    "index of something else": (lambda h, i: torch.ones(5, 8)[i], False),
}


@pytest.mark.parametrize("pick, reordered", REORDERS.values(), ids=REORDERS)
def test_an_index_among_rows_may_reorder_them(pick, reordered):
    h, i = torch.ones(12, 8), torch.arange(3)
    with _Recorder({}, Batch(dict(x=torch.ones(4, 3)), shift=0)) as recorder:
        pick(h, i)
    assert recorder.reordered == reordered


def test_inputs_are_freed_without_garbage_collection():
    class Watched(torch.nn.Linear):
        "Keeps a weak reference to its input."

        def forward(self, x):
            wide = x * 1.0
            self.seen = weakref.ref(wide)
            return super().forward(wide)

    net, x = Watched(3, 1), Batch(dict(x=torch.randn(4, 3)), shift=0)
    gc.disable()
    try:
        with evaluating(net):
            layerwise_gradients(net, x, lambda m, b: m(b["x"])[:, 0], pick_params(net, "all"))
        assert net.seen() is None
    finally:
        gc.enable()
