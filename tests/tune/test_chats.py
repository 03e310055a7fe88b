"A chat is read by turns, written by the tokenizer's own template, and asked for its answers."

import json

import pytest
import transformers
from lensllm._internal.tiny import tiny_model
from lensllm.models.loading import character_tokenizer
from lensllm.tune.chats import Chat
from lensllm.report import contents
from lensllm.tune.recipe import CHAT_RULE, Recipe
from lensllm.tune.study import inspect_candidate, new_study
from lensllm.tune.tasks import content_key, count_cut, encode, load_rows, load_task, marked_row
from lensllm.tune.tasks import split_rows, task_of
from lensllm.tune.losses import row_costs
from lensllm.tune.training import finetune
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

LETTERS = "".join(map(chr, range(32, 127))) + "\n"
ASK = "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
CHATML = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '</s>\n' }}{% endfor %}" + ASK
)
TURNS = (("system", "Be short."), ("user", "Hi"), ("assistant", "Yo."))
LONGER = (*TURNS, ("user", "More"), ("assistant", "No."))


def tokenizer_with(template=None, start=False):
    "A tokenizer that reads characters, with a chat template and a start token if wanted."
    tokenizer = character_tokenizer(LETTERS)
    tokenizer.chat_template = template
    if start:
        special_tokens = [("<s>", tokenizer.bos_token_id)]
        processor = processors.TemplateProcessing("<s> $A", special_tokens=special_tokens)
        tokenizer.backend_tokenizer.post_processor = processor
    return tokenizer


def messages(turns, role="role", text="content"):
    return [{role: name, text: words} for name, words in turns]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# What is read.

