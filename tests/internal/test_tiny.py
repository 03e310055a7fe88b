"Small random models and batches: seeded, of the size asked for, and masked as a collator masks."

import pytest
import torch
from lensllm._internal.tiny import ARCHITECTURES, tiny_batch, tiny_model


def n_params(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_is_small_and_in_eval_mode(arch):
    model = tiny_model(arch, seed=0)
    assert n_params(model) < 1e5
    assert not model.training


def test_the_seed_decides_the_weights():
    first, again, other = (tiny_model("llama", seed=seed).lm_head.weight for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tiny_model("gpt2", seed=0)
    assert (torch.rand(3) == expected).all()


def test_entries_of_the_configuration_reach_the_model():
    tied, untied = (tiny_model("gpt2", seed=0, tie_word_embeddings=tie) for tie in (True, False))
    assert n_params(untied) - n_params(tied) == 96 * 16


def test_an_unknown_architecture_is_refused():
    with pytest.raises(ValueError, match="`arch` must be one of gpt2"):
        tiny_model("rnn", seed=0)


def test_prompt_tokens_have_no_label():
    batch = tiny_batch(n=4, tokens=6, seed=0, padding="left", prompt=1)
    n_labels = (batch["labels"] != -100).sum(1)
    assert (batch["attention_mask"].sum(1) == n_labels + 1).all()


@pytest.mark.parametrize("padding, end", [("left", -1), ("right", 0)])
def test_rows_are_padded_on_one_side_only(padding, end):
    batch = tiny_batch(n=4, tokens=6, seed=0, padding=padding, prompt=1)
    assert (batch["input_ids"][:, end] > 0).all()


def test_an_unknown_side_is_refused():
    with pytest.raises(ValueError, match="`padding`"):
        tiny_batch(n=1, tokens=4, seed=0, padding="both")
