"The kernel of a model on a batch: against the plain loop, its options, what it refuses, its drift."

import copy, json, re, tempfile, warnings
from dataclasses import replace
import numpy as np, peft, pytest, torch, transformers
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn
from transformers import PrinterCallback, Trainer, TrainingArguments
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.kernels.gram import WORKSPACE
from lensllm.kernels.ntk import NTKTracker, load_kernel, ntk_gram
from lensllm.models.batches import sample_logits, sequence_loss, take

pytestmark = pytest.mark.filterwarnings(
    "ignore:There is a performance drop", "ignore:.*is_gradient_checkpointing"
)


def relative_error(K, truth):
    return float(np.linalg.norm(K - truth) / np.linalg.norm(truth))


def first_logit(model, batch):
    return model(input_ids=batch["input_ids"]).logits[:, 0, 0]


# --- against the plain loop

CASES = [("right", True), ("left", False), ("left", True), ("right", False)]  # padding, tied head


@pytest.mark.parametrize("arch", ["gpt2", "opt", "gpt_neox", "llama", "t5", "bart"])
def test_the_kernel_is_as_exact_as_the_loop(arch):
    "In single precision rounding is a matter of luck in each case, but not over four of them."
    errors = []
    for seed, (padding, tied) in enumerate(CASES):
        model = tiny_model(arch, seed=seed, tie_word_embeddings=tied)
        batch = tiny_batch(n=4, tokens=10, seed=seed, padding=padding, prompt=2)
        truth = ntk_gram(model, batch, method="naive", dtype=torch.float64).K
        kernels = (
            ntk_gram(model, batch, dtype=torch.float64),
            ntk_gram(model, batch, dtype=torch.float32),
            ntk_gram(model, batch, method="naive", dtype=torch.float32),
        )
        errors.append([relative_error(kernel.K, truth) for kernel in kernels])
    double, single, single_loop = np.transpose(errors)
    assert double.max() < 1e-12
    assert (single**2).mean() ** 0.5 < 2 * (single_loop**2).mean() ** 0.5


def test_functional_gives_the_same_kernel(gpt2, six_rows):
    fast, mapped = ntk_gram(gpt2, six_rows), ntk_gram(gpt2, six_rows, method="functional")
    np.testing.assert_allclose(fast.K, mapped.K, rtol=1e-4)


def test_a_kernel_says_what_it_is(gpt2, six_rows):
    kernel = ntk_gram(gpt2, six_rows)
    assert kernel.K.shape == (6, 6)
    assert kernel.P == sum(p.numel() for p in gpt2.parameters())
    assert kernel.sweeps == 1.0
    assert repr(kernel).startswith(f"Kernel 6×6 of loss, {kernel.P:,} parameters (all); layerwise;")


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 6),
    arch=st.sampled_from(["gpt2", "opt"]),
    a=st.floats(0.1, 10),
)
def test_symmetric_positive_permuted_additive_scaled(seed, n, arch, a):
    model = tiny_model(arch, seed=seed, width=8, vocab=24).double()
    batch = tiny_batch(n=n, tokens=6, seed=seed, vocab=24, padding="right")
    K = ntk_gram(model, batch).K

    def assert_close(x, y):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12 * np.trace(K))

    assert (K == K.T).all()
    assert np.linalg.eigvalsh(K).min() > -1e-12 * np.trace(K)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    permuted = ntk_gram(model, take(batch, order)).K
    assert_close(permuted, K[np.ix_(order.numpy(), order.numpy())])
    biases = ntk_gram(model, batch, params=lambda name, p: name.endswith("bias")).K
    others = ntk_gram(model, batch, params=lambda name, p: not name.endswith("bias")).K
    assert_close(biases + others, K)
    scaled = ntk_gram(model, batch, output=lambda model, batch: a * sequence_loss(model, batch)).K
    assert_close(scaled, a * a * K)


# --- parameters and outputs


def test_layers_add_up(gpt2, six_rows):
    layers = ntk_gram(gpt2, six_rows, params="layers")
    np.testing.assert_allclose(sum(layers.parts.values()), layers.K, rtol=1e-5)


