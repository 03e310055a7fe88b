"ntk, bound and zoo."

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture(scope="module")
def kernel(lensllm, models):
    "The kernel of sixteen lines, layer by layer."
    args = ("--rows", 16, "--params", "layers", "--out", models / "K.npz", "--plot")
    return lensllm("ntk", models / "lm", models / "lines.txt", *args)


@pytest.fixture(scope="module")
def kernel_json(lensllm, models):
    return lensllm("ntk", models / "lm", models / "lines.txt", "--rows", 16, "--json").json


def test_ntk_prints_and_writes_the_kernel(kernel, models):
    assert kernel.code == 0
    assert "Kernel 16×16 of loss" in kernel.out
    assert "eigenvalues fall like rank^-" in kernel.out
    assert "% of the trace: transformer.h.0" in kernel.out
    assert f"kernel: {models}/K.npz" in kernel.err
    assert (models / "K.png").stat().st_size > 10_000


def test_ntk_json_fields(kernel_json):
    assert list(kernel_json) == [
        "model",
        "data",
        "out",
        "texts",
        "picked",
        "cut",
        "output",
        "params",
        "P",
        "method",
        "error",
        "sweeps",
        "rows",
        "trace",
        "rank",
        "condition_number",
        "effective_dimension",
        "decay",
        "layers",
        "eigvals",
        "doubts",
    ]


def test_layers_add_up_to_the_kernel_of_the_same_rows(kernel, kernel_json, models):
    from lensllm.kernels.ntk import load_kernel
    from lensllm.kernels.spectra import spectrum

    eigvals = spectrum(load_kernel(models / "K.npz")).eigvals
    atol = 1e-6 * kernel_json["trace"]
    np.testing.assert_allclose(kernel_json["eigvals"], eigvals, rtol=1e-3, atol=atol)


def test_another_seed_draws_other_rows(lensllm, kernel_json, in_models):
    other = lensllm("ntk", "lm", "lines.txt", "--rows", 16, "--seed", 1, "--json").json
    assert other["picked"] != kernel_json["picked"]
    assert other["trace"] != kernel_json["trace"]


def test_half_precision_is_computed_in_single(lensllm, kernel_json, in_models):
    half = lensllm("ntk", "half", "lines.txt", "--rows", 16, "--json").json
    assert half["error"] < 1e-6
    assert half["rank"] == 16
    assert half["trace"] == pytest.approx(kernel_json["trace"], rel=0.1)


def test_an_encoder_decoder_reads_plain_lines(lensllm, in_models):
    assert lensllm("ntk", "t5", "lines.txt", "--rows", 16, "--json").json["rank"] == 16


@pytest.mark.parametrize("repeats", [1, 12])
def test_one_text_makes_a_kernel_of_rank_one(lensllm, in_models, repeats):
    (in_models / "same.txt").write_text("one line\n" * repeats)
    done = lensllm("ntk", "lm", "same.txt", "--out", "S.npz", "--plot", "--force")
    assert done.code == 0
    assert "rank 1 of" in done.out


# bound


