"""Build the shipped tasks from public Debian packages: `python tools/tasks.py`.

Needs apt (no root) and the network; writes lensllm/data/tasks/NAME.jsonl.xz, whose first 1,500 rows
by content hash have no near-duplicates among the others.
"""

import argparse
import json
import lzma
import re
from collections import Counter
from pathlib import Path

from debian import descriptions, fetch, synsets
from lensllm.tune.tasks import content_key
from lensllm._internal.atomic import atomic_path

HELD, TWINS = (
    1500,
    0.5,
)  # rows by hash for test and validation; similarity of three-word shingles that makes twins
OUT = Path(__file__).resolve().parents[1] / "lensllm" / "data" / "tasks"


def headline(folder):
    "What a package is, from how it is described."
    for synopsis, paragraphs in descriptions(folder, "en").values():
        if body := shortened(" ".join(paragraphs), 200):
            yield body, synopsis


def translate(folder):
    "Paragraphs of descriptions, English and German, where both have as many."
    english, german = descriptions(folder, "en"), descriptions(folder, "de")
    for md5 in english.keys() & german.keys():
        (head, body), (kopf, text) = english[md5], german[md5]
        yield head, kopf
        if len(body) == len(text):
            yield from ((a, b) for a, b in zip(body, text) if len(a) <= 480 and len(b) <= 600)


def define(folder):
    "What a word means: WordNet's glosses without their examples, one row a meaning."
    for words, kind, gloss in synsets(folder):
        meaning = re.split(r';?\s*"', gloss)[0].strip(" ;")
        if meaning:
            yield f"{', '.join(words[:3])} ({kind})", meaning


def shortened(text, most):
    "The text, or its first words and an ellipsis."
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0] + " …"


def shingles(text):
    "Three words at a time, as they are read."
    words = re.findall(r"\w+", text.casefold())
    return {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


class Held:
    "Texts that no other may resemble."

    def __init__(self):
        self.sizes, self.where = [], {}

    def add(self, text):
        for s in (own := shingles(text)):
            self.where.setdefault(s, []).append(len(self.sizes))
        self.sizes.append(len(own))

    def shared(self, own):
        return Counter(i for s in own for i in self.where.get(s, ())).items()

    def resembles(self, text):
        return any(
            k / (len(own) + self.sizes[i] - k) >= TWINS
            for own in (shingles(text),)
            for i, k in self.shared(own)
        )

    def quoted(self, text):
        return any(
            k >= max(5, TWINS * self.sizes[i]) for i, k in self.shared(shingles(text))
        )  # half of a text, and at least seven words


def without_twins(rows):
    "Rows by content hash; none repeated, and none that resembles one of the first."
    prompts, targets, kept = Held(), Held(), []
    for row in sorted(set(rows), key=lambda r: (content_key(r), r)):
        if prompts.resembles(row[0]) or targets.resembles(row[1]):
            continue
        if len(kept) < HELD:
            prompts.add(row[0]), targets.add(row[1])
        kept.append(row)
    return kept


def write(name, rows):
    "A compressed file of JSON lines, the same bytes for the same rows."
    OUT.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(dict(prompt=p, target=t), ensure_ascii=False) + "\n" for p, t in rows)
    with atomic_path(OUT / f"{name}.jsonl.xz") as tmp:
        tmp.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{name}: {len(rows):,} rows, {(OUT / f'{name}.jsonl.xz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(__file__).resolve().parents[1] / "_debian",
        help="where packages are kept",
    )
    folder = fetch(parser.parse_args().folder.resolve(), ("wordnet-base",))
    for task in (headline, translate, define):
        write(task.__name__, without_twins(task(folder)))
