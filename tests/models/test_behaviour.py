"What models do with labels and later tokens, against their own losses."

import copy, re, threading, types
import pytest, torch
import transformers as tf
from kinds import (
    CAUSAL,
    CLASSIFIERS,
    CONFIGURATIONS,
    ENCODER_DECODERS,
    IN_PLACE_CAUSAL,
    MASKED,
    MAYBE_CAUSAL,
    PERMUTED,
    made,
    own_losses,
    rows_for,
)
from lensllm._internal.tiny import tiny_batch, tiny_model
from lensllm.models.batches import Batch, evaluating, in_precision, sequence_loss
from lensllm.models.behaviour import behaviour, check_writes, held, label_shift
from lensllm.models.loading import load_model, most_tokens

SHIFTS = dict.fromkeys(CONFIGURATIONS, 0) | dict.fromkeys((*MAYBE_CAUSAL, *CAUSAL), 1)


def passes_of(model):
    "A list that grows by one with each forward pass."
    passes = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    return passes


# --- alignment


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_rows_losses_are_the_models_own(name):
    model = made(name)
    rows = rows_for(model)
    with torch.no_grad():
        torch.testing.assert_close(
            sequence_loss(model, Batch.of(model, rows)), own_losses(model, rows), rtol=1e-5, atol=0
        )
    assert label_shift(model) == SHIFTS[name]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_it_takes_two_passes_once(name):
    model = made(name)
    passes = passes_of(model)
    behaviour(model)
    label_shift(model)
    behaviour(model)
    assert len(passes) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_half_precision_behaves_the_same(name, dtype):
    whole, half = behaviour(made(name)), behaviour(made(name).to(dtype))
    assert (half.shift, half.sees_later) == (whole.shift, whole.sees_later)


@pytest.mark.parametrize("arch", ["gpt2", "opt", "gpt_neox", "llama", "mamba", "t5", "bart"])
def test_tiny_vocabularies_and_few_positions_suffice(arch):
    small = tiny_model(arch, seed=0, vocab=4, tokens=4)
    assert label_shift(small) == (0 if arch in ("t5", "bart") else 1)


@pytest.mark.parametrize("name, shift", [("GPT2LMHeadModel", 1), ("BertForMaskedLM", 0)])
def test_weights_of_zero_still_tell(name, shift):
    model = made(name)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert label_shift(model) == shift


@pytest.mark.parametrize(
    "name", ["BertForSequenceClassification", "BertForPreTraining", "BertForQuestionAnswering"]
)
def test_heads_without_a_class_per_token_are_refused_by_name(name):
    model = getattr(tf, name)(tf.BertConfig(**MASKED["BertForMaskedLM"])).eval()
    rows = tiny_batch(n=2, tokens=6, seed=0, vocab=40)
    with pytest.raises(ValueError, match=f"logits for each token, {name} gives"):
        Batch.of(model, rows)


class Smoothing(tf.GPT2LMHeadModel):
    "A loss that smooths labels."

    def forward(self, labels=None, **inputs):
        out = super().forward(**inputs)
        if labels is not None:
            z, y = out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
            out.loss = torch.nn.functional.cross_entropy(z, y, label_smoothing=0.1)
        return out


class Summing(tf.GPT2LMHeadModel):
    "A loss that is a sum over tokens."

    def forward(self, labels=None, **inputs):
        out = super().forward(labels=labels, **inputs)
        if labels is not None:
            out.loss = out.loss * (labels[:, 1:] != -100).sum()
        return out


def with_a_router():
    config = CAUSAL["LlamaForCausalLM"] | dict(num_local_experts=4, output_router_logits=True)
    return tf.MixtralForCausalLM(tf.MixtralConfig(**config))


def of_n_grams():
    config = dict(
        vocab_size=40,
        hidden_size=32,
        num_encoder_layers=1,
        num_decoder_layers=1,
        num_encoder_attention_heads=4,
        num_decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=64,
        pad_token_id=0,
        decoder_start_token_id=0,
    )
    return tf.ProphetNetForConditionalGeneration(tf.ProphetNetConfig(**config))


