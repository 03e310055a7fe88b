"What a careless or hostile user may type ends in a result or in one clear line."

import importlib.util
import os
import time
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "hostile.py"


@pytest.fixture(scope="module")
def hostile():
    "The script that makes the inputs and looks at what comes of them."
    spec = importlib.util.spec_from_file_location("hostile", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def odd_files(hostile, tmp_path, monkeypatch):
    "A working directory of odd tables, logs, checkpoints and studies."
    monkeypatch.chdir(hostile.write_inputs(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_a_hostile_command_line_costs_one_line(hostile, odd_files, capsys):
    findings = hostile.Findings()
    hostile.try_commands(odd_files, findings, every=int(os.environ.get("HOSTILE_EVERY", "4")))
    with capsys.disabled():
        print(f"\n{findings.tried} hostile command lines")
    assert not findings.wrong


@pytest.mark.slow
def test_a_wrong_argument_is_named(hostile, odd_files, capsys):
    findings = hostile.Findings()
    hostile.try_functions(findings, odd_files, every=int(os.environ.get("HOSTILE_EVERY", "16")))
    with capsys.disabled():
        print(f"\n{findings.tried} calls with a wrong argument")
    assert not findings.wrong


def test_the_script_sees_what_is_wrong(hostile):
    def silent(count=1):
        return len(count)

    (bare,) = hostile.problems_of_call(silent, dict(count=""), "count", 3)
    assert "names no argument: TypeError" in bare
    assert "exit code 1" in next(hostile.problems_of(1, "", "lensllm: unexpected KeyError"))
    assert any("control" in each for each in hostile.problems_of(0, "\x1b[31m", ""))


@pytest.mark.parametrize("wait", [False, True], ids=["it works", "it waits"])
def test_what_does_not_end_is_a_hang(hostile, monkeypatch, wait):
    monkeypatch.setattr(hostile, "LIMIT", 0.2)
    with pytest.raises(hostile.Hang), hostile.alarm():
        while True:
            time.sleep(0.01 * wait)
