"""What README and the tutorials tell a reader to type exists, and runs.

The transcripts on these pages are made by running the commands, each time the pages are run. Here
are the blocks that are only written down, and the commands in the sentences.
"""

import json
import re
import shlex
from pathlib import Path

import pytest
from lensllm.cli import app
from lensllm.tune.tasks import load_task
from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIALS = sorted((ROOT / "nbs" / "tutorials").glob("*.ipynb"))
BLOCK = re.compile(r"^```(?:sh|bash)\n(.+?)^```", re.M | re.S)
IN_A_SENTENCE = re.compile(r"`lensllm ([^`\n]+)`")
MADE_UP = {"path/to/a": "opt-bible", "org/b": "bart-manuals"}  # a reader's candidates


def prose(page):
    "The Markdown cells of a notebook."
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def block_lines(text):
    "The commands of a text's blocks, without comments."
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    return [command for command in commands if command]


def options_of(command):
    "All options of a command of lensllm."
    parameters = get_command(app.app).commands[command].params
    return {option for p in parameters for option in (*p.opts, *p.secondary_opts)}


def unknown(words):
    "What of `COMMAND --option …` the command does not have."
    command, *rest = words
    if command.startswith("-") or command.isupper():  # `lensllm --help`, `lensllm X`
        return []
    if command not in app.COMMANDS:
        return [command]
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    return sorted(given - options_of(command) - {"--help"})


TEXTS = {"README": README} | {page.stem: prose(page) for page in TUTORIALS}


@pytest.mark.parametrize("name", TEXTS)
def test_commands_in_sentences_exist(name):
    said = [shlex.split(text.replace("…", "")) for text in IN_A_SENTENCE.findall(TEXTS[name])]
    assert {" ".join(words): unknown(words) for words in said if unknown(words)} == {}


@pytest.mark.parametrize("words", [["selct"], ["select", "x.csv", "--tagret", "9"]])
def test_a_command_that_does_not_exist_is_noticed(words):
    assert unknown(words)


def test_every_block_is_known_here():
    "A block of another kind needs a test of its own."
    assert {words[0] for text in TEXTS.values() for words in block_lines(text)} <= {
        "make",
        "lensllm",
        ".",
    }


def test_targets_of_make_exist():
    targets = {words[1] for words in block_lines(README) if words[0] == "make"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets
    assert [target for target in targets if not re.search(f"^{target}:", makefile, re.M)] == []


@pytest.mark.slow
def test_blocks_of_lensllm_run_as_they_stand(tmp_path, monkeypatch, capsys):
    "With two shipped candidates for a reader's own, and without fine-tuning them."
    rows = [dict(prompt=p, target=t) for p, t in load_task("headline").train]
    lines = "\n".join(map(json.dumps, rows))
    (tmp_path / "mine.jsonl").write_text(f"{lines}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = [w for text in TEXTS.values() for w in block_lines(text) if w[0] == "lensllm"]
    assert blocks
    for _, *words in blocks:
        if words[0] == "finish":  # of the study that a dry run does not make
            assert not unknown(words)
            continue
        dry = ["--dry-run"] if words[0] == "run" else []
        code = app.exit_code([*(MADE_UP.get(word, word) for word in words), *dry])
        assert code == 0, capsys.readouterr().err