def test_sampled_logits_come_with_residuals(gpt2, six_rows):
    sampled = ntk_gram(gpt2, six_rows, output="sampled", samples=3, seed=1)
    assert sampled.K.shape == (18, 18)
    assert sampled.residual.shape == (18,)


def test_pairs_that_are_given_stay(gpt2, six_rows):
    "They also say how many pairs the other batch draws."
    pairs, _ = sample_logits(gpt2, six_rows, 2, seed=3)
    two_rows = take(pairs, slice(0, 2))
    assert ntk_gram(gpt2, pairs, two_rows, output="sampled").K.shape == (12, 4)
    assert ntk_gram(gpt2, six_rows, pairs, output="sampled").K.shape == (12, 12)


def test_outputs_are_named(gpt2, six_rows):
    assert ntk_gram(gpt2, six_rows, output=first_logit).output == "first_logit"
    assert ntk_gram(gpt2, six_rows, output="logits").output == "logits"


def test_two_batches_give_a_block_of_the_kernel(gpt2, six_rows):
    between = ntk_gram(gpt2, take(six_rows, slice(0, 4)), take(six_rows, slice(2, 6)))
    np.testing.assert_allclose(between.K, ntk_gram(gpt2, six_rows).K[:4, 2:], rtol=1e-4)


def test_the_second_batch_may_be_longer(gpt2, six_rows):
    longer = tiny_batch(n=3, tokens=16, seed=1)
    fast, loop = (ntk_gram(gpt2, six_rows, longer, method=m) for m in ("auto", "naive"))
    np.testing.assert_allclose(fast.K, loop.K, rtol=1e-4)
    assert fast.method == "layerwise"


def test_lora_has_a_kernel_of_its_own(six_rows):
    config = peft.LoraConfig(
        r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adapted = peft.get_peft_model(tiny_model("llama", seed=0), config)
    lora, loop = (ntk_gram(adapted, six_rows, params="lora", method=m) for m in ("auto", "naive"))
    np.testing.assert_allclose(lora.K, loop.K, rtol=1e-3)
    assert lora.P == ntk_gram(adapted, six_rows, params="trainable").P


# --- limits, devices, short products, sketches


@pytest.mark.parametrize(
    "options",
    [dict(memory=WORKSPACE + 4_000_000), dict(devices=["cpu", "cpu"])],
    ids=["memory", "devices"],
)
def test_limits_and_devices_leave_the_kernel_as_it_is(wide_gpt2, forty_rows, options):
    free = ntk_gram(wide_gpt2, forty_rows)
    np.testing.assert_allclose(ntk_gram(wide_gpt2, forty_rows, **options).K, free.K, rtol=1e-4)


@pytest.mark.parametrize("options", [dict(products=torch.bfloat16), dict(sketch=4096)])
def test_what_is_not_exact_says_how_far_off_it_is(wide_gpt2, forty_rows, options):
    exact, estimate = ntk_gram(wide_gpt2, forty_rows), ntk_gram(wide_gpt2, forty_rows, **options)
    assert 1 / 3 < estimate.error / relative_error(estimate.K, exact.K) < 3


# --- keep and show


@pytest.mark.parametrize("options", [dict(params="layers"), dict(output="sampled", samples=3)])
def test_a_saved_kernel_comes_back(gpt2, six_rows, tmp_path, options):
    kernel = ntk_gram(gpt2, six_rows, **options)
    kernel.save(tmp_path / "K.npz")
    back = load_kernel(tmp_path / "K.npz")
    assert repr(back) == repr(kernel)
    assert (back.K == kernel.K).all()
    assert back.parts.keys() == kernel.parts.keys()
    assert (back.residual is None) == (kernel.residual is None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"no",
        lambda whole: b"",
        lambda whole: whole[:100],
        lambda whole: whole[:200] + b"?" + whole[201:],
    ],
    ids=["no archive", "empty", "cut", "one byte changed"],
)
def test_a_damaged_file_is_refused(gpt2, six_rows, tmp_path, damage):
    path = tmp_path / "K.npz"
    ntk_gram(gpt2, six_rows, params="layers").save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="must be a kernel that `Kernel.save` wrote"):
        load_kernel(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="check the path"):
        load_kernel(tmp_path / "nowhere.npz")


