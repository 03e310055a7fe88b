"What `make` says while it installs, and what `make demo` says at its end."

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
INSTALL = ROOT / "tools" / "install.py"

spec = importlib.util.spec_from_file_location("install", INSTALL)
install = importlib.util.module_from_spec(spec)
spec.loader.exec_module(install)


@pytest.mark.parametrize(
    "line, said",
    [
        (
            "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (190.5 MB)",
            "downloading torch 2.13.0, 190.5 MB",
        ),
        (
            "Using cached https://files.example/a/b/scipy-1.17.1-cp311-none-any.whl (35.3 MB)",
            "using cached scipy 1.17.1, 35.3 MB",
        ),
        ("  Downloading ray-2.60.0.tar.gz (1.2 GB)", "downloading ray 2.60.0, 1.2 GB"),
        ("  Downloading six-1.17.0-py2.py3-none-any.whl (11 kB)", None),
        ("  Downloading six-1.17.0-py2.py3-none-any.whl.metadata (1.7 kB)", None),
        ("Installing collected packages: mpmath, zipp, lensllm", "unpacking 3 packages"),
        ("Collecting torch>=2.8 (from lensllm==0.1.0)", None),
    ],
)
def test_a_step_of_pip_in_words(line, said):
    assert install.step(line) == said


def test_a_failed_installation_fails():
    words = [sys.executable, INSTALL, "--no-index", "./nowhere-at-all"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "nowhere-at-all" in done.stderr
    assert "done after" not in done.stdout


@pytest.fixture(scope="module")
def demo():
    "The commands of `make demo`, in order."
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    words = ["make", "--dry-run", "--always-make", "demo"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def test_the_demo_says_that_it_installs_before_it_does(demo):
    assert demo.index("Installing lensllm") < demo.index("tools/install.py")


def test_the_demo_ends_with_what_to_type(demo):
    last = demo[demo.index("Type next") :]
    assert ". .venv/bin/activate" in last
    assert "lensllm select losses.csv" in last