NAMES = dict(system="system", user="human", assistant="gpt")
SHAREGPT = [(NAMES[role], text) for role, text in TURNS]
FORMS = {
    "messages": dict(messages=messages(TURNS)),
    "openai's empty fields": dict(messages=[m | dict(name=None) for m in messages(TURNS)]),
    "conversations": dict(conversations=messages(SHAREGPT, "from", "value")),
    "a system column": dict(system="Be short.", conversations=messages(TURNS[1:])),
    "prompt, completion": dict(prompt=messages(TURNS[:2]), completion=messages(TURNS[2:])),
    "alpaca": dict(instruction="Hi", input="", output="Yo.", system="Be short."),
    "question, answer": dict(question="Hi", answer="Yo.", system="Be short."),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_field_is_the_same_chat(tmp_path, form):
    assert load_rows(write_lines(tmp_path / "a.jsonl", [FORMS[form]])) == [Chat(TURNS)]


def test_an_array_of_objects_is_read(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([FORMS["messages"]] * 2, indent=1))
    assert load_rows(tmp_path / "a.json") == [Chat(TURNS)] * 2


def test_lines_under_the_name_of_an_array_are_read(tmp_path):
    assert load_rows(write_lines(tmp_path / "a.json", [dict(text="a")] * 2)) == [("", "a")] * 2


@pytest.mark.parametrize(
    "row, columns, rows",
    [
        (dict(chat=messages(TURNS)), ["chat"], [Chat(TURNS)]),
        (dict(q="Hi", a="Yo."), ["q", "a"], [("Hi", "Yo.")]),
        (dict(question="Hi", answer="Yo."), ["question", "answer"], [("Hi", "Yo.")]),
        (dict(q="Do", i="it", a="Yo."), ["q", "i", "a"], [Chat((("user", "Do\n\nit"), TURNS[2]))]),
        (dict(messages=messages(TURNS), text="x"), ["text"], [("", "x")]),
        (dict(messages=messages(TURNS), text="x"), ["messages"], [Chat(TURNS)]),
        (dict(prompt="Hi", chosen="Yo.", rejected="No"), ["prompt", "chosen"], [("Hi", "Yo.")]),
    ],
)
def test_columns_name_the_rest(tmp_path, row, columns, rows):
    assert load_rows(write_lines(tmp_path / "a.jsonl", [row]), columns=columns) == rows


def spoiled(*turns):
    return dict(messages=messages(turns))


GOOD = dict(messages=messages(TURNS))
FAULTS = [
    (spoiled(TURNS[1]), "holds one without an assistant turn"),
    (spoiled(*TURNS, ("user", "And?")), "holds one that ends with a user turn"),
    (spoiled(("assistant", "a")), "whose turn 1 is assistant where user comes"),
    (spoiled(*TURNS, TURNS[2]), "whose turn 4 is assistant where user comes"),
    (spoiled(TURNS[1], TURNS[1], TURNS[2]), "whose turn 2 is user where assistant comes"),
    (spoiled(*TURNS[1:], TURNS[0]), "system turns come first"),
    (spoiled(TURNS[1], ("assistant", " \n")), r"whose turn 2 \(assistant\) is empty"),
    (spoiled(TURNS[1], ("tool", "a"), TURNS[2]), "whose turn 2 has the role 'tool'"),
    (spoiled(TURNS[1], ("assistant", 1.5)), None),
    (spoiled(TURNS[1], ("assistant", ["a"])), "turn 2 in column messages of row 2 of .* a list of"),
    (spoiled(TURNS[1], ("assistant", None)), "is empty"),
    (dict(messages=[dict(role="user", content="a", tool_calls=[1])]), "also has tool_calls"),
    (dict(messages="[{'role': 'user'}]"), "holds the text .* in column messages"),
    (dict(messages=[]), "holds a list of 0"),
    (dict(messages=None), "holds null"),
    (dict(messages=messages(TURNS), tools="[a]"), "also has tools, which is not read"),
]


@pytest.mark.parametrize("row, message", FAULTS)
def test_a_chat_that_cannot_be_read_is_refused_with_its_row(tmp_path, row, message):
    path = write_lines(tmp_path / "a.jsonl", [GOOD, row])
    if message is None:  # a number is read as it was written, as elsewhere
        assert load_rows(path)[1].turns[-1] == ("assistant", "1.5")
        return
    with pytest.raises(ValueError, match=message) as refusal:
        load_rows(path)
    assert "row 2 of a.jsonl" in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "row, message",
    [
        (GOOD | dict(text="a"), "a.jsonl has messages and text; say which by `columns`"),
        (GOOD | dict(conversations=messages(TURNS)), "messages and conversations"),
        (dict(instruction="a", output="b", text="c"), "text and instruction,output"),
        (dict(prompt="a", chosen="b", rejected="c"), "pairs of a better and a worse answer"),
        (dict(question="a", answer="b", context="c"), "also has context"),
        (dict(chat=messages(TURNS)), "are read with `columns` chat"),
        (dict(prompt="a", completion=messages(TURNS[2:])), "holds the text 'a' in column prompt"),
        (dict(prompt=messages(TURNS[:2]), target="a"), "must be both texts, or both chats"),
    ],
)
def test_a_table_in_no_single_form_is_refused(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        load_rows(write_lines(tmp_path / "a.jsonl", [row]))


def test_a_loss_on_all_answers_needs_chats(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [dict(text="a")])
    with pytest.raises(ValueError, match="`loss_on` all needs chats, a.jsonl holds texts"):
        load_rows(path, loss_on="all")


@pytest.mark.parametrize("turns", ["ab", [("user",)], 3, [("user", 1)], []])
def test_turns_are_pairs_of_texts(turns):
    with pytest.raises((TypeError, ValueError), match="`(turns|text)`"):
        Chat(turns)


# A task of chats.


def numbered(n, *more):
    return Chat((("user", f"question {n}"), ("assistant", f"answer {n}"), *more))


def test_chats_with_one_opening_stay_in_one_part():
    more = (("user", "and?"), ("assistant", "so"))
    rows = [numbered(n) for n in range(50)] + [numbered(n, *more) for n in range(50)]
    task = split_rows(rows, "chats")
    openings = [{row.opening for row in part} for part in (task.train, task.valid, task.test)]
    assert len(set.union(*openings)) == sum(map(len, openings)) == 50


def test_a_chat_stands_where_its_question_stands_as_a_prompt():
    assert content_key(numbered(3)) == content_key(("Question  3", "x"))


def test_what_carries_the_loss_is_part_of_a_task(tmp_path):
    rows = [dict(messages=messages(numbered(n).turns)) for n in range(20)]
    path = write_lines(tmp_path / "a.jsonl", rows)
    last, every = load_task(path), load_task(path, loss_on="all")
    assert last.fingerprint != every.fingerprint
    source = dict(task=str(path), test=None, columns=None)
    assert task_of(source) == last and task_of(source | dict(loss_on="all")) == every


# What the model sees.


@pytest.mark.parametrize(
    "template, start, turns, loss_on, shown",
    [
        (None, False, TURNS, "last", "System:\nBe short.\n\nUser:\nHi\n\nAssistant:\n[[Yo.</s>]]"),
        (None, True, TURNS[1:], "last", "<s>User:\nHi\n\nAssistant:\n[[Yo.</s>]]"),
        (
            CHATML,
            False,
            TURNS,
            "last",
            "<|system|>Be short.</s>\n<|user|>Hi</s>\n<|assistant|>[[Yo.</s>]]",
        ),
        ("<s>" + CHATML, True, TURNS[1:], "last", "<s><|user|>Hi</s>\n<|assistant|>[[Yo.</s>]]"),
        ("<s>" + CHATML, False, TURNS[1:], "last", "<s><|user|>Hi</s>\n<|assistant|>[[Yo.</s>]]"),
        (
            CHATML,
            False,
            LONGER[1:],
            "last",
            "<|user|>Hi</s>\n<|assistant|>Yo.</s>\n<|user|>More</s>\n<|assistant|>[[No.</s>]]",
        ),
        (
            CHATML,
            False,
            LONGER[1:],
            "all",
            "<|user|>Hi</s>\n<|assistant|>[[Yo.</s>]]\n<|user|>More</s>\n<|assistant|>[[No.</s>]]",
        ),
        (
            None,
            False,
            LONGER[1:],
            "all",
            "User:\nHi\n\nAssistant:\n[[Yo.</s>]]\n\nUser:\nMore\n\nAssistant:\n[[No.</s>]]",
        ),
    ],
)
def test_answers_and_ends_of_their_turns_carry_the_loss(template, start, turns, loss_on, shown):
    tokenizer = tokenizer_with(template, start)
    assert marked_row(Chat(turns, loss_on), tokenizer) == shown


def test_a_template_without_an_end_of_turn_gets_the_end_token():
    template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    template += "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    shown = marked_row(Chat(TURNS[1:]), tokenizer_with(template))
    assert shown == "user: Hi\nassistant: [[Yo.</s>]]"


def test_blanks_that_a_template_leaves_out_are_no_part_of_the_answer():
    tokenizer = tokenizer_with(CHATML.replace("m.content", "(m.content | trim)"))
    chat = Chat((TURNS[1], ("assistant", " Yo.\n")))
    assert marked_row(chat, tokenizer) == "<|user|>Hi</s>\n<|assistant|>[[Yo.</s>]]"
    assert encode([chat], tokenizer)[0].n_bytes == 3


def test_words_that_a_template_puts_before_an_answer_carry_no_loss():
    think = CHATML.replace("m.content", "('<think/>' if m.role == 'assistant' else '') + m.content")
    shown = marked_row(Chat(TURNS[1:]), tokenizer_with(think))
    assert shown == "<|user|>Hi</s>\n<|assistant|><think/>[[Yo.</s>]]"


def test_the_date_that_a_template_writes_is_fixed():
    template = "{{ strftime_now('%d %b %Y') }}" + CHATML
    shown = marked_row(Chat(TURNS[1:]), tokenizer_with(template))
    assert shown.startswith("26 Jul 2024<|user|>")


BROKEN = {
    "fails": ("{{ raise_exception('No\nsystem') }}", "fails with: No system"),
    "is no jinja": ("{% for %}", "fails with"),
    "leaves the answer out": ("{{ messages[0].content }}", "does not write every answer once"),
    "changes the answer": (CHATML.replace("m.content", "m.content | upper"), "as it is"),
    "asks otherwise": (CHATML.replace("'<|assistant|>'", "'<|bot|>'"), "in another way than"),
    "runs code": ("{{ messages.__class__.__mro__ }}", "template must be able to write"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_template_that_cannot_write_a_chat_is_refused_with_its_row(tmp_path, kind):
    template, message = BROKEN[kind]
    rows = load_rows(write_lines(tmp_path / "a.jsonl", [GOOD]))
    with pytest.raises(ValueError, match=message) as refusal:
        encode(rows, tokenizer_with(template))
    assert "for row 1 of a.jsonl" in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("template", [None, CHATML])
def test_a_turn_that_writes_out_the_end_token_is_refused(template):
    chat = Chat((("user", "a</s>b"), ("assistant", "c")), where="row 7 of a.jsonl")
    with pytest.raises(ValueError, match="'</s>' stands in turn 1 of row 7 of a.jsonl"):
        encode([chat], tokenizer_with(template))


def test_a_tokenizer_without_any_special_token_reads_chats():
    tokenizer = character_tokenizer(LETTERS)
    tokenizer.bos_token = tokenizer.eos_token = tokenizer.pad_token = None
    assert marked_row(Chat(TURNS[1:]), tokenizer) == "User:\nHi\n\nAssistant:\n[[Yo.]]"


# Tokens that a real tokenizer joins.


def joining_tokenizer(kind):
    "A tokenizer that learned to join what stands around an answer."
    core = Tokenizer(models.BPE() if kind == "bytes" else models.BPE(unk_token="<unk>"))
    if kind == "bytes":
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
        core.decoder = decoders.Metaspace(prepend_scheme="first")
    texts = ["[INST] Hi [/INST] Yo. ", "User:\nHi\n\nAssistant:\nYo.\n\nYo. Yo.", "\n\n\n"] * 20
    signs = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=signs, show_progress=False)
    core.train_from_iterator(texts, trainer)
    special = dict(unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, **special)


INST = (  # as Llama 2 and Mistral have it: a blank before the answer, and one before its end
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content "
    "+ ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("kind", ["bytes", "sentencepiece"])
@pytest.mark.parametrize("template", [None, INST])
def test_bytes_are_those_of_the_answer_whatever_the_template(kind, template):
    tokenizer = joining_tokenizer(kind)
    tokenizer.chat_template = template
    rows = encode([Chat(TURNS[1:]), Chat(LONGER[1:], "all")], tokenizer)
    model = tiny_model("gpt2", seed=0, vocab=len(tokenizer), tokens=128)
    _, _, n_bytes = row_costs(model, tokenizer, rows)
    assert list(n_bytes) == [3, 6]
    for ids, labels in rows:
        asked = [token for token in labels if token != -100]
        assert asked[-1] == ids[-1] == tokenizer.eos_token_id
        written = tokenizer.decode(asked, skip_special_tokens=True)
        assert written.replace(" ", "").rstrip() in ("Yo.", "Yo.No.")


def test_tokens_that_join_prompt_and_answer_are_refused():
    chat = Chat((TURNS[1], ("assistant", "\n\nYo.")), where="row 2 of a.jsonl")
    with pytest.raises(ValueError, match="row 2 of a.jsonl it joins the answer's first token"):
        encode([chat], joining_tokenizer("bytes"))


# Rows that are too long.


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("most", [3, 4, 5, 8, 12, 20, 30])
def test_a_long_chat_loses_its_beginning_then_the_end_of_its_answer(start, most):
    tokenizer = tokenizer_with(None, start)
    [(ids, labels)] = rows = encode([Chat(TURNS)], tokenizer, max_tokens=most)
    assert len(ids) == len(labels) == most and labels[0] == -100
    assert (ids[0] == tokenizer.bos_token_id) == start
    asked = tokenizer.decode([token for token in labels if token != -100])
    assert "Yo.</s>".startswith(asked) and asked
    assert rows[0].n_bytes == len(asked.removesuffix("</s>"))
    assert count_cut([Chat(TURNS)], tokenizer, max_tokens=most) == 1


def test_an_earlier_answer_that_is_cut_counts_what_is_left():
    [row] = encode([Chat(LONGER, "all")], tokenizer_with(CHATML), max_tokens=48)
    asked = [token for token in row[1] if token != -100]
    assert row.n_bytes == len(tokenizer_with().decode(asked, skip_special_tokens=True))


# Other models, and a study.


def test_an_encoder_decoder_reads_the_chat_and_writes_the_answer():
    shown = marked_row(Chat(LONGER[1:]), tokenizer_with(CHATML), pairs=True)
    read = "<|user|>Hi</s>\n<|assistant|>Yo.</s>\n<|user|>More</s>\n<|assistant|></s>"
    assert shown == f"{read} -> [[No.</s>]]"


def test_an_encoder_decoder_writes_one_answer():
    with pytest.raises(ValueError, match="`loss_on` must be last for an encoder-decoder"):
        encode([Chat(LONGER, "all")], tokenizer_with(), pairs=True)


@pytest.fixture(scope="module")
def places_of_chats(tmp_path_factory):
    "Two candidates, with and without a chat template, and a file of chats."
    folder = tmp_path_factory.mktemp("chats")
    for name, template in (("own", CHATML), ("none", None)):
        tokenizer = tokenizer_with(template)
        model = tiny_model("gpt2", seed=0, vocab=len(tokenizer), tokens=64)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    rows = [dict(messages=messages((("user", f"{n}?"), ("assistant", f"{n}.")))) for n in range(60)]
    return folder, write_lines(folder / "a.jsonl", rows)


@pytest.mark.parametrize("loss_on", ["last", "all"])
def test_a_study_of_chats_notes_what_carries_the_loss(places_of_chats, tmp_path, recipe, loss_on):
    folder, path = places_of_chats
    options = dict(task=path, sizes=[8, 16], budget_size=8, recipe=recipe, loss_on=loss_on)
    candidates = [folder / "own", folder / "none"]
    study = new_study(tmp_path / "study", candidates=candidates, **options)
    assert study.facts["source"]["loss_on"] == loss_on
    known = study.store.candidates().facts
    assert [known[name]["plain_chats"] for name in ("own", "none")] == [False, True]


@pytest.mark.parametrize("name", ["own", "none"])
def test_a_model_learns_from_chats(places_of_chats, name):
    folder, path = places_of_chats
    short = Recipe(rate=1e-2, passes=1, least_steps=20, batch=4)
    before, after = (
        finetune(folder / name, load_task(path), size, seed=0, recipe=short, device="cpu")
        for size in (0, 16)
    )
    assert after.test_loss < before.test_loss
    answers = [row.turns[-1][1] for row in load_task(path).test]
    tokens_per_byte = sum(len(text) + 1 for text in answers) / sum(map(len, answers))
    assert after.byte_loss == pytest.approx(after.test_loss * tokens_per_byte)


def test_a_study_of_texts_notes_nothing_new(places, write_sums, tmp_path, recipe):
    task = write_sums(tmp_path / "sums.jsonl")
    options = dict(task=task, sizes=[8], budget_size=8, recipe=recipe)
    study = new_study(tmp_path / "study", candidates=[places["gpt2"]], **options)
    assert set(study.facts["source"]) == {"task", "test", "columns", "fingerprint"}
    assert "plain_chats" not in study.store.candidates().facts.iloc[0]


def test_the_report_says_how_chats_were_written(places_of_chats, tmp_path, recipe):
    folder, path = places_of_chats
    options = dict(task=path, sizes=[8], budget_size=8, recipe=recipe)
    study = new_study(tmp_path / "study", candidates=[folder / "none"], **options)
    said = dict(contents._how_to_repeat(study, study.store.runs()))["chats"]
    assert said == f"{CHAT_RULE}; the loss is on the last answer; written plainly: none"


def test_a_candidate_whose_template_fails_is_named(places_of_chats, recipe):
    folder, path = places_of_chats
    tokenizer = tokenizer_with("{{ raise_exception('no') }}")
    model = tiny_model("gpt2", seed=0, vocab=len(tokenizer), tokens=64)
    model.save_pretrained(folder / "bad")
    tokenizer.save_pretrained(folder / "bad")
    with pytest.raises(ValueError, match="`candidate` .*bad cannot read the task: .* of a.jsonl"):
        inspect_candidate(folder / "bad", load_task(path), recipe)
