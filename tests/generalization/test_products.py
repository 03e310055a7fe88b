"Curvature products against whole matrices and other libraries, and their edge cases."

import copy
import re
import warnings

import peft
import pyhessian
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.generalization.products import (
    KINDS,
    Products,
    _bytes_per_row,
    _CrossEntropy,
    _Elementwise,
    _logits,
)
from lensllm.kernels.ntk import ntk_gram
from lensllm.models.batches import IGNORED, layer_of, logits_and_labels, sequence_loss, take
from oracles import (
    dense_hessian,
    flat_parameters,
    output_of_flat,
    random_vectors,
    relative_distance,
    seeded,
    small_model_and_batch,
)
from torch import nn
from torch.testing import assert_close

METHODS = ("double", "forward")


# Functions that know their second derivative


@pytest.mark.parametrize("f", [torch.tanh, F.silu, F.relu], ids=["tanh", "silu", "relu"])
def test_second_derivative_of_an_activation_is_its_own(f):
    x = random_vectors(6).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: _Elementwise.apply(x, f), x)


def test_second_derivative_of_the_cross_entropy_is_its_own():
    logits = torch.randn(3, 4, 7, dtype=torch.float64, generator=seeded(), requires_grad=True)
    labels = torch.tensor([[1, 2, IGNORED, 0]] * 3)
    assert torch.autograd.gradgradcheck(lambda z: _CrossEntropy.apply(z, labels), logits)


# Against the whole matrix


@pytest.fixture(
    scope="module",
    params=[("gpt2", "right", False), ("gpt_neox", "left", True), ("bart", "right", True)],
    ids=["gpt2 with an untied head", "gpt_neox padded on the left", "bart fed with padding"],
)
def dense(request):
    "A model that stays in double precision, its batch and whole Hessian; the page has them all."
    arch, padding, tied = request.param
    model, batch = small_model_and_batch(arch, padding, tie_word_embeddings=tied)
    return model, batch, dense_hessian(model, batch)


@pytest.mark.parametrize("method", METHODS)
def test_product_is_that_of_the_whole_hessian(dense, method):
    model, batch, H = dense
    V = random_vectors(len(H))
    product = Products(model, batch, method=method, batch_size=3)
    assert relative_distance(product @ V, H @ V) < 1e-13


def test_pyhessian_agrees():
    model = tiny_model("gpt2", seed=0, width=16, vocab=64, attn_implementation="eager").double()
    batch = tiny_batch(n=4, tokens=12, seed=0, vocab=64)
    ours = Products(model, batch)
    v = random_vectors(ours.P, 1)[:, 0]

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model(input_ids=ids, use_cache=False).logits[:, :-1].flatten(0, 1)

    data = (batch["input_ids"], batch["labels"][:, 1:].flatten())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls backward with create_graph
        theirs = pyhessian.hessian(Tokens(), F.cross_entropy, data=data, cuda=False)
    parts = list(ours.split(v).values())
    Hv = pyhessian.utils.hessian_vector_product(theirs.gradsH, theirs.params, parts)
    model.zero_grad()  # PyHessian leaves its gradients, graph and all
    assert relative_distance(torch.cat([part.flatten() for part in Hv]), ours @ v) < 1e-12


# The model is left as it was


@pytest.fixture
def used(small_gpt2):
    "A model in train mode, its weights beforehand, after a product."
    model = copy.deepcopy(small_gpt2.model).train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    product = Products(model, small_gpt2.batch)
    product @ random_vectors(product.P)
    return model, before


def test_weights_keep_their_values_and_stay_trainable(used):
    model, before = used
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])
        assert p.requires_grad
        assert p.grad is None


def test_activations_are_put_back(used):
    assert not any("forward" in vars(module) for module in used[0].modules())


def test_mode_and_attention_are_put_back(used):
    model, _ = used
    assert model.training
    assert model.config._attn_implementation == "sdpa"


# Memory


