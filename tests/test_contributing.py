"The map in CONTRIBUTING leads to places that exist."

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ANSWERS = re.findall(r"\? \| `([\w.]+)` \|", TEXT)


def test_there_are_ten_questions():
    assert len(ANSWERS) == 10


@pytest.mark.parametrize("path", ANSWERS)
def test_answer_is_a_documented_name(path):
    package, module, *names = path.split(".")
    found = importlib.import_module(f"lensllm.{package}.{module}")
    for name in names:
        found = getattr(found, name)
    assert found.__doc__


@pytest.mark.parametrize("page", sorted(set(re.findall(r"`(nbs/[a-z0-9_/]+\.ipynb)`", TEXT))))
def test_page_exists(page):
    assert (ROOT / page).is_file()


def test_every_package_is_on_the_map():
    rows = re.findall(r"^\| `(\w+)` \|", TEXT, re.M)
    folders = {p.name for p in (ROOT / "lensllm").iterdir() if (p / "__init__.py").is_file()}
    assert set(rows) == folders
