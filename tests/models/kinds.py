"Tiny models of many kinds, by name, and rows that each kind reads: for tests of what is measured."

import torch
import transformers as tf

VOCABULARY = 40
_BERT = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=64,
)
_LLAMA = _BERT | dict(num_key_value_heads=2)
_BART = dict(
    vocab_size=VOCABULARY,
    d_model=32,
    decoder_layers=2,
    encoder_layers=2,
    decoder_attention_heads=4,
    encoder_attention_heads=4,
    decoder_ffn_dim=64,
    encoder_ffn_dim=64,
    max_position_embeddings=32,
)
_DISTILBERT = dict(
    vocab_size=VOCABULARY,
    dim=32,
    n_layers=2,
    n_heads=4,
    hidden_dim=64,
    max_position_embeddings=32,
)
_GPT2 = dict(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=32)
_T5 = dict(vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
_XLM = dict(vocab_size=VOCABULARY, emb_dim=32, n_layers=2, n_heads=4)
_XLNET = dict(vocab_size=VOCABULARY, d_model=32, n_layer=2, n_head=4, d_inner=64)
_MAMBA = dict(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4)
_GEMMA = dict(head_dim=8, sliding_window=4)
_START = dict(decoder_start_token_id=0)
_BIRD = dict(attention_type="original_full")

MASKED = {  # labels stay, later tokens are seen
    "BertForMaskedLM": _BERT,
    "RobertaForMaskedLM": _BERT,
    "ElectraForMaskedLM": _BERT,
    "DistilBertForMaskedLM": _DISTILBERT,
}
CLASSIFIERS = {  # the same, with few classes
    "BertForTokenClassification": _BERT | dict(num_labels=3),
    "RobertaForTokenClassification": _BERT | dict(num_labels=3),
    "ElectraForTokenClassification": _BERT | dict(num_labels=5),
    "DistilBertForTokenClassification": _DISTILBERT | dict(num_labels=5),
}
MAYBE_CAUSAL = {  # labels move; whether later tokens are seen, `is_decoder` says
    "BertLMHeadModel": _BERT,
    "RobertaForCausalLM": _BERT,
    "XLMRobertaForCausalLM": _BERT,
    "ElectraForCausalLM": _BERT,
    "RoFormerForCausalLM": _BERT,
    "RemBertForCausalLM": _BERT,
    "MegatronBertForCausalLM": _BERT,
    "CamembertForCausalLM": _BERT,
    "Data2VecTextForCausalLM": _BERT,
}
PERMUTED = {  # labels stay, later tokens are seen, whatever their names promise
    "XLNetLMHeadModel": _XLNET,
    "XLMWithLMHeadModel": _XLM,
    "FlaubertWithLMHeadModel": _XLM,
}
CAUSAL = {  # labels move
    "GPT2LMHeadModel": _GPT2,
    "LlamaForCausalLM": _LLAMA,
    "Gemma3ForCausalLM": _LLAMA | _GEMMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA | dict(head_dim=8),
    "MambaForCausalLM": _MAMBA,
    "BigBirdForCausalLM": _BERT | _BIRD | dict(is_decoder=True),
}
IN_PLACE_CAUSAL = {  # causal, but their own loss leaves labels where they are
    "BartForCausalLM": _BART,
    "GPT2ForTokenClassification": _GPT2 | dict(num_labels=3),
}
ENCODER_DECODERS = {
    "T5ForConditionalGeneration": _T5 | _START,
    "BartForConditionalGeneration": _BART,
    "MBartForConditionalGeneration": _BART,
    "MarianMTModel": _BART | _START | dict(pad_token_id=0),
}
CONFIGURATIONS = {
    **MASKED,
    **CLASSIFIERS,
    **MAYBE_CAUSAL,
    **PERMUTED,
    **CAUSAL,
    **IN_PLACE_CAUSAL,
    **ENCODER_DECODERS,
}


def made(name, **config):
    "A model of that class with seeded random weights, in eval mode; all of them can be trained."
    cls = getattr(tf, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = cls(cls.config_class(**{**CONFIGURATIONS[name], **config}))
    return model.eval().requires_grad_(True)


def rows_for(model, n=4, tokens=10, seed=0):
    "Rows with padding on the right and masked labels; where labels stay, the first place has one."
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (n, tokens), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, tokens - 3 :] = 0
    if model.config.is_encoder_decoder:
        mask[:] = 1
    classes = VOCABULARY
    if type(model).__name__.endswith("TokenClassification"):
        classes = model.config.num_labels
    labels = torch.randint(0, classes, (n, tokens), generator=generator)
    labels[torch.rand(n, tokens, generator=generator) < 0.5] = -100
    labels[:, 0] = 1  # a label, also where it is that of the first place
    labels[:, 4] = 2
    labels[mask == 0] = -100
    if model.config.is_encoder_decoder:
        labels[:, :6] = labels[:, :6].abs() % classes  # only the end is padding
        labels[:, 6:] = -100
    return dict(input_ids=ids, attention_mask=mask, labels=labels)


def own_losses(model, rows):
    "The model's own loss of each row, one row at a time, (n,)."
    n = len(rows["input_ids"])
    return torch.stack([model(**{k: v[i : i + 1] for k, v in rows.items()}).loss for i in range(n)])


def naive_kernel(model, rows):
    "Inner products of the gradients of these losses, in double precision."
    weights, gradients = list(model.parameters()), []
    for loss in own_losses(model, rows):
        found = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(found, weights)]
        gradients.append(torch.cat([part.flatten() for part in parts]).double())
    G = torch.stack(gradients)
    return (G @ G.T).numpy()
