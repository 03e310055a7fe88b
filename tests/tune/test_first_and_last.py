"What stands first and last in a row: what the tokenizer's own template puts, each token once."

import pytest
import torch
import transformers
from lensllm._internal.tiny import tiny_model
from lensllm.models.batches import sequence_loss
from lensllm.report import contents
from lensllm.tune.recipe import ROW_RULE
from lensllm.tune.tasks import as_batch, collate, count_cut, encode
from lensllm.tune.losses import row_costs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
WORDS = [*SPECIAL, *(f"w{i}" for i in range(20))]
PAD, BOS, EOS, UNK = range(4)
BOTH = dict(bos_token="<bos>", eos_token="<eos>")
W1, W2, W3, W4 = range(5, 9)
PROMPTED, BARE = [("w1 w2", "w3 w4")], [("", "w3 w4")]


def with_template(core, template):
    if template:
        special_tokens = [("<bos>", BOS), ("<eos>", EOS)]
        core.post_processor = processors.TemplateProcessing(template, special_tokens=special_tokens)
    return core


def word_tokenizer(template=None, **special):
    "A tokenizer of words, whose template is as `tokenizers` spells it."
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    special = dict(pad_token="<pad>", unk_token="<unk>") | special
    core = with_template(core, template)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, **special)


def ids_of(rows, tokenizer, **options):
    return [ids for ids, _ in encode(rows, tokenizer, **options)]


@pytest.mark.parametrize(
    "template, special, prompted, bare",
    [
        ("<bos> $A", BOTH, [BOS, W1, W2, W3, W4, EOS], [BOS, W3, W4, EOS]),  # Llama, Gemma
        ("<bos> $A <eos>", BOTH, [BOS, W1, W2, W3, W4, EOS], [BOS, W3, W4, EOS]),  # once
        ("<bos> <bos> $A", BOTH, [BOS, W1, W2, W3, W4, EOS], [BOS, W3, W4, EOS]),
        ("<eos> $A", BOTH, [EOS, W1, W2, W3, W4, EOS], [EOS, W3, W4, EOS]),  # OPT
        ("<bos> $A", dict(bos_token="<bos>"), [BOS, W1, W2, W3, W4], [BOS, W3, W4]),
        ("<bos> $A", dict(eos_token="<eos>"), [BOS, W1, W2, W3, W4, EOS], [BOS, W3, W4, EOS]),
        (None, BOTH, [W1, W2, W3, W4, EOS], [EOS, W3, W4, EOS]),  # GPT-2, the shipped ones
        ("$A <eos>", BOTH, [W1, W2, W3, W4, EOS], [EOS, W3, W4, EOS]),
        (None, dict(bos_token="<bos>"), [W1, W2, W3, W4], [BOS, W3, W4]),
        (None, {}, [W1, W2, W3, W4], [W3, W4]),
    ],
)
def test_a_row_begins_and_ends_as_the_template_has_it(template, special, prompted, bare):
    tokenizer = word_tokenizer(template, **special)
    assert ids_of(PROMPTED + BARE, tokenizer) == [prompted, bare]


def test_special_tokens_that_a_text_writes_out_are_not_doubled():
    tokenizer = word_tokenizer("<bos> $A", **BOTH)
    rows = [("<bos> w1", "w3 <eos>"), ("<bos>", "w3"), ("", "<bos> w3")]
    assert ids_of(rows, tokenizer) == [[BOS, W1, W3, EOS], [BOS, W3, EOS], [BOS, W3, EOS]]


def test_a_first_token_that_follows_nothing_is_not_asked_for():
    assert encode(BARE, word_tokenizer()) == [([W3, W4], [-100, W4])]


@pytest.mark.parametrize("pairs", [False, True])
def test_a_row_that_leaves_nothing_to_read_is_refused(pairs):
    with pytest.raises(ValueError, match="row 2 is a single token without a prompt, 'w3'"):
        encode([("w1", "w2"), ("", "w3")], word_tokenizer(), pairs=pairs)


@pytest.mark.parametrize(
    "template, rows, result",
    [
        ("$A <eos>", PROMPTED, ([W1, W2, EOS], [W3, W4, EOS])),  # T5
        ("<bos> $A <eos>", PROMPTED, ([BOS, W1, W2, EOS], [BOS, W3, W4, EOS])),  # BART
        ("<bos> $A <eos>", BARE, ([BOS, EOS], [BOS, W3, W4, EOS])),
        (None, PROMPTED, ([W1, W2, EOS], [W3, W4, EOS])),  # the shipped ones
    ],
)
def test_an_encoder_decoder_gets_both_sides_as_its_template_has_them(template, rows, result):
    tokenizer = word_tokenizer(template, **BOTH)
    assert encode(rows, tokenizer, pairs=True) == [result]
    [prompt, target] = rows[0]
    if template:
        labels = tokenizer(text_target=target)["input_ids"]
        assert result == (tokenizer(prompt)["input_ids"], labels)  # as transformers trains them


@pytest.mark.parametrize("max_tokens", [2, 3, 5, 6])
def test_first_and_last_tokens_count_where_rows_are_cut(max_tokens):
    tokenizer = word_tokenizer("<bos> $A", **BOTH)
    long = [("w1 w2 w1 w2", "w3 w4")]
    [ids] = ids_of(long, tokenizer, max_tokens=max_tokens)
    assert len(ids) == max_tokens and ids[0] == BOS
    assert (EOS in ids) == (max_tokens > 3)  # a target that is cut has no end
    assert count_cut(long, tokenizer, max_tokens=max_tokens) == 1
    assert count_cut(PROMPTED, tokenizer, max_tokens=max_tokens) == (max_tokens < 6)


