"What must not move unless CHANGELOG says so: a quick part of the figures on record."

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "tools"))
from record import moved, of_models, of_tables, on_record

QUICK = ["posterior", "plan", "simulate", "ats", "fit flan rectified", "fit mini"]
RECORDED = on_record()
TABLES = {name: make for name, make in of_tables().items() if any(q in name for q in QUICK)}


@pytest.mark.parametrize("name", TABLES)
def test_figure_of_a_table_is_as_on_record(name):
    assert not moved(name, TABLES[name](), RECORDED)


@pytest.mark.slow
@pytest.mark.parametrize("name", of_models())
def test_figure_of_a_model_is_as_on_record(name):
    assert not moved(name, of_models()[name](), RECORDED)


def test_every_figure_is_on_record():
    assert RECORDED.keys() == (of_tables() | of_models()).keys()


def test_a_figure_that_moves_is_named():
    figure = RECORDED["plan flan 200"]
    changed = {**figure, "budget_fraction": figure["budget_fraction"] * 1.01}
    assert moved("plan flan 200", changed, RECORDED) == [
        "plan flan 200.budget_fraction: 0.3 on record, now 0.303"
    ]
