"Inner products of per-row gradients: how they are grouped, multiplied, and sketched."

import re
from dataclasses import replace
import pytest, torch
from torch.testing import assert_close
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.kernels.gradients import Gather, Outer, dense_slice
from lensllm.kernels.gram import (
    UnexpectedUse,
    Walk,
    _few_tokens,
    add_products,
    exact_tables,
    groups_within,
    row_blocks,
    sketches,
    survey,
)
from lensllm.models.batches import Batch, evaluating, pick_params, sequence_loss

# --- the plan

SIZES = dict(wte=50, a=30, b=30, c=30, d=30)


@pytest.mark.parametrize(
    "limit, groups",
    [
        (200, [["wte", "a", "b", "c", "d"]]),
        (100, [["wte", "a"], ["b", "c", "d"]]),
        (40, [["wte"], ["a"], ["b"], ["c"], ["d"]]),
    ],
)
def test_groups_are_few_and_even(limit, groups):
    assert groups_within(SIZES, limit) == groups


@pytest.mark.parametrize(
    "limit, blocks",
    [
        (100, [slice(0, 10)]),
        (60, [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]),
    ],
)
def test_two_blocks_of_rows_fit(limit, blocks):
    assert row_blocks(10, 10, limit) == blocks


def test_a_limit_below_two_rows_is_refused():
    with pytest.raises(ValueError, match="`memory` must hold two rows"):
        row_blocks(100, 4, 150)


# --- products


def outer(n, T, seed):
    g = torch.Generator().manual_seed(seed)
    return Outer(*(torch.randn(n, T, width, generator=g).double() for width in (8, 6)))


def gather(n, T, seed):
    g = torch.Generator().manual_seed(seed)
    return Gather(torch.randint(0, 8, (n, T), generator=g), outer(n, T, seed).right)


@pytest.mark.parametrize(
    "kinds, T",
    [([outer], 9), ([outer], 1), ([gather], 3), ([outer, gather], 5)],
    ids=["slices", "tokens", "looked-up rows", "two uses"],
)
def test_every_way_gives_the_plain_product(kinds, T):
    x, y = [kind(5, T, seed=0) for kind in kinds], [kind(4, T, seed=1) for kind in kinds]
    G, H = dense_slice(x, 0, 8), dense_slice(y, 0, 8)
    K, L = torch.zeros(5, 5).double(), torch.zeros(5, 4).double()
    add_products(K, x, x, (8, 6))
    add_products(L, x, y, (8, 6))
    assert_close(K.tril(), (G @ G.T).tril())
    assert_close(L, G @ H.T)


@pytest.mark.parametrize("T, few", [(9, False), (1, True)])
def test_few_tokens_are_multiplied_as_tokens(T, few):
    forms = [outer(5, T, seed=0)]
    assert _few_tokens(forms, forms) == few


def test_blocks_of_tokens_give_the_lower_triangle():
    x = [outer(100, 1, seed=0)]
    assert _few_tokens(x, x)
    K, G = torch.ones(100, 100).double(), dense_slice(x, 0, 8)
    add_products(K, x, x, (8, 6))
    assert_close(K.tril(), (1 + G @ G.T).tril())


def test_products_are_added_to_what_is_there():
    x = [outer(5, 9, seed=0)]
    K = torch.ones(5, 5).double()
    add_products(K, x, x, (8, 6))
    G = dense_slice(x, 0, 8)
    assert_close(K.tril(), (1 + G @ G.T).tril())


# --- what is known before the walk


def layer_walk(width, f, method="layerwise"):
    "A walk through one layer, and four rows of positive numbers."
    torch.manual_seed(0)
    layer = torch.nn.Linear(width, width, bias=False).requires_grad_(False)
    batch = Batch(dict(x=1 + torch.rand(4, 1, width)), shift=0)
    return Walk(layer, f, dict(layer.named_parameters()), method, 8), batch


def first_three(model, batch):
    return model(batch["x"])[:, 0, :3]


def first(model, batch):
    return model(batch["x"])[:, 0, 0]


def total(model, batch):
    return model(batch["x"]).sum((1, 2))


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("f, outputs", [(first, 1), (first_three, 3)])
def test_the_survey_counts_outputs_per_row(n, f, outputs):
    walk, batch = layer_walk(8, f)
    assert survey(walk, batch.rows(slice(0, n)), 1e9).outputs == outputs


def test_the_stated_error_holds_for_long_sums():
    walk, batch = layer_walk(1024, total, "naive")
    found = exact_tables(walk, batch, batch, limit=1e9)
    G = dense_slice(walk.collect(batch, ["weight"])["weight"], 0, 1024).double()
    off = torch.from_numpy(found.tables[""]).double() - G @ G.T
    true_error = off.norm() / (G @ G.T).norm()
    assert true_error < 3 * found.error < 300 * true_error


