"The entry point: help, exit codes, and mistakes that do not belong to one command."

import subprocess
import sys

import pytest
from lensllm.cli import app


def test_every_command_is_in_the_help(lensllm):
    done = lensllm("--help")
    assert done.code == 0
    assert all(f"│ {name}" in done.out for name in app.COMMANDS)
    assert "Start with: lensllm demo" in done.out


@pytest.mark.parametrize("command", app.COMMANDS)
def test_every_command_explains_itself(lensllm, command):
    done = lensllm(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert "--budget" not in done.out or command in ("plan", "simulate", "run")


def test_without_arguments_the_help_is_shown(lensllm):
    assert "Usage: lensllm" in lensllm().out


def test_an_unknown_command_is_refused(lensllm):
    done = lensllm("predict")
    assert (done.code, done.out) == (2, "")
    assert done.err == "lensllm: No such command 'predict'; see lensllm --help\n"


def test_debug_raises_what_went_wrong(lensllm):
    with pytest.raises(ValueError, match="must be a file"):
        lensllm("select", "--debug", "nowhere.csv")


def test_a_fault_of_the_program_has_exit_code_1(lensllm, monkeypatch):
    def fails(*args, **options):
        raise KeyError("x")

    monkeypatch.setattr("lensllm.choose.selectors.rank", fails)
    done = lensllm("select", "flan")
    assert (done.code, done.out) == (1, "")
    assert done.err == "lensllm: unexpected KeyError: 'x'; --debug shows where\n"


def test_an_interrupt_has_exit_code_130(lensllm, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lensllm.choose.selectors.rank", interrupted)
    assert lensllm("select", "flan").code == 130


@pytest.mark.parametrize(
    "text, argv, typed",
    [
        ("`target` must", ["select"], "`--target` must"),
        ("`column` must", ["simulate"], "`--costs` must"),
        ("`seen` must hold two", ["select"], "`CURVES` must hold two"),
        ("lower `seen`", ["select"], "lower `--seen`"),
        ("`budget` 800 leaves", ["select"], "`--seen` 800 leaves"),
        ("`budget` must", ["simulate"], "`--budget` must"),
        ("`folder` must", ["status"], "`DIR` must"),
        ("`folder` must", ["run"], "`--out` must"),
        ("`MODEL` must", ["run"], "`--candidate` must"),
        ("`MODEL` must", ["ntk"], "`MODEL` must"),
        ("`target` must", ["nothing"], "`target` must"),
    ],
)
def test_a_message_speaks_of_what_was_typed(text, argv, typed):
    assert app._as_typed(text, argv) == typed


def test_a_transcript_is_the_line_and_what_it_printed():
    head, *rest = app.transcript("lensllm data", first=3, last=1).splitlines()
    assert head == "$ lensllm data"
    assert rest[0] == "shipped tasks"
    assert rest[3] == "…"
    assert len(rest) == 5
    assert not app.transcript("lensllm data", echo=False).startswith("$")


def test_a_transcript_notices_another_exit_code():
    with pytest.raises(RuntimeError, match="has exit code 2, not 0"):
        app.transcript("lensllm select nowhere.csv")
    with pytest.raises(ValueError, match="must begin with lensllm, got ls"):
        app.transcript("ls")


def test_the_help_loads_nothing_heavy():
    code = (
        "import sys; from lensllm.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print('LOADED', *sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.partition("LOADED")[2].split())
    assert "lensllm.cli.studies" in loaded
    assert not loaded & {"torch", "transformers", "matplotlib", "lmfit", "scipy", "pandas"}
