"Kernels, traces, trackers and bounds of every kind of model, against its own loss."

import sys
import threading
from pathlib import Path
import numpy as np, pytest, torch
import transformers as tf
from torch.nn.attention import SDPBackend, sdpa_kernel
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.generalization.bounds import plain_losses
from lensllm.generalization.curvature import hessian_trace
from lensllm.generalization.products import Products
from lensllm.kernels.ntk import NTKTracker, ntk_gram
from lensllm.models.batches import sequence_loss

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from kinds import CONFIGURATIONS, MASKED, made, naive_kernel, own_losses, rows_for  # noqa: E402


def relative(K, expected):
    return np.linalg.norm(K - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_kernel_is_that_of_the_models_own_loss(name):
    model = made(name)
    rows = rows_for(model)
    assert relative(ntk_gram(model, rows).K, naive_kernel(model, rows)) < 1e-5


@pytest.mark.parametrize("method", ["functional", "naive"])
@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForTokenClassification", "MarianMTModel"])
def test_every_route_takes_the_models_own_loss(name, method):
    model = made(name)
    rows = rows_for(model)
    assert relative(ntk_gram(model, rows, method=method).K, naive_kernel(model, rows)) < 1e-5


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForTokenClassification"])
def test_the_tracker_takes_the_models_own_loss(name, tmp_path):
    model = made(name, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    rows = rows_for(model)
    expected = naive_kernel(model, rows)
    tracker = NTKTracker(rows)
    arguments = tf.TrainingArguments(
        tmp_path, max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True
    )
    data = [{k: v[i] for k, v in rows.items()} for i in range(4)]
    tf.Trainer(model, arguments, train_dataset=data, callbacks=[tracker]).train()
    assert relative(tracker.kernels[0].K, expected) < 1e-5


def exact_trace(model, rows):
    "The trace of the Hessian of the mean of the model's own row losses, entry by entry."
    weights, total = list(model.parameters()), 0.0
    with sdpa_kernel(SDPBackend.MATH):
        loss = own_losses(model, rows).mean()
        slopes = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
        for slope, p in zip(slopes, weights):
            if slope is None or not slope.requires_grad:
                continue
            for i in range(slope.numel()):
                (row,) = torch.autograd.grad(
                    slope.flatten()[i], p, retain_graph=True, allow_unused=True
                )
                total += 0.0 if row is None else float(row.flatten()[i])
    return total


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForTokenClassification"])
def test_the_trace_is_that_of_the_models_own_loss(name):
    small = dict(hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4)
    model = made(name, **small, max_position_embeddings=12).double()
    rows = rows_for(model, n=2, tokens=8)
    A = Products(model, rows)
    diagonal = sum(float((A @ e)[i]) for i, e in enumerate(torch.eye(A.P, dtype=torch.float64)))
    expected = exact_trace(model, rows)
    assert abs(diagonal - expected) < 1e-8 * abs(expected)
    estimate = hessian_trace(A, generator=torch.Generator().manual_seed(0), rel_stderr=None)
    assert abs(estimate.value - expected) < 4 * estimate.stderr


@pytest.mark.parametrize("name", MASKED)
def test_the_losses_of_bounds_are_the_models_own(name):
    model = made(name)
    rows = rows_for(model)
    torch.testing.assert_close(
        plain_losses(model, rows), own_losses(model, rows).detach(), rtol=1e-5, atol=0
    )


def test_a_label_at_the_first_place_alone_counts_where_labels_stay():
    model = made("BertForMaskedLM")
    rows = rows_for(model)
    rows["labels"][:, 1:] = -100
    assert relative(ntk_gram(model, rows).K, naive_kernel(model, rows)) < 1e-5
    with pytest.raises(ValueError, match="label that is predicted in every row"):
        ntk_gram(made("GPT2LMHeadModel"), rows)


# --- rows that touch each other


class BatchStatistics(torch.nn.Module):
    "Centres its inputs over the batch, in eval mode too."

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.norm = torch.nn.BatchNorm1d(2, track_running_stats=False)

    def forward(self, x):
        return self.norm(self.linear(x))


TOUCHING = {
    "less the mean": lambda losses: losses - losses.mean(),
    "a softmax over rows": lambda losses: losses.softmax(0),
    "the row before": lambda losses: losses + losses.roll(1),
    "over the largest": lambda losses: losses / losses.max(),
}


@pytest.mark.parametrize("name", TOUCHING)
@pytest.mark.parametrize("options", [{}, dict(method="naive"), dict(sketch=64)])
def test_an_output_whose_rows_touch_each_other_is_refused(gpt2, six_rows, name, options):
    def output(model, batch):
        return TOUCHING[name](sequence_loss(model, batch))

    with pytest.raises(ValueError, match="`output` must give a row the same number whatever"):
        ntk_gram(gpt2, six_rows, output=output, **options)
    with pytest.raises(ValueError, match="`output` must give a row the same number whatever"):
        Products(gpt2, six_rows, output=output)


def test_equal_rows_at_both_ends_do_not_hide_it(gpt2):
    rows = tiny_batch(n=4, tokens=8, seed=0)
    for tensor in rows.values():
        tensor[-1] = tensor[0]

    def output(model, batch):
        losses = sequence_loss(model, batch)
        return losses - losses.mean()

    with pytest.raises(ValueError, match="whatever rows stand beside it"):
        ntk_gram(gpt2, rows, output=output)


@pytest.mark.parametrize("reduce", [torch.Tensor.mean, torch.Tensor.sum])
def test_one_number_for_all_rows_is_refused(gpt2, six_rows, reduce):
    with pytest.raises(ValueError, match="for each row, got 1 for two rows"):
        ntk_gram(gpt2, six_rows, output=lambda m, b: reduce(sequence_loss(m, b)))


def test_statistics_over_the_batch_are_refused():
    torch.manual_seed(0)
    net, x = BatchStatistics().eval(), torch.randn(5, 3)
    with pytest.raises(ValueError, match="`output` must"):
        ntk_gram(net, dict(x=x), output=lambda model, batch: model(batch["x"]).sum(1))


# --- several threads


def test_threads_that_share_a_model_have_its_kernel_and_leave_it_as_it_was():
    model = tiny_model("gpt2", seed=0, dropout=0.2)
    rows = tiny_batch(n=4, tokens=8, seed=0)
    expected = ntk_gram(model, rows, method="functional").K
    trace = hessian_trace(model, rows, generator=torch.Generator().manual_seed(0), num_probes=2)
    model.train()
    backends = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    kernels, traces, errors = [], [], []

    def work(what):
        try:
            what()
        except Exception as error:  # a thread would swallow it
            errors.append(error)

    def kernel():
        kernels.append(ntk_gram(model, rows, method="functional").K)

    def curvature():
        generator = torch.Generator().manual_seed(0)
        traces.append(hessian_trace(model, rows, generator=generator, num_probes=2).value)

    threads = [threading.Thread(target=work, args=(f,)) for f in [kernel, curvature] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for K in kernels:
        np.testing.assert_allclose(K, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(traces, trace.value, rtol=1e-4)
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    now = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    assert now == backends


def test_threads_with_models_of_their_own_leave_attention_as_it_was():
    models = [tiny_model("gpt2", seed=seed) for seed in range(4)]
    rows = tiny_batch(n=3, tokens=8, seed=0)
    before = torch.backends.cuda.flash_sdp_enabled()
    threads = [
        threading.Thread(target=ntk_gram, args=(model, rows), kwargs=dict(method="functional"))
        for model in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.backends.cuda.flash_sdp_enabled() == before


def test_threads_that_share_products_get_the_product():
    model, rows = tiny_model("gpt2", seed=0).double(), tiny_batch(n=6, tokens=8, seed=0)
    A = Products(model, rows, batch_size=2)
    v = torch.ones(A.P, dtype=torch.float64)
    expected, found = Products(model, rows, batch_size=2) @ v, []
    threads = [threading.Thread(target=lambda: found.append(A @ v)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for product in found:
        torch.testing.assert_close(product, expected)
    assert A.done == len(found) == 4