SPECIAL = {
    "Smoothing": lambda: Smoothing(made("GPT2LMHeadModel").config),
    "Summing": lambda: Summing(made("GPT2LMHeadModel").config),
    "MixtralForCausalLM": with_a_router,
    "ProphetNetForConditionalGeneration": of_n_grams,
}


@pytest.mark.parametrize("name", SPECIAL)
def test_losses_with_more_in_them_are_refused_by_name(name):
    torch.manual_seed(0)
    model = SPECIAL[name]().eval()
    with pytest.raises(ValueError, match=f"mean cross-entropy.*{name}'s own is"):
        Batch.of(model, tiny_batch(n=2, tokens=6, seed=0, vocab=40))


def test_a_decoder_of_bert_hides_padding_as_the_model_itself_does():
    bert = tf.BertConfig(**MASKED["BertForMaskedLM"])
    config = tf.EncoderDecoderConfig.from_encoder_decoder_configs(
        bert, bert, pad_token_id=0, decoder_start_token_id=0
    )
    torch.manual_seed(0)
    model = tf.EncoderDecoderModel(config).eval()
    rows = rows_for(model)
    rows["labels"][:, 1] = -100  # a masked place before the last target
    with torch.no_grad():
        torch.testing.assert_close(
            sequence_loss(model, Batch.of(model, rows)), own_losses(model, rows), rtol=1e-5, atol=0
        )


def test_modules_without_a_loss_of_their_own_count_as_causal():
    class Silent(torch.nn.Module):
        config = types.SimpleNamespace(is_encoder_decoder=False)

        def __init__(self):
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9)

        def get_input_embeddings(self):
            return self.embed

        def forward(self, input_ids, **rest):
            return self.head(self.embed(input_ids))

    assert label_shift(torch.nn.Linear(1, 1)) == label_shift(Silent()) == 1
    assert behaviour(Silent()) is None


def test_a_wrapper_for_several_devices_is_looked_through():
    masked = made("BertForMaskedLM")
    assert label_shift(torch.nn.DataParallel(masked)) == 0


# --- causality


@pytest.mark.parametrize("name", MAYBE_CAUSAL)
@pytest.mark.parametrize("is_decoder", [True, False])
def test_whether_later_tokens_are_seen_is_measured(name, is_decoder):
    model = made(name, is_decoder=is_decoder)
    assert behaviour(model).sees_later is not is_decoder
    if is_decoder:
        check_writes(model, "a folder")
    else:
        with pytest.raises(ValueError, match=rf"a folder \({name}\) sees later tokens.*is_decoder"):
            check_writes(model, "a folder")


@pytest.mark.parametrize("name", [*PERMUTED, *MASKED, *CLASSIFIERS])
def test_models_that_see_later_tokens_are_no_candidates(name):
    with pytest.raises(ValueError, match=rf"\({name}\) sees later tokens"):
        check_writes(made(name), "a folder")


@pytest.mark.parametrize("name", [*CAUSAL, *ENCODER_DECODERS])
def test_models_that_write_are_candidates(name):
    model = made(name)
    assert behaviour(model).leak == 0
    check_writes(model, "a folder")


@pytest.mark.parametrize("name", IN_PLACE_CAUSAL)
def test_a_causal_model_that_would_learn_to_copy_is_no_candidate(name):
    with pytest.raises(ValueError, match=f"loss of a folder .{name}. compares each logit"):
        check_writes(made(name), "a folder")


@pytest.mark.parametrize(
    "name", ["BertLMHeadModel", "RobertaForCausalLM", "XLNetLMHeadModel", "XLMWithLMHeadModel"]
)
def test_a_folder_with_such_a_model_is_refused_when_it_is_loaded(name, tmp_path):
    _, tokenizer = load_model("gpt2-manuals", device="cpu")
    model = made(name, vocab_size=len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"`MODEL` must predict.*\({name}\) sees later tokens"):
        load_model(tmp_path, device="cpu")