def test_limit_on_memory_changes_no_product(small_gpt2):
    model, batch = small_gpt2.model, small_gpt2.batch
    V = random_vectors(len(small_gpt2.hessian))
    whole = Products(model, batch)
    memory = 4.5 * _bytes_per_row(whole._maker, whole.batches)
    tight = Products(model, batch, batch_size=2, memory=memory)
    assert relative_distance(tight @ V, small_gpt2.hessian @ V) < 1e-13
    assert (len(tight._graphs), len(tight.batches)) == (2, 3)


# Gauss–Newton and Fisher


@pytest.fixture(scope="module")
def gauss_newton(small_gpt2):
    "The whole Gauss–Newton matrix by its definition, from the Jacobian of the logits."
    model, batch = small_gpt2.model, small_gpt2.batch
    logits_of = output_of_flat(model, _logits, batch)
    J = torch.autograd.functional.jacobian(logits_of, flat_parameters(model))
    with torch.no_grad():
        logits, targets = logits_and_labels(model, batch)
    p, asked = logits.softmax(-1), (targets != IGNORED).double()
    weight = (asked / asked.sum(1, keepdim=True) / len(p)).flatten()
    J = J.view(len(weight), -1, J.shape[1])
    centred = J - torch.einsum("rc,rcp->rp", p.flatten(0, 1), J)[:, None]
    return torch.einsum("r,rc,rcp,rcq->pq", weight, p.flatten(0, 1), centred, J)


@pytest.mark.parametrize("method", METHODS)
def test_gauss_newton_is_that_of_its_definition(small_gpt2, gauss_newton, method):
    V = random_vectors(len(gauss_newton))
    options = dict(kind="gauss_newton", method=method, batch_size=3)
    product = Products(small_gpt2.model, small_gpt2.batch, **options)
    assert relative_distance(product @ V, gauss_newton @ V) < 1e-12


def test_fisher_matrix_is_gauss_newton_on_average(small_gpt2, gauss_newton):
    columns = torch.eye(len(gauss_newton), dtype=torch.float64)[:, :10]
    generator = seeded()

    def draw():
        options = dict(kind="fisher", generator=generator)
        return Products(small_gpt2.model, small_gpt2.batch, **options) @ columns

    draws = torch.stack([draw() for _ in range(100)])
    standard_error = (draws.std(0) / 100**0.5).clamp(min=1e-12)
    error = (draws.mean(0) - gauss_newton[:, :10]) / standard_error  # of 5,720 entries
    assert error.abs().max() < 6
    assert 0.85 < error[draws.std(0) > 1e-9].std() < 1.15


def test_empirical_fisher_has_the_eigenvalues_of_the_kernel(small_gpt2):
    model, batch = small_gpt2.model, small_gpt2.batch
    product = Products(model, batch, kind="empirical_fisher")
    matrix = product @ torch.eye(product.P, dtype=torch.float64)
    kernel = torch.tensor(ntk_gram(model, batch).K)
    ours = torch.linalg.eigvalsh(matrix).flip(0)[:5]
    assert_close(ours, torch.linalg.eigvalsh(kernel).flip(0) / 5, rtol=1e-9, atol=0)


# Part of the parameters


def test_one_layer_is_a_block_of_the_whole(small_gpt2):
    layer = "transformer.h.0"
    model, batch, H = small_gpt2.model, small_gpt2.batch, small_gpt2.hessian
    places = Products(model, batch).layers()[layer]
    block = Products(model, batch, params=lambda name, p: layer_of(name) == layer)
    v = random_vectors(len(H))[places]
    assert relative_distance(block @ v, H[places][:, places] @ v) < 1e-12