def test_facts_are_plain_json(gpt2, six_rows):
    "Six rows are too few for an exponent: that is said, not guessed."
    layers = ntk_gram(gpt2, six_rows, params="layers")
    facts = json.loads(json.dumps(layers.to_dict(), allow_nan=False))
    assert (facts["rows"], facts["rank"], facts["decay"]) == (6, 6, None)
    assert "at least 8 examples" in facts["doubts"][0]
    assert abs(sum(facts["layers"].values()) - 1) < 1e-5


@pytest.mark.parametrize("K", [np.zeros((2, 2)), np.ones((1, 1))], ids=["zeros", "one row"])
def test_a_kernel_with_nothing_to_compare_is_drawn(gpt2, six_rows, K):
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = replace(ntk_gram(gpt2, six_rows), K=K).plot()
    plt.close(ax.figure)


def test_only_kernels_of_one_batch_are_drawn(gpt2, six_rows):
    with pytest.raises(ValueError, match="leave `batch2` out"):
        ntk_gram(gpt2, six_rows, take(six_rows, [0])).plot()


# --- models of all kinds


def test_repeated_rows_make_the_kernel_singular(gpt2, six_rows):
    twice = {k: torch.cat([v, v]) for k, v in six_rows.items()}
    eigvals = np.linalg.eigvalsh(ntk_gram(gpt2, twice, dtype=torch.float64).K)
    assert (np.abs(eigvals[:6]) < 1e-12 * eigvals[-1]).all()


def test_one_row_is_a_kernel_of_one(gpt2, six_rows):
    assert ntk_gram(gpt2, take(six_rows, slice(0, 1))).K.shape == (1, 1)


def test_a_model_in_train_mode_is_switched_for_the_call(six_rows):
    noisy = tiny_model("gpt2", seed=0, dropout=0.5).train()
    with pytest.warns(UserWarning, match="train mode with dropout"):
        kernel = ntk_gram(noisy, six_rows)
    assert noisy.training
    np.testing.assert_allclose(kernel.K, ntk_gram(noisy.eval(), six_rows).K)


class Model(nn.Module):
    "A module whose forward pass is a function of its own parts."

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def routed(m, x):
    "Every token goes to one expert."
    h = x.reshape(-1, 8)
    weight, chosen = m.route(h).softmax(1).max(1)
    out = torch.zeros_like(h)
    for k, expert in enumerate(m.experts):
        at = (chosen == k).nonzero()[:, 0]
        if len(at):
            out = out.index_put((at,), expert(h[at]) * weight[at, None])
    return out.view_as(x)


def branched(m, x):
    "A layer that is only used if some row asks for it."
    if (x[:, 0, 0] > 1.0).any():
        return m.a(x) + m.b(x) * (x[:, :1, :1] > 1.0)
    return m.a(x)


def frozen_backbone(m, x):
    with torch.no_grad():
        h = m.back(x)
    return m.head(h)


def views_of_a_weight(m, x):
    first, second, _ = m.w.chunk(3)
    return F.linear(x, first) * F.linear(x, second)


def matrix(*shape):
    return nn.Parameter(torch.randn(*shape))


def linears(n):
    return nn.ModuleList(nn.Linear(8, 8) for _ in range(n))


