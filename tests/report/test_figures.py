"Figures over several objects: what they draw, and what they refuse."

import re

import numpy as np
import pytest
from lensllm._internal.style import series_looks, short_name
from lensllm.choose.selectors import as_selector, compare
from lensllm.curves.table import load_benchmark
from lensllm.report.figures import plot_compare, plot_predictions
from matplotlib.colors import same_color
from matplotlib.figure import Figure

METHODS = ["zeroshot", "modelsize", "subtuning", "ats"]


@pytest.fixture(scope="module")
def flan():
    return load_benchmark("flan")


@pytest.fixture(scope="module")
def table(flan):
    return compare(METHODS, [flan])


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.fixture(scope="module")
def ranking(flan):
    return as_selector("ats").rank(flan.up_to(12800), 1638400)


def refused(text):
    return pytest.raises(ValueError, match=re.escape(text))


def test_each_method_has_its_name_at_its_line(table, ax):
    plot_compare(table, ax=ax)
    assert [text.get_text() for text in ax.texts] == METHODS


def test_lines_are_the_figures_of_the_table(table, ax):
    plot_compare(table, ax=ax)
    expected = table[table.method == "ats"].pearson
    np.testing.assert_allclose(ax.lines[3].get_ydata(), expected)


def test_what_was_seen_grows_to_the_right(table, ax):
    plot_compare(table, ax=ax)
    assert ax.get_xlim()[0] > ax.get_xlim()[1]


def test_the_axis_names_the_metric_and_its_unit(table, ax):
    plot_compare(table, ax=ax)
    assert ax.get_ylabel() == "Pearson correlation (%)"


def test_a_method_looks_as_on_every_page(table, ax):
    plot_compare(table, ax=ax)
    for method, line in zip(METHODS, ax.lines, strict=True):
        look = series_looks([method])[method]
        assert same_color(line.get_color(), look["color"])
        assert line.get_marker() == look["marker"]


def test_only_highlighted_methods_are_coloured(table, ax):
    plot_compare(table, highlight=["ats"], ax=ax)
    colours = [line.get_color() for line in ax.lines]
    assert colours[0] == colours[1] == colours[2] != colours[3]


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(metric="accuracy"), "`metric` must be one of pearson"),
        (dict(highlight=["atz"]), "got 'atz'"),
        (dict(highlight=METHODS + METHODS), "at most 6 methods"),
    ],
)
def test_a_comparison_with_a_mistake_is_refused(table, options, message):
    with refused(message):
        plot_compare(table, **options)


def test_points_are_the_predictions(flan, ranking, ax):
    plot_predictions(ranking, flan.at(1638400), ax=ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), ranking.frame.predicted_loss)


def test_the_chosen_model_is_named(flan, ranking, ax):
    plot_predictions(ranking, flan.at(1638400), ax=ax)
    assert ax.texts[0].get_text() == f"chosen: {short_name(ranking.best)}"


def test_a_method_without_predictions_is_refused(flan):
    with refused("zeroshot gives scores only"):
        plot_predictions(as_selector("zeroshot").rank(flan, 1638400), flan.at(1638400))
