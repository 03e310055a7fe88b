"Commands that only read a table or a study load neither torch nor transformers."

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "datasets", "peft", "accelerate"}
LOADED = """
import sys
from lensllm.cli.app import exit_code
code = exit_code(sys.argv[1:])
print("LOADED", *sys.modules)
sys.exit(code)
"""


@pytest.fixture
def loaded():
    "The modules that a call loads, in a process of its own."

    def modules(*args):
        run = subprocess.run(
            [sys.executable, "-c", LOADED, *map(str, args)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return set(run.stdout.rpartition("LOADED")[2].split())

    return modules


@pytest.mark.parametrize(
    "line",
    [
        "select mine.csv --target 12800",
        "select flan --seen 800 --plot light.png",
        "plan three.csv --budget 5% --target 12800",
        "simulate flan --policy halving --plot light_replay.png",
        "compare short.csv --method ats --plot light_compare.png",
        "fit mine.csv --model big --plot light_fit.png",
        "learn mine.csv --out light.json",
        "data mine.csv",
        "zoo",
    ],
)
def test_a_command_on_tables_stays_light(loaded, in_tables, line):
    modules = loaded(*line.split())
    assert "pandas" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize(
    "line",
    [
        "plan STUDY",
        "plan STUDY --budget 40%",
        "plan STUDY --must-see small --price-per-hour 2",
        "tell STUDY small 400 2.9",
        "tell STUDY small 200 --forget",
        "status STUDY",
        "status STUDY --price-per-hour 2",
        "report STUDY",
    ],
)
def test_a_command_on_a_study_stays_light(loaded, study, line):
    modules = loaded(*(study if word == "STUDY" else word for word in line.split()))
    assert "lensllm.tune.study" in modules
    assert not modules & HEAVY


def test_beginning_a_study_of_runs_elsewhere_stays_light(loaded, tmp_path):
    modules = loaded("plan", tmp_path / "study", "--candidate", "a=1e6", "--candidate", "b=1e7")
    assert not modules & HEAVY