def unusual_modules():
    "Modules that use their parameters, or their inputs, in ways that no rule knows; by name."
    torch.manual_seed(0)
    x, ids = torch.randn(11, 5, 8), torch.randint(0, 9, (11, 5)).index_fill(1, torch.tensor([4]), 9)
    ids[[0, -1]] = 0
    attend = nn.MultiheadAttention(8, 2, batch_first=True)
    encode = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    modules = dict(
        attention=(Model(lambda m, x: m.a(x, x, x)[0], a=attend), x),
        encoder=(encode, x),
        lstm=(Model(lambda m, x: m.a(x)[0], a=nn.LSTM(8, 4, batch_first=True)), x),
        view=(Model(views_of_a_weight, w=matrix(9, 8)), x),
    )
    modules["cat"] = (
        Model(lambda m, x: F.linear(x, torch.cat([m.a, m.b])), a=matrix(3, 8), b=matrix(2, 8)),
        x,
    )
    modules["frozen"] = Model(frozen_backbone, back=nn.Linear(8, 8), head=nn.Linear(8, 3)), x
    at = nn.Buffer(torch.randn(1, 5, 8))
    modules["buffer"] = Model(lambda m, x: x * m.p(m.at), p=nn.Linear(8, 8), at=at), x
    modules["scaled"] = Model(lambda m, x: torch.add(x, m.b, alpha=2.0), b=matrix(8)), x
    pad_last = Model(lambda m, i: F.embedding(i, m.w, padding_idx=-1), w=matrix(10, 8))
    modules["padding counted from the end"] = pad_last, ids
    for name, inputs in dict(
        middle=x.index_fill(0, torch.tensor([0, 10]), 0.0),
        beginning=torch.cat([x[:1] + 2 * (x[:1, :1, :1] < 1), x[1:].clamp(max=0.5)]),
    ).items():
        branch = Model(branched, a=nn.Linear(8, 3), b=nn.Linear(8, 3))
        modules[f"branch only in the {name}"] = branch, inputs
    for i in range(3):
        experts = Model(routed, route=nn.Linear(8, 4), experts=linears(4))
        modules[f"experts {i}"] = experts, x
    # Two of sixteen experts see as many tokens as there are rows; in the survey, one of each row.
    torch.manual_seed(160)
    sixteen = Model(routed, route=nn.Linear(8, 16), experts=linears(16))
    modules["sixteen experts"] = sixteen, torch.randn(8, 16, 8)
    return modules


with torch.random.fork_rng(devices=[]):
    UNUSUAL = unusual_modules()