def finetuned(model, lines, alphabet):
    "The model after forty steps of AdamW."
    import torch
    from lensllm.models.batches import sequence_loss
    from lensllm.tune.tasks import as_batch

    adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for step in range(40):
        rows = [("", line) for line in lines[10 * step : 10 * step + 10]]
        loss = sequence_loss(model, as_batch(rows, alphabet, max_tokens=64)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return model


@pytest.fixture(scope="module")
def tuned(models, lines):
    "Beside the models: `tuned`, fine-tuned in full, and `adapter`, by LoRA."
    import peft
    import torch
    from lensllm._internal.tiny import tiny_model
    from lensllm.models.loading import character_tokenizer

    alphabet = character_tokenizer("".join(map(chr, range(32, 127))))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        full = finetuned(tiny_model("gpt2", seed=0, vocab=99), lines, alphabet)
        lora = peft.LoraConfig(
            r=1, target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"
        )
        adapted = peft.get_peft_model(tiny_model("gpt2", seed=0, vocab=99), lora)
        adapted = finetuned(adapted, lines, alphabet)
    full.save_pretrained(models / "tuned")
    alphabet.save_pretrained(models / "tuned")
    adapted.save_pretrained(models / "adapter")
    return models


@pytest.fixture
def in_tuned(tuned, monkeypatch):
    monkeypatch.chdir(tuned)
    return tuned


def test_bound_prints_certificates_and_terms(lensllm, in_tuned):
    done = lensllm(
        *("bound", "lm", "tuned", "seen.txt", "--held-out", "unseen.txt"),
        *("--draws", 20, "--rows", 8, "--plot", "b.png"),
    )
    assert done.code == 0
    assert "tightest: held out" in done.out
    assert "a measure, not a certificate" in done.out
    assert (in_tuned / "b.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def adapter_json(lensllm, tuned):
    args = ("--draws", 5, "--no-terms", "--json")
    return lensllm("bound", tuned / "lm", tuned / "adapter", tuned / "seen.txt", *args).json


def test_bound_json_fields(adapter_json):
    assert list(adapter_json) == [
        "start",
        "end",
        "data",
        "rows",
        "held_out",
        "repeated",
        "cut",
        "losses",
        "doubts",
        "delta",
        "unit",
        "tightest",
        "bound",
        "guess",
        "vacuous",
        "certificates",
        "terms",
    ]


def test_bound_counts_its_texts(adapter_json):
    assert (adapter_json["rows"], adapter_json["held_out"]) == (400, 0)
    assert len(adapter_json["certificates"]) == 6
    assert adapter_json["terms"] is None
    assert adapter_json["losses"]["start"]["held_out"] is None


def test_adapters_are_doubted_only_where_terms_are_asked_for(lensllm, adapter_json, in_tuned):
    assert adapter_json["doubts"][0].startswith("cut to the longest row")
    assert not any("adapters" in doubt for doubt in adapter_json["doubts"])
    args = ("--draws", 2, "--rows", 2, "--json")
    measured = lensllm("bound", "lm", "adapter", "few.txt", *args).json
    assert any("count the adapters from zero" in doubt for doubt in measured["doubts"])


def test_bound_per_byte(lensllm, in_tuned):
    args = ("--draws", 2, "--unit", "byte", "--rows", 2, "--json")
    measured = lensllm("bound", "lm", "tuned", "few.txt", *args).json
    assert measured["unit"] == "byte"
    assert len(measured["terms"]["layers"]) == 5


def test_terms_that_cannot_be_measured_do_not_lose_the_certificates(lensllm, in_tuned, monkeypatch):
    def refused(*args, **options):
        raise ValueError("no second derivatives")

    monkeypatch.setattr("lensllm.generalization.bounds.bound_terms", refused)
    lost = lensllm("bound", "lm", "tuned", "few.txt", "--draws", 2, "--json").json
    assert lost["terms"] is None
    assert lost["doubts"] == ["the terms could not be measured: no second derivatives"]
    assert len(lost["certificates"]) == 6


def test_what_weakens_a_certificate_is_said(lensllm, in_tuned):
    args = ("--draws", 2, "--no-terms", "--json")
    same = lensllm("bound", "lm", "lm", "odd.txt", *args).json
    assert [doubt.split(":")[0] for doubt in same["doubts"]] == [
        "1 of DATA's texts are repetitions",
        "written with the sign for unknown characters",
        "START and END answer alike",
    ]


def test_swapped_models_are_noticed(lensllm, in_tuned):
    args = ("--draws", 2, "--no-terms", "--json")
    swapped = lensllm("bound", "tuned", "lm", "few.txt", *args).json
    assert "are they in the right order?" in swapped["doubts"][-1]


def test_a_model_with_a_broken_weight_is_refused(lensllm, in_tuned):
    from transformers import AutoModelForCausalLM

    shutil.copytree("tuned", "broken")
    model = AutoModelForCausalLM.from_pretrained("tuned")
    model.transformer.wte.weight.data[:] = math.nan
    model.save_pretrained("broken")
    refused = lensllm("bound", "lm", "broken", "few.txt", "--no-terms", "--draws", 2)
    assert refused.code == 2
    assert "NaN" in refused.err or "finite" in refused.err


# zoo


def test_zoo_lists_the_shipped_candidates(lensllm):
    zoo = lensllm("zoo", "--json").json
    assert len(zoo) == 14
    assert list(zoo[0]) == [
        "name",
        "architecture",
        "n_params",
        "tokenizer",
        "pretraining",
        "tokens",
        "loss",
    ]
    assert all(row["name"] in lensllm("zoo").out for row in zoo)
    json.dumps(zoo)


def test_what_libraries_advise_reaches_nobody(tmp_path):
    "In a process of its own, where nothing has silenced them before."
    (tmp_path / "rows.jsonl").write_text('{"text": "a b c"}\n{"text": "d e"}\n')
    call = [sys.executable, "-c", "from lensllm.cli.app import main; main()"]
    call += ["ntk", "gpt2-mini-manuals", str(tmp_path / "rows.jsonl")]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Kernel 2×2")
    assert done.stderr == ""
