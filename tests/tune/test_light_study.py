"Reading a study costs a moment: none of the commands that do so loads torch or transformers."

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "datasets", "accelerate", "peft"}
SCRIPT = """
import sys
from lensllm.cli.commands import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sys.modules)
"""


def modules_after(script, *args):
    "Names of all modules that a fresh interpreter has loaded when it has run a script."
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, args)], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split("LOADED")[1].split())


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    "A study of two candidates whose runs are made elsewhere, with the first results entered."
    from lensllm.tune.study import new_study

    folder = tmp_path_factory.mktemp("told") / "study"
    study = new_study(
        folder, task="mine", candidates=dict(a=1_000_000, b=2_000_000), target=6400, budget=0.1
    )
    for model, loss in (("a", 3.0), ("b", 2.9)):
        study.tell(model, 100, loss)
        study.tell(model, 200, loss - 0.1)
    study.store.close()
    return folder


@pytest.mark.parametrize("module", ["study", "store", "recipe", "workers", "tasks"])
def test_module_is_light(module):
    loaded = modules_after(f"import sys, lensllm.tune.{module}\nprint('LOADED', *sys.modules)")
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "command",
    [
        ["status", "STUDY"],
        ["plan", "STUDY"],
        ["tell", "STUDY", "a", "100", "3.0"],
        ["report", "STUDY"],
    ],
    ids=lambda command: command[0],
)
def test_command_on_a_study_is_light(told, command):
    loaded = modules_after(SCRIPT, *[told if word == "STUDY" else word for word in command])
    assert not loaded & HEAVY


def test_beginning_a_study_of_runs_made_elsewhere_is_light(tmp_path):
    loaded = modules_after(
        SCRIPT, "plan", tmp_path / "new", "--candidate", "a=1000000", "--candidate", "b=2000000",
        "--target", 6400, "--budget", "10%",
    )  # fmt: skip
    assert not loaded & HEAVY


def test_status_and_tell_do_not_load_scipy(told):
    assert "scipy" not in modules_after(SCRIPT, "status", told)
    assert "scipy" not in modules_after(SCRIPT, "tell", told, "a", 100, "3.0")