@pytest.fixture(scope="module")
def adapted():
    "A small GPT-2 with LoRA's adapters of random size."
    config = peft.LoraConfig(
        r=2,
        target_modules=["c_attn"],
        fan_in_fan_out=True,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    model, batch = small_model_and_batch("gpt2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return peft.get_peft_model(model, config).double(), batch


def test_both_ways_agree_on_adapters(adapted):
    double, forward = (Products(*adapted, params="lora", method=method) for method in METHODS)
    v = random_vectors(double.P, 1)[:, 0]
    assert relative_distance(double @ v, forward @ v) < 1e-12


def test_adapters_are_all_that_is_trainable(adapted):
    assert Products(*adapted, params="lora").P == Products(*adapted, params="trainable").P


# Properties


few_examples = settings(max_examples=15, derandomize=True, deadline=None, database=None)
any_case = given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 6),
    batch_size=st.integers(1, 4),
    kind=st.sampled_from(["hessian", "gauss_newton", "empirical_fisher"]),
)


def one_layer(seed, rows):
    model = tiny_model("gpt2", seed=seed, layers=1, width=4, vocab=16).double()
    return model, tiny_batch(n=rows, tokens=5, seed=seed, vocab=16, padding="right")


@few_examples
@any_case
def test_product_is_linear_and_symmetric(seed, rows, batch_size, kind):
    A = Products(*one_layer(seed, rows), kind=kind, batch_size=batch_size)
    u, v = random_vectors(A.P, 2, seed).T
    Au, Av = A @ u, A @ v
    assert_close(A @ (2 * u - v), 2 * Au - Av, rtol=1e-9, atol=1e-12)
    assert_close(u @ Av, v @ Au, rtol=1e-9, atol=1e-12)
    assert kind == "hessian" or v @ Av > -1e-12


@few_examples
@any_case
def test_product_is_a_mean_over_rows_however_they_are_batched(seed, rows, batch_size, kind):
    model, batch = one_layer(seed, rows)
    A = Products(model, batch, kind=kind, batch_size=batch_size)
    one_by_one = Products(model, [take(batch, [i]) for i in range(rows)], kind=kind)
    v = random_vectors(A.P, 1, seed)[:, 0]
    assert_close(one_by_one @ v, A @ v, rtol=1e-9, atol=1e-12)


@few_examples
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 6))
def test_twice_the_output_is_twice_the_hessian(seed, rows):
    model, batch = one_layer(seed, rows)
    once = Products(model, batch)
    twice = Products(model, batch, output=lambda m, b: 2 * sequence_loss(m, b))
    v = random_vectors(once.P, 1, seed)[:, 0]
    assert_close(twice @ v, 2 * (once @ v), rtol=1e-9, atol=1e-12)


# Outputs of all sorts


def height(model, batch):
    return model["used"](batch["x"])[:, 0]


@pytest.fixture
def line():
    "An output that is linear in its parameters, with a layer that it does not use."
    model = nn.ModuleDict(dict(used=nn.Linear(3, 1), unused=nn.Linear(3, 1)))
    return dict(model=model, batches=dict(x=torch.ones(2, 3)), output=height)


@pytest.mark.parametrize("method", METHODS)
def test_a_linear_output_does_not_bend(line, method):
    assert torch.equal(Products(**line, method=method) @ torch.ones(8), torch.zeros(8))


@pytest.mark.parametrize("method", METHODS)
def test_unused_parameters_have_zeros(line, method):
    slope = Products(**line, kind="empirical_fisher", method=method) @ torch.ones(8)
    assert torch.equal(slope[4:], torch.zeros(4))
    assert slope[:4].abs().min() > 0


class Attention(nn.Module):
    "Attention of one head, by torch's fused operation."

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 12)

    def forward(self, x):
        queries, keys, values = (part[:, None] for part in self.mix(x).chunk(3, -1))
        return F.scaled_dot_product_attention(queries, keys, values).sum((1, 2, 3))


def test_both_ways_agree_on_fused_attention():
    model = Attention().double()
    batch = dict(x=torch.randn(2, 3, 4, generator=seeded(), dtype=torch.float64))
    ones = torch.ones(60, dtype=torch.float64)
    double, forward = (
        Products(model, batch, output=lambda m, b: m(b["x"]), method=method) @ ones
        for method in METHODS
    )
    assert relative_distance(double, forward) < 1e-12


