"The house style: axes, looks, names and labels."

import numpy as np
import pytest
from lensllm._internal.style import (
    SERIES,
    label_ends,
    loss_axes,
    palette,
    series_looks,
    short_name,
    spread,
)
from matplotlib.figure import Figure


@pytest.fixture
def axes():
    return loss_axes(Figure().subplots())


def test_losses_and_examples_are_drawn_on_log_scales(axes):
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_the_unit_stands_on_the_axis(axes):
    assert axes.get_ylabel() == "test loss (nats)"


@pytest.mark.parametrize("n", [0, 7])
def test_a_palette_has_one_to_six_colours(n):
    with pytest.raises(ValueError, match=r"`n` must lie in 1\.\.6"):
        palette(n)


def test_a_name_looks_the_same_whatever_else_is_drawn():
    every = series_looks(list(SERIES))
    for name in SERIES:
        assert series_looks(["mine", name])[name] == every[name]


@pytest.mark.parametrize(
    "names",
    [
        ["posterior", "ats", "rectifiedfit", "subtuning", "zeroshot", "nlpmetrics"],
        ["zeroshot", "modelsize", "subtuning", "ats", "vanillafit", "rectifiedfit"],
        ["race", "uniform", "halving", "subtuning", "hyperband", "full"],
        ["rectified", "vanilla", "pow4", "bnsl", "m4", "mmf4"],
    ],
)
def test_lines_that_share_a_figure_differ_in_colour_and_marker(names):
    looks = series_looks(names).values()
    assert len({look["color"] for look in looks}) == len(names)
    assert len({look["marker"] for look in looks}) == len(names)


def test_other_names_get_looks_that_are_free():
    looks = series_looks(["mine", "posterior", "yours", "ats"])
    assert len({look["color"] for look in looks.values()}) == 4
    assert len({look["marker"] for look in looks.values()}) == 4


def test_every_method_policy_and_law_has_a_look():
    from lensllm.choose.policies import POLICIES
    from lensllm.choose.selectors import SELECTORS
    from lensllm.forecast.laws import LAWS

    assert {*SELECTORS, *POLICIES, *LAWS} <= set(SERIES)


@pytest.mark.parametrize(
    "model, name",
    [
        ("facebook/opt-1.3b", "opt-1.3b"),
        ("gpt2", "gpt2"),
        ("<b>bold</b> x", "<b>bold</b> x"),
        ("a/b/c", "a/b/c"),
    ],
)
def test_only_an_organisation_is_left_out_of_a_name(model, name):
    assert short_name(model) == name


@pytest.mark.parametrize(
    "wanted, gap, placed",
    [
        ([0, 10], 1, [0, 10]),  # already apart
        ([5, 5, 5], 1, [4, 5, 6]),  # a tie
        ([1.0, 0.9, 5], 0.5, [1.2, 0.7, 5]),  # two touch, one does not
        ([], 1, []),
    ],
)
def test_labels_move_no_further_than_needed(wanted, gap, placed):
    np.testing.assert_allclose(spread(wanted, gap), placed)


def test_no_label_lies_over_another(axes):
    axes.plot([200, 1_638_400], [3, 1.2])
    label_ends(axes, 1_638_400, [1.2, 1.201, 1.202], "abc", palette(3))
    heights = sorted(axes.transData.transform(text.xy)[1] for text in axes.texts)
    assert np.diff(heights).min() > 8 * axes.figure.dpi / 72  # 8 points


def test_no_label_lies_below_the_axis(axes):
    axes.plot([200, 1_638_400], [3, 1.2])
    axes.set_ylim(1.2, 3)
    label_ends(axes, 1_638_400, [1.2, 1.2], "ab", palette(2))
    heights = [axes.transData.transform(text.xy)[1] for text in axes.texts]
    assert min(heights) >= axes.bbox.ymin