@pytest.mark.parametrize("module, inputs", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_modules_have_the_kernel_of_the_loop(module, inputs):
    def squashed(model, batch):
        return model(batch["x"]).flatten(1).tanh().sum(1)

    module = copy.deepcopy(module).double().eval()
    batch = dict(x=inputs.double() if inputs.is_floating_point() else inputs)
    fast, loop = (ntk_gram(module, batch, output=squashed, method=m) for m in ("auto", "naive"))
    assert relative_error(fast.K, loop.K) < 1e-12


def test_a_mixture_of_experts_of_transformers(six_rows):
    config = transformers.SwitchTransformersConfig(
        vocab_size=96,
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=2,
        num_experts=4,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
        decoder_start_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        switch = transformers.SwitchTransformersForConditionalGeneration(config).eval()
    fast, loop = (ntk_gram(switch, six_rows, method=m) for m in ("auto", "naive"))
    np.testing.assert_allclose(fast.K, loop.K, rtol=1e-3)


def test_half_precision_states_its_error(gpt2, six_rows):
    half = copy.deepcopy(gpt2).to(torch.bfloat16)
    rounded, true = ntk_gram(half, six_rows), ntk_gram(half, six_rows, dtype=torch.float64)
    assert rounded.K.dtype == np.float32
    assert relative_error(rounded.K, true.K) < 3 * rounded.error
    assert 3 * rounded.error < 0.1
    assert ntk_gram(half, six_rows, sketch=64).K.shape == (6, 6)


def test_parameters_that_the_output_does_not_depend_on():
    idle = nn.ModuleDict(dict(used=nn.Linear(3, 1), unused=nn.Linear(3, 1)))
    kernel = ntk_gram(
        idle,
        dict(x=torch.ones(2, 3)),
        output=lambda model, batch: model["used"](batch["x"])[:, 0],
        params=lambda name, p: name.startswith("unused"),
    )
    assert (kernel.K == np.zeros((2, 2))).all()


@pytest.fixture(scope="module")
def bilinear():
    "A module with an operation that no rule covers, its output, and a batch."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Bilinear(5, 5, 1))

    def height(model, batch):
        h = model[1](model[0](batch["x"]))
        return model[2](h, h)[:, 0]

    return net, height, dict(x=torch.randn(6, 3, generator=torch.Generator().manual_seed(0)))


def test_an_operation_without_a_rule(bilinear):
    net, height, x = bilinear
    fast, loop = (ntk_gram(net, x, output=height, method=m) for m in ("auto", "naive"))
    np.testing.assert_allclose(fast.K, loop.K, rtol=1e-4)
    assert "2 parameters by torch.func" in fast.method


@pytest.mark.parametrize("method", ["auto", "naive", "functional"])
def test_rows_that_touch_each_other_are_refused(bilinear, method):
    net, height, x = bilinear

    def centred(model, batch):
        h = height(model, batch)
        return h - h.mean()

    with pytest.raises(ValueError, match="whatever rows stand beside it"):
        ntk_gram(net, x, output=centred, method=method)


# --- what is refused


@pytest.mark.parametrize(
    "options, error, message",
    [
        (dict(params=lambda name, p: False), ValueError, "matches none"),
        (dict(dtype=torch.int64), TypeError, "integers have no gradients"),
        (dict(products=torch.int8), TypeError, "`products` must be None"),
        (dict(method="fast"), ValueError, "must be one of auto, layerwise"),
        (dict(memory=1000), ValueError, "`memory` must be more than the workspace"),
        (dict(micro_batch=0), ValueError, "`micro_batch`"),
        (dict(sketch=7), ValueError, "even number"),
        (dict(sketch=8, params="layers"), ValueError, "leave one of the two out"),
        (dict(output="sampled", samples=0), ValueError, "`samples` must be a whole number from 1"),
        (dict(output=lambda m, b: sequence_loss(m, b)[:0]), ValueError, "for each row"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_options_that_make_no_sense_are_refused(gpt2, six_rows, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ntk_gram(gpt2, six_rows, **options)


@pytest.mark.parametrize(
    "change, error, message",
    [
        (
            lambda rows: rows | dict(labels=torch.full_like(rows["labels"], -100)),
            ValueError,
            "got none in row 0 (6 such rows)",
        ),
        (
            lambda rows: {k: v[:, :1] for k, v in rows.items()},
            ValueError,
            "a label that is predicted",
        ),
        (lambda rows: rows["input_ids"], TypeError, "dictionary of tensors"),
    ],
    ids=["no label", "sequences of length 1", "no dictionary"],
)
def test_a_batch_without_an_output_is_refused(gpt2, six_rows, change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ntk_gram(gpt2, change(six_rows))


def test_a_frozen_model_has_no_trainable_parameters(six_rows):
    frozen = tiny_model("gpt2", seed=0).requires_grad_(False)
    with pytest.raises(ValueError, match="unfreeze some"):
        ntk_gram(frozen, six_rows, params="trainable")


def test_too_little_memory_for_two_rows_is_refused(wide_gpt2, forty_rows):
    with pytest.raises(ValueError, match="`memory` must hold two rows"):
        ntk_gram(wide_gpt2, forty_rows, memory=WORKSPACE + 1000)


def test_an_overflow_of_half_precision_products_is_refused(gpt2, six_rows):
    def huge(model, batch):
        return 1e6 * sequence_loss(model, batch)

    with pytest.raises(ValueError, match="float16 overflows"):
        ntk_gram(gpt2, take(six_rows, slice(0, 2)), output=huge, products=torch.float16)


def test_both_batches_need_equally_many_sampled_logits(gpt2, six_rows):
    two, three = (sample_logits(gpt2, six_rows, m, seed=3)[0] for m in (2, 3))
    with pytest.raises(ValueError, match="equally many sampled logits"):
        ntk_gram(gpt2, two, three, output="sampled")


def test_the_layer_that_makes_an_infinity_is_named(gpt2, six_rows):
    broken = copy.deepcopy(gpt2)
    with torch.no_grad():
        broken.transformer.h[0].mlp.c_proj.bias[3] = float("inf")
    with pytest.raises(ValueError, match="first in transformer.h.0.mlp.c_proj"):
        ntk_gram(broken, six_rows)


# --- drift


def finetuned_loss(callbacks, steps=2, **options):
    "Loss after a short fine-tune of a tiny model."
    model = tiny_model("gpt2", seed=0)
    rows, fresh = tiny_batch(n=32, tokens=10, seed=1), tiny_batch(n=8, tokens=10, seed=2)
    data = [{k: v[i] for k, v in rows.items()} for i in range(32)]
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            folder,
            max_steps=steps,
            per_device_train_batch_size=8,
            learning_rate=1e-3,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            seed=0,
            **options,
        )
        trainer = Trainer(model, args, train_dataset=data, callbacks=callbacks)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    with torch.no_grad():
        return sequence_loss(model.eval(), fresh).mean()


def test_watching_changes_nothing(six_rows):
    tracker = NTKTracker(six_rows, steps=[0, 1, 2])
    watched, unwatched = finetuned_loss([tracker]), finetuned_loss([])
    assert abs(watched - unwatched) < 1e-6
    assert list(tracker.kernels) == [0, 1, 2]


def test_a_tracker_watches_one_training_after_the_other(six_rows):
    "In mixed precision the kernel is that of the weights as they are kept; logits are drawn once."
    tracker = NTKTracker(six_rows, output="sampled", samples=2)
    finetuned_loss([tracker], bf16=True)
    first = tracker.kernels
    finetuned_loss([tracker])
    assert (list(first), list(tracker.kernels)) == ([0, 2], [0, 2])
    np.testing.assert_allclose(first[0].K, tracker.kernels[0].K, rtol=1e-4)
    assert first[0].error < 1e-5
    assert tracker.frame().drift.iloc[-1] > 0


def test_a_tracker_refuses_options_before_training(six_rows):
    with pytest.raises(TypeError, match="takes the options of `ntk_gram`, got outputs"):
        NTKTracker(six_rows, outputs="loss")
    with pytest.raises(ValueError, match="`every` must be a whole number from 1"):
        NTKTracker(six_rows, every=0)
    with pytest.raises(TypeError, match="dictionary of tensors"):
        NTKTracker(six_rows["labels"])


def test_a_tracker_without_kernels_has_no_drift(six_rows):
    with pytest.raises(ValueError, match="holds no kernels yet"):
        NTKTracker(six_rows).frame()


# --- outputs that no kernel can be made of

NO_OUTPUTS = {
    "a whole number": (lambda model, batch: 3, "must give a tensor of real numbers, got int"),
    "nothing": (lambda model, batch: None, "must give a tensor of real numbers, got NoneType"),
    "complex": (lambda model, batch: first_logit(model, batch) * 1j, ".*got torch.complex64"),
    "an array": (lambda m, batch: first_logit(m, batch).detach().numpy(), ".*got ndarray"),
    "a constant": (lambda model, batch: torch.ones(len(batch["labels"])), "must depend on"),
    "detached": (lambda model, batch: first_logit(model, batch).detach(), "must depend on"),
}


@pytest.mark.parametrize("output, message", NO_OUTPUTS.values(), ids=NO_OUTPUTS)
def test_an_output_without_a_gradient_is_refused(output, message):
    model, batch = tiny_model("gpt2", seed=0, layers=1), tiny_batch(n=2, tokens=4, seed=0)
    with pytest.raises((TypeError, ValueError), match=f"`output` {message}"):
        ntk_gram(model, batch, output=output)


def test_a_device_that_is_not_there_is_named():
    model, batch = tiny_model("gpt2", seed=0, layers=1), tiny_batch(n=2, tokens=4, seed=0)
    with pytest.raises(ValueError, match="`devices` must be one that torch has here, got 'gpu'"):
        ntk_gram(model, batch, devices=["gpu"])