# Dropout and half precision


@pytest.fixture
def dropout():
    return tiny_model("gpt2", seed=0, dropout=0.5).train(), tiny_batch(n=2, tokens=6, seed=0)


def test_dropout_is_switched_off_with_a_warning(dropout):
    model, batch = dropout
    with pytest.warns(UserWarning, match="train mode with dropout"):
        noisy = Products(model, batch)
    assert model.training
    quiet = Products(model.eval(), batch)
    ones = torch.ones(noisy.P)
    assert_close(noisy @ ones, quiet @ ones)


def test_half_precision_is_computed_in_single_on_a_copy(dropout):
    model, batch = dropout
    half = model.eval().to(torch.bfloat16)
    product = Products(half, batch)
    ones = torch.ones(product.P)
    assert (product @ ones).dtype == torch.float32
    assert next(half.parameters()).dtype == torch.bfloat16
    single = Products(copy.deepcopy(half).float(), batch)
    assert relative_distance(product @ ones, single @ ones) < 1e-6


# Mistakes


@pytest.fixture(scope="module")
def model():
    return tiny_model("gpt2", seed=0)


@pytest.fixture(scope="module")
def batch():
    return tiny_batch(n=2, tokens=6, seed=0)


@pytest.mark.parametrize(
    "options, error, message",
    [
        (dict(kind="curvature"), ValueError, f"`kind` must be one of {', '.join(KINDS)}"),
        (dict(kind="fisher"), TypeError, "must be a torch.Generator"),
        (dict(kind="gauss_newton", output=sequence_loss), ValueError, "take 'hessian'"),
        (dict(output=_logits), ValueError, "`output` must give one number per row"),
        (dict(batch_size=0), ValueError, "`batch_size`"),
        (dict(method="reverse"), ValueError, "one of auto, double, forward"),
        (dict(dtype=torch.float16), TypeError, "torch.float32 or torch.float64"),
    ],
)
def test_option_without_a_meaning_is_refused(model, batch, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Products(model, batch, **options)


def without_labels(batch):
    return {name: value for name, value in batch.items() if name != "labels"}


def masked(batch):
    return batch | dict(labels=torch.full_like(batch["labels"], IGNORED))


@pytest.mark.parametrize(
    "change, error, message",
    [
        (lambda batch: [], ValueError, "`batches` must hold at least one batch"),
        (lambda batch: batch["input_ids"], TypeError, "dictionary of tensors"),
        (without_labels, ValueError, "must hold `labels`"),
        (masked, ValueError, "got none in row 0 (2 such rows)"),
        (lambda batch: take(batch, slice(0, 0)), ValueError, "at least one row"),
    ],
    ids=["no batch", "tensor", "no labels", "all masked", "no row"],
)
def test_batch_that_has_no_loss_is_refused(model, batch, change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Products(model, change(batch))


def test_model_without_trainable_parameters_is_refused(model, batch):
    frozen = copy.deepcopy(model).requires_grad_(False)
    with pytest.raises(ValueError, match="unfreeze some"):
        Products(frozen, batch, params="trainable")


def test_layer_that_makes_the_first_nan_is_named(model, batch):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        broken.transformer.h[0].mlp.c_proj.bias[3] = float("nan")
    with pytest.raises(ValueError, match=r"first in transformer\.h\.0\.mlp\.c_proj"):
        Products(broken, batch)


def test_vector_of_another_length_is_refused(model, batch):
    with pytest.raises(ValueError, match="`v` must be a tensor of shape"):
        Products(model, batch) @ torch.ones(3)


def test_weights_that_have_changed_under_a_kept_graph_are_refused(model, batch):
    model = copy.deepcopy(model)
    product = Products(model, batch)
    ones = torch.ones(product.P)
    product @ ones
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    with pytest.raises(ValueError, match="weights that have changed since"):
        product @ ones
