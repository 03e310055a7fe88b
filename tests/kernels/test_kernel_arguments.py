"Numbers that mean nothing are refused in one line that names the argument."

import io
import math
import time
from functools import partial
import pytest, numpy as np, torch
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.generalization import certificates
from lensllm.generalization.bounds import Scale, certify, lens_split
from lensllm.generalization.curvature import (
    curvature_along,
    hessian_trace,
    layer_traces,
    spectral_density,
    top_eigenvalues,
)
from lensllm.generalization.products import Products
from lensllm.kernels import dynamics, ntk, spectra
from lensllm.kernels.lens import kernel_features, lens_law
from lensllm.models.batches import in_precision, sample_logits

NO_COUNTS = [math.nan, math.inf, -math.inf, -1, 0, True, 2.5, "x", None, 1e20, [], {}, b"x", 1 + 2j]
NO_NUMBERS = [math.nan, True, "x", {}, b"x", 1 + 2j]


def model():
    return tiny_model("gpt2", seed=0, width=8, vocab=16)


def rows():
    return tiny_batch(n=3, tokens=6, seed=0, vocab=16)


def generator():
    return torch.Generator().manual_seed(0)


def matrix():
    return torch.diag(torch.arange(1.0, 7.0))


def kernel():
    sample = np.random.default_rng(0).normal(size=(12, 30))
    return sample @ sample.T


def refused(call, name):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    message = str(caught.value)
    assert f"`{name}`" in message
    assert "\n" not in message


COUNTS = {
    "hessian_trace": (
        lambda **k: hessian_trace(matrix(), generator=generator(), **k),
        "num_probes",
    ),
    "layer_traces": (
        lambda **k: layer_traces(model(), rows(), generator=generator(), **k),
        "num_probes",
    ),
    "top_eigenvalues": (lambda **k: top_eigenvalues(matrix(), generator=generator(), **k), "k"),
    "curvature_along": (lambda **k: curvature_along(matrix(), v=torch.ones(6), **k), "steps"),
    "draws": (lambda **k: spectral_density(matrix(), generator=generator(), **k), "draws"),
    "steps": (lambda **k: spectral_density(matrix(), generator=generator(), **k), "steps"),
    "micro_batch": (lambda **k: ntk.ntk_gram(model(), rows(), **k), "micro_batch"),
    "samples": (lambda **k: ntk.ntk_gram(model(), rows(), output="sampled", **k), "samples"),
    "m": (lambda **k: sample_logits(model(), rows(), seed=0, **k), "m"),
    "batch_size": (lambda **k: Products(model(), rows(), **k), "batch_size"),
    "V": (Scale, "V"),
}


@pytest.mark.parametrize("value", NO_COUNTS, ids=repr)
@pytest.mark.parametrize("call, name", COUNTS.values(), ids=COUNTS)
def test_what_is_no_count_is_refused(call, name, value):
    refused(lambda: call(**{name: value}), name)


RISKS = dict(emp_risk=0.1, kl=1.0, n=100, delta=0.05)
OF_RISKS = ("kl_bound", "mcallester_bound", "quadratic_bound", "thiemann_bound", "catoni_bound")


def of_risks(bound, **changed):
    return getattr(certificates, bound)(**RISKS | changed)


NUMBERS = {
    f"{name} {argument}": (partial(of_risks, name), argument)
    for name in OF_RISKS
    for argument in RISKS
} | {
    "seed": (lambda **k: ntk.ntk_gram(model(), rows(), sketch=8, **k), "seed"),
    "memory": (lambda **k: ntk.ntk_gram(model(), rows(), **k), "memory"),
    "memory of products": (lambda **k: Products(model(), rows(), **k), "memory"),
    "eta": (lambda **k: lens_law(kernel(), np.ones(12), **k), "eta"),
    "t": (lambda **k: kernel_features(kernel(), np.ones(12), eta=0.1, **k), "t"),
    "rtol": (lambda **k: top_eigenvalues(matrix(), generator=generator(), **k), "rtol"),
    "rel_stderr": (lambda **k: hessian_trace(matrix(), generator=generator(), **k), "rel_stderr"),
    "interval": (lambda **k: spectra.decay_exponent(kernel(), **k), "interval"),
    "ranks": (lambda **k: spectra.decay_exponent(kernel(), **k), "ranks"),
    "kappa": (lambda **k: spectra.effective_dimension(kernel(), **k), "kappa"),
    "ridge": (lambda **k: dynamics.kernel_learning_curve([1.0], [1.0], [1], **k), "ridge"),
    "values": (lambda **k: lens_split(n=np.arange(1, 6), **k), "values"),
    "delta": (
        lambda **k: certify(model(), model(), rows(), generator=generator(), draws=2, **k),
        "delta",
    ),
    "dtype": (lambda **k: in_precision(model(), **k), "dtype"),
}


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("call, name", NUMBERS.values(), ids=NUMBERS)
def test_what_is_no_number_is_refused(call, name, value):
    refused(lambda: call(**{name: value}), name)


# --- rows walked are told


def test_progress_counts_the_rows_that_are_walked():
    seen = []

    def counted(items):
        for item in items:
            yield item
            seen.append(item)

    found = ntk.ntk_gram(model(), rows(), progress=counted, micro_batch=2)
    assert len(seen) == found.sweeps * 3


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("stream, shown", [(Terminal, True), (io.StringIO, False)])
def test_long_work_says_how_far_it_is_on_a_terminal_alone(monkeypatch, capsys, stream, shown):
    error = stream()
    monkeypatch.setattr("sys.stderr", error)
    monkeypatch.setattr(ntk, "_PATIENCE", -1.0)
    ntk.ntk_gram(model(), rows(), micro_batch=1)
    assert ("kernel: 2 of 3 rows walked" in error.getvalue()) is shown
    assert error.getvalue().endswith("\r" if shown else "")  # wiped out at the end
    assert capsys.readouterr().out == ""


def test_short_work_says_nothing(monkeypatch):
    error = Terminal()
    monkeypatch.setattr("sys.stderr", error)
    ntk.ntk_gram(model(), rows())
    assert error.getvalue() == ""


def test_a_long_survey_is_followed_by_a_line_at_once(monkeypatch):
    error = Terminal()
    monkeypatch.setattr("sys.stderr", error)
    next(ntk._line_of_rows(range(3), started=time.monotonic() - 60))
    assert "kernel: 0 of 3 rows walked" in error.getvalue()
