"The top level: every name resolves, the stub says the same, and old paths name the new ones."

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import lensllm
import pytest

NAMES = {
    "CurveSet",
    "LAWS",
    "SELECTORS",
    "Study",
    "TellCallback",
    "as_selector",
    "benchmark_names",
    "certify",
    "compare",
    "fit_law",
    "load_benchmark",
    "load_curves",
    "load_task",
    "ntk_gram",
    "plan",
    "plot_compare",
    "plot_forecast",
    "plot_predictions",
    "rank",
    "simulate",
}
PACKAGES = {
    "curves",
    "forecast",
    "choose",
    "models",
    "kernels",
    "generalization",
    "tune",
    "report",
    "cli",
}


def test_the_top_level_shows_names_and_packages_and_nothing_else():
    assert set(dir(lensllm)) == set(lensllm.__all__) == NAMES | PACKAGES


@pytest.mark.parametrize("name", sorted(NAMES | PACKAGES))
def test_every_name_resolves(name):
    assert getattr(lensllm, name) is not None


@pytest.mark.parametrize(
    "module, name", [(module, name) for module in lensllm._NAMES for name in lensllm._NAMES[module]]
)
def test_every_name_is_that_of_its_module(module, name):
    home = importlib.import_module(f"lensllm.{module}")
    assert getattr(lensllm, name) is getattr(home, name)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_name_of_a_package_resolves(package):
    package = importlib.import_module(f"lensllm.{package}")
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_the_stub_for_editors_has_the_same_names():
    stub = Path(lensllm.__file__).with_suffix(".pyi")
    packages, names = [], {}
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            imported = [alias.name for alias in node.names]
            if node.module is None:
                packages += imported
            else:
                names.setdefault(node.module, []).extend(imported)
    assert sorted(packages) == sorted(lensllm._PACKAGES)
    assert {m: sorted(n) for m, n in names.items()} == {
        m: sorted(n) for m, n in lensllm._NAMES.items()
    }


def test_the_version_is_known():
    assert re.match(r"\d+\.\d+", lensllm.__version__)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(AttributeError, match="has no 'LearningCurve'; it offers CurveSet"):
        lensllm.LearningCurve  # noqa: B018


@pytest.mark.parametrize("old, new", lensllm._MOVED.items())
def test_an_old_module_path_names_the_new_one(old, new):
    message = re.escape(f"`lensllm.{old}` is now `lensllm.{new}`")
    with pytest.raises(ModuleNotFoundError, match=message):
        importlib.import_module(f"lensllm.{old}")
    if old not in NAMES:  # `simulate` was a module and is a function
        with pytest.raises(AttributeError, match=message):
            getattr(lensllm, old)


@pytest.mark.parametrize("new", sorted(set(lensllm._MOVED.values())))
def test_the_new_path_of_a_module_exists(new):
    importlib.import_module(f"lensllm.{new}")


def test_importing_loads_nothing_heavy():
    code = "import lensllm, sys; dir(lensllm); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "pandas", "matplotlib", "lmfit"}
    assert not heavy & set(done.stdout.split())


def test_rank_and_plan_are_one_call():
    ranking = lensllm.rank("flan", target=1_000_000, seen=3200)
    assert ranking.target == 1_000_000
    curves = lensllm.load_curves("flan")
    assert lensllm.rank(curves, target=1_000_000, seen=3200).best == ranking.best
    assert lensllm.plan(curves, "2%", up_to=800).target == max(curves.sizes)
