"""Pre-train the shipped candidates on public text: `python tools/pretrain.py [NAME…]`.

Writes lensllm/data/zoo/NAME (safetensors in bfloat16, tokenizer, model card); what is there already
is kept. Seeded; about an hour on 2 cores for all.
"""

import argparse
import json
import math
import subprocess
import time
from pathlib import Path

import torch
import transformers
from debian import bible, dictionary, examples, fetch, manuals
from lensllm.tune.tasks import load_task
from lensllm.models.batches import sequence_loss
from lensllm._internal.tiny import tiny_model
from tasks import Held
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "lensllm" / "data" / "zoo"
PACKAGES = (
    "wordnet-base",
    "bible-kjv",
    "bible-kjv-text",
    "dict-gcide",
    "manpages",
    "manpages-dev",
    "manpages-de",
    "manpages-de-dev",
)
TOKENIZERS = {  # name -> (sources, tokens, kind, longest row)
    "manual-1k": (("manuals",), 1024, "bpe", 256),
    "book-2k": (("bible", "dictionary", "examples"), 2048, "bpe", 256),
    "german-2k": (("manuals", "german"), 2048, "unigram", 256),
    "bytes": ((), 260, "bpe", 512),
}
CANDIDATES = {  # name -> (architecture, sizes, tokenizer, sources, tokens to learn from)
    "gpt2-manuals": (
        "gpt2",
        dict(layers=4, width=128, heads=4),
        "manual-1k",
        ("manuals",),
        4_000_000,
    ),
    "gpt2-manuals-brief": (
        "gpt2",
        dict(layers=4, width=128, heads=4),
        "manual-1k",
        ("manuals",),
        250_000,
    ),
    "gpt2-mini-manuals": (
        "gpt2",
        dict(layers=2, width=64, heads=4),
        "manual-1k",
        ("manuals",),
        4_000_000,
    ),
    "gpt2-dictionary": (
        "gpt2",
        dict(layers=4, width=96, heads=4),
        "book-2k",
        ("dictionary", "examples"),
        4_000_000,
    ),
    "opt-dictionary": (
        "opt",
        dict(layers=3, width=96, heads=4),
        "book-2k",
        ("dictionary",),
        2_000_000,
    ),
    "opt-bible": ("opt", dict(layers=3, width=96, heads=4), "book-2k", ("bible",), 1_000_000),
    "neox-books": (
        "gpt_neox",
        dict(layers=3, width=96, heads=4),
        "book-2k",
        ("bible", "dictionary", "manuals"),
        3_000_000,
    ),
    "llama-german": (
        "llama",
        dict(layers=3, width=96, heads=4, tie_word_embeddings=True),
        "german-2k",
        ("manuals", "german"),
        4_000_000,
    ),
    "llama-bytes": (
        "llama",
        dict(layers=3, width=64, heads=4, tie_word_embeddings=True),
        "bytes",
        ("manuals", "dictionary"),
        4_000_000,
    ),
    "mamba-manuals": (
        "mamba",
        dict(layers=3, width=80, heads=4),
        "manual-1k",
        ("manuals",),
        1_000_000,
    ),
    "t5-german": (
        "t5",
        dict(layers=2, width=96, heads=4),
        "german-2k",
        ("manuals", "german"),
        3_000_000,
    ),
    "t5-dictionary": (
        "t5",
        dict(layers=2, width=64, heads=4),
        "book-2k",
        ("dictionary", "examples"),
        2_000_000,
    ),
    "bart-manuals": (
        "bart",
        dict(layers=2, width=96, heads=4),
        "manual-1k",
        ("manuals",),
        2_000_000,
    ),
    "bart-german": (
        "bart",
        dict(layers=2, width=64, heads=4),
        "german-2k",
        ("german", "manuals"),
        3_000_000,
    ),
}
BATCH, RATE, HELD_OUT = 4096, 3e-3, 100  # tokens a step, highest rate, rows that measure the loss


def sources(folder):
    """Texts by source, without what resembles or quotes a test or validation row of the shipped
    tasks.
    """
    held, clean = Held(), {}
    for name in ("headline", "translate", "define"):
        task = load_task(name)
        for text in {side for row in (*task.test, *task.valid) for side in row}:
            held.add(text)
    found = dict(
        manuals=manuals(folder, PACKAGES[4:6]),
        german=manuals(folder, PACKAGES[6:], "de"),
        bible=bible(folder),
        dictionary=dictionary(folder),
        examples=examples(folder),
    )
    for name, texts in found.items():
        texts = list(dict.fromkeys(texts))
        clean[name] = [t for t in texts if not (held.resembles(t) or held.quoted(t))]
        print(
            f"{name}: {len(texts):,} texts, "
            f"{len(texts) - len(clean[name])} left out that resemble or quote a test row",
            flush=True,
        )
    return clean


def tokenizer(name, texts):
    "Byte-level, so that every text can be read and its bytes counted."
    names, size, kind, context = TOKENIZERS[name]
    core = Tokenizer(models.BPE() if kind == "bpe" else models.Unigram())
    core.pre_tokenizer, core.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    train = (trainers.BpeTrainer if kind == "bpe" else trainers.UnigramTrainer)(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        **({} if kind == "bpe" else dict(unk_token="<unk>")),
    )
    core.train_from_iterator([t for n in names for t in texts[n][::4]], train)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=context,
    )