def test_forms_lie_in_memory_alike_whether_they_are_joined_or_not():
    model = tiny_model("mamba", seed=0)
    batch = Batch.of(model, tiny_batch(n=4, tokens=6, seed=0))
    with evaluating(model):
        params = pick_params(model, "all")
        walk = Walk(model, sequence_loss, params, "layerwise", 4)
        walk = survey(walk, batch, 1e9).walk
        for micro_batch in (4, 2):
            forms = replace(walk, micro_batch=micro_batch).collect(batch, list(params))
            assert all(t.is_contiguous() for uses in forms.values() for f in uses for t in f)


# --- walks


@pytest.fixture(scope="module")
def t5():
    "A model with a parameter that no rule covers, its batch, and a walk through it."
    model = tiny_model("t5", seed=0).double()
    batch = Batch.of(model, tiny_batch(n=7, tokens=6, seed=0, padding="left"))
    params = pick_params(model, "all")
    by_func = frozenset(k for k in params if "relative" in k)
    with evaluating(model):
        yield batch, Walk(model, sequence_loss, params, "layerwise", 3, by_func)


@pytest.fixture(scope="module")
def t5_kernel(t5):
    batch, walk = t5
    found = exact_tables(replace(walk, method="naive"), batch, batch, limit=1e9)
    return torch.from_numpy(found.tables[""])


@pytest.mark.parametrize("method", ["functional", "layerwise"])
@pytest.mark.parametrize("limit", [1e9, 1e5, 4e4], ids=["whole", "groups", "groups and blocks"])
def test_pieces_give_the_kernel_of_the_whole(t5, t5_kernel, method, limit):
    batch, walk = t5
    found = exact_tables(replace(walk, method=method), batch, batch, limit=limit)
    K = torch.from_numpy(found.tables[""])
    assert_close(K, t5_kernel, rtol=1e-12, atol=1e-15 * t5_kernel.max().item())
    assert (found.sweeps > 1) == (limit < 1e9)


@pytest.mark.parametrize("limit", [1e9, 1e5], ids=["whole", "groups and blocks"])
def test_two_batches_give_a_block_of_the_kernel(t5, t5_kernel, limit):
    batch, walk = t5
    left, right = batch.rows(slice(0, 4)), batch.rows(slice(2, 7))
    found = exact_tables(walk, left, right, limit=limit)
    assert_close(torch.from_numpy(found.tables[""]), t5_kernel[:4, 2:], rtol=1e-10, atol=1e-15)


def test_product_forms_take_less_than_whole_gradients(t5):
    batch, walk = t5
    forms = walk.collect(batch, [k for k in walk.params if k not in walk.by_func])
    kept = sum(tensor[0].numel() for uses in forms.values() for form in uses for tensor in form)
    assert kept < sum(walk.params[name].numel() for name in forms)


def test_the_survey_sets_apart_what_no_rule_covers(t5):
    batch, walk = t5
    found = survey(replace(walk, by_func=frozenset()), batch, 1e9)
    assert found.walk.by_func == walk.by_func
    assert found.sizes.keys() == walk.params.keys()
    assert found.outputs == 1
    assert found.error < 1e-12


def test_another_use_than_the_survey_saw_is_noticed(t5):
    batch, walk = t5
    ruled = [k for k in walk.params if k not in walk.by_func]
    with pytest.raises(UnexpectedUse) as e:
        replace(walk, widths={k: [1] for k in ruled}).collect(batch, ruled[:2])
    assert e.value.names <= set(ruled[:2])


# --- sketches


@pytest.fixture(scope="module")
def sketched_kernels(t5):
    "Estimates of 40 sketches, and half the difference of the halves of each."
    batch, walk = t5
    runs = [sketches(walk, batch, 256, seed=seed) for seed in range(40)]
    estimates = torch.stack([(a @ a.T + b @ b.T) / 2 for a, b in runs])
    differences = torch.stack([(a @ a.T - b @ b.T) / 2 for a, b in runs])
    return estimates, differences


def test_sketches_are_unbiased(sketched_kernels, t5_kernel):
    estimates, _ = sketched_kernels
    standard_error = estimates.std(0) / 40**0.5
    assert ((estimates.mean(0) - t5_kernel).abs() < 4 * standard_error).all()


def test_sketches_state_their_own_error(sketched_kernels):
    estimates, differences = sketched_kernels
    stated = differences.square().mean(0).sqrt()
    assert_close(stated.norm(), estimates.std(0).norm(), rtol=0.3, atol=0)


@pytest.mark.parametrize("s", [0, 3])
def test_an_odd_number_of_buckets_is_refused(t5, s):
    batch, walk = t5
    with pytest.raises(ValueError, match=re.escape(f"even number of buckets >= 2, got {s}")):
        sketches(walk, batch, s, seed=0)