def test_a_row_that_cannot_hold_its_first_tokens_is_refused():
    tokenizer = word_tokenizer("<bos> <eos> $A", **BOTH)
    with pytest.raises(ValueError, match="`max_tokens` must be > 2, the tokens that stand first"):
        encode(PROMPTED, tokenizer, max_tokens=2)


@pytest.mark.parametrize("max_tokens", [True, 2.5, "8", None, float("nan")])
def test_a_length_is_a_whole_number(max_tokens):
    with pytest.raises(ValueError, match="`max_tokens` must be a whole number"):
        encode(PROMPTED, word_tokenizer(**BOTH), max_tokens=max_tokens)


@pytest.fixture(scope="module")
def reader():
    "A small causal model that reads the words."
    return tiny_model("gpt2", seed=0, vocab=len(WORDS), tokens=32)


@pytest.mark.parametrize("template", ["<bos> $A", None])
def test_the_end_token_changes_no_other_loss(reader, template):
    rows = [("w1 w2", "w3 w4"), ("w5", "w6"), ("w7 w8 w9", "w1 w2 w3")]
    with_end = word_tokenizer(template, **BOTH)
    without = word_tokenizer(template, bos_token="<bos>")
    nats, tokens, n_bytes = row_costs(reader, without, encode(rows, without))
    end_not_asked = [(ids, [*labels[:-1], -100]) for ids, labels in encode(rows, with_end)]
    again, tokens_again, bytes_again = row_costs(reader, with_end, end_not_asked)
    assert again / bytes_again == pytest.approx(nats / n_bytes, rel=1e-6)
    assert (tokens_again == tokens).all()
    more = row_costs(reader, with_end, encode(rows, with_end))
    assert (more[2] == n_bytes).all() and (more[0] > nats).all()  # the end has a cost, no bytes


def test_a_start_token_costs_the_same_by_template_and_by_hand(reader):
    by_template, by_hand = word_tokenizer("<bos> $A", **BOTH), word_tokenizer(**BOTH)
    rows = [("w1 w2", "w3 w4"), ("", "w3")]
    costs = row_costs(reader, by_template, encode(rows, by_template))
    written = [(f"<bos> {prompt}", target) for prompt, target in rows]
    again = row_costs(reader, by_hand, encode(written, by_hand))
    assert [list(part) for part in costs] == [list(part) for part in again]


@pytest.mark.parametrize("arch", ["gpt2", "bart", "t5"])
def test_a_batch_of_one_row_has_the_loss_of_transformers(arch):
    template = {"gpt2": "<bos> $A", "bart": "<bos> $A <eos>", "t5": "$A <eos>"}[arch]
    tokenizer = word_tokenizer(template, **BOTH)
    model = tiny_model(arch, seed=0, vocab=len(WORDS), tokens=32).eval()
    batch = as_batch(PROMPTED, tokenizer, pairs=model.config.is_encoder_decoder)
    with torch.no_grad():
        loss = model(**batch).loss
        torch.testing.assert_close(sequence_loss(model, batch), loss[None], rtol=1e-5, atol=0)


# A tokenizer that puts a blank in front of every text must not put one behind the prompt.


def blank_tokenizer(kind):
    "A tokenizer that learned a few words, with a blank in front of every text."
    core = Tokenizer(models.BPE() if kind == "bytes" else models.BPE(unk_token="<unk>"))
    if kind == "bytes":
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        core.decoder = decoders.ByteLevel()
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
        spaces, strip = decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)
        core.decoder = decoders.Sequence([spaces, decoders.Fuse(), strip])
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    core.train_from_iterator(["say word\n one: word", "5 5: say\nword a é"] * 20, trainer)
    core = with_template(core, "<bos> $A")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", **BOTH)


@pytest.mark.parametrize("kind", ["first", "always", "bytes"])
@pytest.mark.parametrize(
    "prompt, target", [("say 5:", "word"), ("say", " word"), ("say\n", "\nword"), ("s", "ay")]
)
def test_a_target_continues_its_prompt_without_a_blank(kind, prompt, target):
    tokenizer = blank_tokenizer(kind)
    [(ids, labels)] = encode([(prompt, target)], tokenizer)
    text = tokenizer.decode(ids, skip_special_tokens=True)
    assert text.removeprefix(" ") == prompt + target
    _, _, n_bytes = row_costs(
        tiny_model("gpt2", seed=0, vocab=len(tokenizer), tokens=32), tokenizer, [(ids, labels)]
    )
    assert n_bytes == [len(target)]


def test_a_text_without_a_prompt_is_a_text_of_its_own():
    tokenizer = blank_tokenizer("first")
    [(ids, _)] = encode([("", "word")], tokenizer)
    assert ids == [*tokenizer("word")["input_ids"], tokenizer.eos_token_id]


def test_no_rows_make_no_batch():
    with pytest.raises(ValueError, match="`rows` must hold at least one row"):
        collate([], word_tokenizer(**BOTH))


def test_the_report_states_the_rule():
    assert contents._ROWS == ROW_RULE
