"Each command's help has an example, which runs, and ends with what to do next."

import re
import shlex

import pytest
from lensllm.cli import app

EXAMPLE = re.compile(r"Example: \[bold\]lensllm (.+?)\[/\]", re.S)
NEED_A_STUDY = ("status", "ask", "tell", "report", "finish")
NEED_TEXTS = ("ntk", "bound")


def example(command):
    "The arguments of a command's example."
    return shlex.split(EXAMPLE.search(app.COMMANDS[command].__doc__)[1])


@pytest.mark.parametrize("command", app.COMMANDS)
def test_the_help_has_an_example_and_what_comes_next(lensllm, command):
    assert example(command)[0] == command
    shown = " ".join(lensllm(command, "--help").out.split())
    assert f"Example: lensllm {command}" in shown
    assert "Next: " in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [name for name in app.COMMANDS if name not in NEED_A_STUDY + NEED_TEXTS]
)
def test_the_example_runs_as_it_stands(lensllm, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = lensllm(*example(command))
    assert (done.code, bool(done.out)) == (0, True), done.err


@pytest.mark.parametrize("command", NEED_A_STUDY)
def test_an_example_that_needs_a_study_fails_by_that_alone(lensllm, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = lensllm(*example(command))
    assert done.code == 2 and "must hold a study" in done.err


def test_select_without_a_table_says_what_it_needs(lensllm):
    done = lensllm("select")
    assert (done.code, done.out) == (2, "")
    assert "`CURVES` must name a table of losses or scores" in done.err
    assert "lensllm demo" in done.err


def test_the_demo_is_a_ranking_and_says_what_to_type(lensllm):
    done = lensllm("demo")
    assert done.code == 0
    assert "\nchoose " in done.out
    assert done.out.splitlines()[-1].startswith("yours: lensllm select losses.csv")