# --- nothing is left behind


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "MambaForCausalLM", "BertForMaskedLM"])
def test_a_measurement_leaves_the_model_and_the_random_state_alone(name):
    def count(module, *_):
        module.seen += 1

    model = made(name).train()
    model.register_buffer("seen", torch.zeros(1))
    model.register_forward_pre_hook(count)
    model.get_input_embeddings().eval()  # a part that is in another mode
    modes = {k: m.training for k, m in model.named_modules()}
    state = copy.deepcopy(model.state_dict())
    some = next(model.parameters())
    some.grad = torch.ones_like(some)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    behaviour(model)
    assert torch.equal(torch.rand(2), expected)
    assert {k: m.training for k, m in model.named_modules()} == modes
    assert all(p.requires_grad for p in model.parameters())
    assert torch.equal(some.grad, torch.ones_like(some))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


# --- what is known is forgotten in time


def test_an_answer_goes_with_the_model():
    from lensllm.models.behaviour import _KNOWN

    before = len(_KNOWN)
    model = made("GPT2LMHeadModel")
    behaviour(model)
    assert len(_KNOWN) == before + 1
    del model
    assert len(_KNOWN) == before


def test_another_head_or_class_is_measured_anew():
    model = made("BertForTokenClassification")
    assert behaviour(model).classes == 3
    model.classifier = torch.nn.Linear(32, 7)
    model.num_labels = model.config.num_labels = 7
    assert behaviour(model).classes == 7
    causal = made("GPT2LMHeadModel")
    assert label_shift(causal) == 1
    causal.__class__ = Smoothing
    with pytest.raises(ValueError, match="Smoothing's own"):
        label_shift(causal)


def test_another_loss_function_is_measured_anew():
    model = made("LlamaForCausalLM")
    assert label_shift(model) == 1

    def in_place(logits, labels, vocab_size, **rest):
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    model.loss_function = in_place
    assert label_shift(model) == 0


def test_a_copy_in_another_precision_needs_no_passes_of_its_own():
    half = made("BertForMaskedLM").to(torch.bfloat16)
    behaviour(half)
    copied = in_precision(half)
    passes = passes_of(copied)
    assert label_shift(copied) == 0
    assert not passes


def test_weights_that_are_not_numbers_are_measured_once_they_are():
    model = made("BertForMaskedLM")
    weight = model.get_input_embeddings().weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    assert behaviour(model) is None
    with torch.no_grad():
        weight.copy_(kept)
    assert behaviour(model).shift == 0


# --- how many tokens a model reads


@pytest.mark.parametrize("name", ["RobertaForCausalLM", "CamembertForCausalLM", "BertLMHeadModel"])
def test_the_longest_row_is_one_that_the_model_reads(name):
    model = made(name, is_decoder=True)
    longest = most_tokens(model)
    model(input_ids=torch.full((1, longest), 7))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, longest + 1), 7))


def test_no_number_of_positions_is_no_limit():
    assert most_tokens(made("XLNetLMHeadModel")) > 1 << 20


# --- threads


def test_one_thread_at_a_time_holds_a_model_still():
    model = tiny_model("gpt2", seed=0, dropout=0.1).train()
    wrong = []

    def work():
        for _ in range(20):
            with evaluating(model):
                frozen = not any(p.requires_grad for p in model.parameters())
                if model.training or not frozen:
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_a_wrapper_shares_the_lock_of_its_model():
    model, entered = tiny_model("gpt2", seed=0), threading.Event()

    def other():
        with held(model.transformer):
            entered.set()

    with held(torch.nn.DataParallel(model)):
        thread = threading.Thread(target=other)
        thread.start()
        assert not entered.wait(0.2)
    thread.join()
    assert entered.is_set()


def test_two_models_in_either_order_do_not_wait_for_each_other_for_ever():
    first, second = tiny_model("gpt2", seed=0), tiny_model("gpt2", seed=1)

    def work(*models):
        for _ in range(200):
            with held(*models):
                pass

    threads = [threading.Thread(target=work, args=a) for a in ((first, second), (second, first))]
    for thread in threads:
        thread.daemon = True
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


# --- the message


def test_a_refusal_is_one_line():
    with pytest.raises(ValueError) as caught:
        check_writes(made("XLNetLMHeadModel"), "xlnet")
    assert "\n" not in str(caught.value)
    assert not re.search("is_decoder", str(caught.value))