def rows(texts, tok, tokens, generator):
    "Texts in a random order, one after the other, cut into rows: (n, context)."
    context = tok.model_max_length
    ids, wanted = [], tokens + HELD_OUT * context
    while len(ids) < wanted:
        for i in torch.randperm(len(texts), generator=generator).tolist():
            ids += tok(texts[i])["input_ids"] + [tok.eos_token_id]
            if len(ids) >= wanted:
                break
    return torch.tensor(ids[: len(ids) // context * context]).view(-1, context)


def as_inputs(rows, pairs, generator):
    """Rows to predict; an encoder-decoder reads a beginning of random length and writes what
    follows.
    """
    if not pairs:
        return dict(input_ids=rows, attention_mask=torch.ones_like(rows), labels=rows)
    cut = int(torch.randint(rows.shape[1] // 4, rows.shape[1] * 3 // 4, (1,), generator=generator))
    return dict(
        input_ids=rows[:, :cut], attention_mask=torch.ones_like(rows[:, :cut]), labels=rows[:, cut:]
    )


def train(name, texts, tok):
    "The model, its losses and what it cost."
    arch, sizes, _, names, tokens = CANDIDATES[name]
    g = torch.Generator().manual_seed(list(CANDIDATES).index(name))
    model = tiny_model(
        arch, seed=g.initial_seed(), vocab=len(tok), tokens=tok.model_max_length, **sizes
    )
    pairs = model.config.is_encoder_decoder
    data = rows([t for n in names for t in texts[n]], tok, tokens, g)
    held, data = data[-HELD_OUT:], data[:-HELD_OUT]
    steps, batch = tokens // BATCH, BATCH // tok.model_max_length
    adam = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        adam,
        lambda i: (
            min(1, (i + 1) / (0.05 * steps))
            * (0.05 + 0.95 * (1 + math.cos(math.pi * i / steps)) / 2)
        ),
    )
    model.train()
    for i in range(steps):
        loss = sequence_loss(
            model, as_inputs(data[torch.randint(len(data), (batch,), generator=g)], pairs, g)
        ).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step(), adam.zero_grad(), schedule.step()
        if i % 100 == 0:
            print(f"{name}: step {i} of {steps}, loss {loss.item():.3f}", flush=True)
    model = model.eval().to(torch.bfloat16)
    with torch.no_grad():
        last = torch.cat(
            [
                sequence_loss(model.float(), as_inputs(h, pairs, torch.Generator().manual_seed(0)))
                for h in held.split(20)
            ]
        )
    return model.to(torch.bfloat16), float(last.mean()), float(last.std() / len(last) ** 0.5)


CARD = """---
license: other
library_name: transformers
tags: [lensllm]
---
# {name}

A small {arch} model ({parameters:,} parameters, {kind}, context {context} tokens), \
one of lensllm's shipped candidates. \
It is meant for trying how models are chosen, and for nothing else.

| | |
|---|---|
| texts | {sources}, from Debian packages; \
what resembles or quotes a test or validation row of the shipped tasks is left out |
| tokens seen | {tokens:,} of tokenizer {tokenizer} |
| recipe | AdamW, rate {rate:g} with cosine decay, \
{batch} rows of {context} tokens a step, seed {seed} |
| loss on {held} rows that were held out | {loss:.3f} ± {loss_se:.3f} nats/token |
| made by | tools/pretrain.py, commit {commit} |
"""


def make(name, texts):
    "One candidate, saved at once or not at all."
    if (OUT / name).is_dir():
        return print(f"{name}: kept")
    arch, sizes, tokens_of, names, tokens = CANDIDATES[name]
    tok, t0 = tokenizer(tokens_of, texts), time.time()
    model, loss, se = train(name, texts, tok)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout.strip()
    facts = dict(
        name=name,
        arch=arch,
        parameters=model.num_parameters(),
        kind="encoder-decoder" if model.config.is_encoder_decoder else "causal",
        context=tok.model_max_length,
        tokenizer=tokens_of,
        sources=", ".join(names),
        tokens=tokens,
        rate=RATE,
        batch=BATCH // tok.model_max_length,
        seed=list(CANDIDATES).index(name),
        held=HELD_OUT,
        loss=loss,
        loss_se=se,
        commit=commit,
    )
    tmp = OUT / f".{name}"
    for part in (model, tok):
        part.save_pretrained(tmp)
    (tmp / "README.md").write_text(CARD.format(**facts))
    (tmp / "pretraining.json").write_text(json.dumps(facts, indent=1) + "\n")
    tmp.rename(OUT / name)
    print(
        f"{name}: {facts['parameters']:,} parameters, {loss:.3f} ± {se:.3f} nats/token, "
        f"{time.time() - t0:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", help="candidates; all when none is named")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "_debian", help="where packages are kept"
    )
    args = parser.parse_args()
    texts = sources(fetch(args.folder.resolve(), PACKAGES))
    for name in args.name or CANDIDATES:
        make(name, texts)
