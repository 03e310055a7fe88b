"Reading a study costs a moment: its modules load neither torch nor transformers."

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "datasets", "accelerate", "peft"}


@pytest.mark.parametrize("module", ["study", "store", "recipe", "workers", "tasks"])
def test_module_is_light(module):
    code = f"import sys, lensllm.tune.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY
