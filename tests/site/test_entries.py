"How entries of the reference read: classes with their fields, types by their own names."

import importlib
import inspect
import pkgutil
import re
from collections import Counter
from pathlib import Path

import pytest

import lensllm
from lensllm.choose.selectors import Ranking, Selector
from lensllm.forecast.kalman import State
from lensllm.tune.study import Study

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_docs"
pytest.importorskip("nbdev", reason="nbdev is not installed")


@pytest.fixture(scope="module")
def entries():
    "The script, in use while these tests run."
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")  # it imports a neighbour
        module = importlib.import_module("entries")
        patch.setattr(module.docments, "_type_str", module.docments._type_str)  # put back after
        patch.setattr(module.showdoc, "BasicMarkdownRenderer", module.showdoc.BasicMarkdownRenderer)
        module.use()
        yield module


@pytest.mark.parametrize(
    "annotation, shown",
    [
        (Ranking, "Ranking"),
        (Ranking | None, "Ranking | None"),
        ("lensllm.curves.table.CurveSet | str", "CurveSet | str"),
        (list[Path], "list[Path]"),
        (float, "float"),
    ],
)
def test_a_type_has_its_own_name(entries, annotation, shown):
    assert entries.short_type(annotation) == shown


@pytest.mark.parametrize(
    "class_, line",
    [
        (Ranking, "level:float=0.9, # probability of the intervals low to high"),  # a dataclass
        (State, "level:numpy.ndarray, # mean of ln(loss)"),  # a named tuple
        (Study, "folder:str | Path, # made by `new_study`"),  # with an `__init__`
    ],
)
def test_a_class_shows_its_fields_with_their_meaning(entries, class_, line):
    assert f"\n    {line}" in entries.class_header(class_)


def test_a_class_without_arguments_shows_its_name_alone(entries):
    assert entries.class_header(Selector) == "class Selector"


def test_a_class_of_a_notebook_is_found_in_the_package(entries):
    of_a_notebook = type("Ranking", (), {"__qualname__": "Ranking", "__module__": "__main__"})
    assert entries.packaged(of_a_notebook) is Ranking


def public_classes():
    "All classes that users may import."
    found = pkgutil.walk_packages(lensllm.__path__, "lensllm.")
    modules = [importlib.import_module(m.name) for m in found if "._" not in m.name]
    classes = {o for m in modules for o in vars(m).values() if inspect.isclass(o)}
    own = [c for c in classes if c.__module__.startswith("lensllm.") and c.__name__[0] != "_"]
    return sorted(own, key=lambda c: c.__qualname__)


def test_no_class_hides_its_arguments(entries):
    headers = [entries.class_header(class_) for class_ in public_classes()]
    assert len(headers) > 50
    assert [h for h in headers if re.search(r"\*args|\*\*kwargs|__main__|lensllm\.", h)] == []


def test_no_page_names_a_module_of_the_notebook():
    pages = list(SITE.rglob("*.html"))
    if not pages:
        pytest.skip("the site is not built: run `make docs`")
    assert [p.name for p in pages if "__main__." in p.read_text(encoding="utf-8")] == []


def test_every_class_is_the_only_one_of_its_name():
    "Or a page could not tell whose fields it shows, and one word would mean two things."
    symbols = importlib.import_module("lensllm._modidx").d["syms"]
    names = [name.removeprefix(f"{module}.") for module in symbols for name in symbols[module]]
    classes = Counter(name for name in names if name[0].isupper() and "." not in name)
    assert [name for name, count in classes.items() if count > 1] == []
