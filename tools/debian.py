"""Texts in public Debian packages, fetched and unpacked in a folder of one's own; nothing is
installed. For the shipped tasks and what shipped candidates were pre-trained on.
"""

import gzip
import re
import subprocess

APT_HELPER = "/usr/lib/apt/apt-helper"


def fetch(folder, packages):
    """Package descriptions in English and German, and packages unpacked.

    What is there already is kept.
    """
    lists, options = (
        folder / "lists",
        ["-q", "-o", f"Dir::State::Lists={folder / 'lists'}", "-o", "Acquire::Languages=en,de"],
    )
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    if not list(lists.glob("*Translation-de*")):
        subprocess.run(["apt-get", *options, "update"], check=True)
    for package in packages:
        if (folder / package).is_dir():
            continue
        subprocess.run(["apt-get", *options, "download", package], check=True, cwd=folder)
        (folder / package).mkdir()
        subprocess.run(
            ["dpkg", "-x", *folder.glob(f"{package}_*.deb"), folder / package], check=True
        )
    return folder


def descriptions(folder, language):
    "Package descriptions by md5 of the English one: (synopsis, paragraphs)."
    files = sorted((folder / "lists").glob(f"*Translation-{language}*"))
    text = subprocess.run(
        [APT_HELPER, "cat-file", *files], check=True, capture_output=True, text=True
    ).stdout
    found = re.findall(
        rf"^Description-md5: (\w+)\nDescription-{language}: (.*)\n((?: .*\n)*)", text, re.M
    )
    return {
        md5: (synopsis, [" ".join(p.split()) for p in re.split(r"^ \.\n", body, flags=re.M)])
        for md5, synopsis, body in found
    }


def synsets(folder):
    "WordNet: (words, kind, gloss with its examples)."
    kinds = dict(n="noun", v="verb", a="adjective", s="adjective", r="adverb")
    for name in ("noun", "verb", "adj", "adv"):
        for line in (
            (folder / f"wordnet-base/usr/share/wordnet/data.{name}").read_text().splitlines()
        ):
            if line.startswith(" ") or " | " not in line:
                continue
            head, gloss = line.split(" | ", 1)
            _, _, kind, count, *words = head.split()
            yield (
                [
                    re.sub(r"\(\w+\)$", "", w).replace("_", " ")
                    for w in words[: 2 * int(count, 16) : 2]
                ],
                kinds[kind],
                gloss.strip(),
            )


def examples(folder):
    "Sentences that show how WordNet's words are used."
    return [e for _, _, gloss in synsets(folder) for e in re.findall(r'"([^"]+)"', gloss)]


def bible(folder):
    "The King James Version, a verse a text."
    program, text = folder / "bible-kjv/usr/bin/bible", folder / "bible-kjv-text/usr/lib"
    out = subprocess.run(
        [program, "-p", text, "gen1:1-rev22:21"],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    ).stdout
    return [" ".join(v.split()) for v in re.findall(r"^ +\d+ (.+(?:\n\S.*)*)", out, re.M)]


def dictionary(folder):
    """The Collaborative International Dictionary of English, a word a text, without what it took
    from WordNet.
    """
    text = gzip.decompress(
        (folder / "dict-gcide/usr/share/dictd/gcide.dict.dz").read_bytes()
    ).decode("utf-8", "replace")
    entries = re.split(r"\n(?=\w.*\\.*\\)", text)[1:]
    clean = lambda e: " ".join(re.sub(r"\[[^\]]*\]|\\[^\\]*\\|[{}]|--[A-Z][\w. ]*", " ", e).split())
    return [clean(e) for e in entries if "WordNet" not in e]


def manuals(folder, packages, language=""):
    "Paragraphs of manual pages, without their markup."
    for package in packages:
        for page in sorted((folder / package / "usr/share/man" / language).glob("man*/*.gz")):
            yield from _paragraphs(gzip.decompress(page.read_bytes()).decode("utf-8", "replace"))


def _paragraphs(page):
    "Running text between requests that end a paragraph; fonts and escapes are dropped."
    page = re.sub(r"^[.']\\\".*\n|^\.(nf|EX)\n(?:.*\n)*?\.(fi|EE)\n", "", page, flags=re.M)
    page = re.sub(r"^\.(?:B|I|BR|IR|RB|RI|BI|IB) ", "", page, flags=re.M)
    for text in re.split(r"^\.(?:PP|P|LP|TP|IP|SH|SS|HP|RS|RE).*\n", page, flags=re.M):
        text = re.sub(r"^[.'].*\n?", "", text, flags=re.M)
        text = (
            re.sub(r"\\f.|\\[&/,|]|\\s[-+]?\d", "", text)
            .replace("\\-", "-")
            .replace("\\(aq", "'")
            .replace("\\e", "\\")
            .replace("\\ ", " ")
        )
        text = " ".join(re.sub(r"\\\(..|\\\[.*?\]", " ", text).split())
        if len(text) > 40:
            yield text
