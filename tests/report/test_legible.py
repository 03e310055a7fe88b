"Every figure that the library draws can be read: nothing is cut, covered or without a name."

from itertools import combinations

import numpy as np
import pytest
from lensllm._internal.style import message, new_axes, raw_ticks, shades, shared_legend
from lensllm.choose.amounts import plot_gain, plot_needed
from lensllm.choose.replay import simulate
from lensllm.choose.selectors import as_selector, compare
from lensllm.curves.table import CurveSet, load_benchmark
from lensllm.forecast.fit import fit_law
from lensllm.forecast.laws import RECTIFIED, VANILLA
from lensllm.forecast.posterior import fit_posterior
from lensllm.report.figures import plot_compare, plot_forecast, plot_predictions
from matplotlib.collections import PolyCollection
from matplotlib.pyplot import close
from matplotlib.text import Text

ROUNDING = 1.0  # pixels by which boxes may touch


def texts_of(figure):
    "The texts that are seen, with their boxes in pixels."
    renderer = figure.canvas.get_renderer()
    found = []
    for ax in figure.axes:
        legend = ax.get_legend()
        texts = [*ax.texts, ax.xaxis.label, ax.yaxis.label]
        texts += [ax.title, ax._left_title, ax._right_title]
        texts += legend.get_texts() if legend else []
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            texts += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
        found += [text for text in texts if text.get_visible() and text.get_text().strip()]
    found += figure.texts
    if figure._suptitle is not None and figure._suptitle not in found:
        found.append(figure._suptitle)
    return [(text, Text.get_window_extent(text, renderer)) for text in found]  # without an arrow


def faults(figure):
    "What cannot be read in a figure, a line each."
    figure.canvas.draw()
    out, boxes = [], texts_of(figure)
    for (text, box), (other, other_box) in combinations(boxes, 2):
        width = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
        height = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
        if width > ROUNDING and height > ROUNDING:
            out.append(f"{text.get_text()!r} lies over {other.get_text()!r}")
    for ax in figure.axes:
        out += faults_of_axes(ax)
    return out


def faults_of_axes(ax):
    "Bands and points that are cut, a legend over points, an axis without a name."
    out, view = [], ax.viewLim
    points = [line for line in ax.lines if line.get_marker() not in ("", "None", None)]
    points = [line for line in points if line.get_transform() == ax.transData]
    for line in points:
        x, y = (np.asarray(values, float) for values in line.get_data())
        there = np.isfinite(x) & np.isfinite(y)
        inside = (view.x0 <= x) & (x <= view.x1) | (view.x1 <= x) & (x <= view.x0)
        inside &= (view.y0 <= y) & (y <= view.y1) | (view.y1 <= y) & (y <= view.y0)
        if (there & ~inside).any():
            out.append(f"{(there & ~inside).sum()} points of {line.get_label()} lie outside")
    for band in ax.collections:
        if isinstance(band, PolyCollection):
            corners = np.concatenate([path.vertices for path in band.get_paths()])
            low, high = corners[:, 1].min(), corners[:, 1].max()
            if low < min(view.y0, view.y1) or high > max(view.y0, view.y1):
                out.append(f"a band from {low:.3g} to {high:.3g} is cut")
    legend = ax.get_legend()
    if legend is not None:
        box = legend.get_window_extent()
        for line in points:
            places = ax.transData.transform(np.column_stack(line.get_data()))
            if any(box.contains(*place) for place in places if np.isfinite(place).all()):
                out.append(f"the legend covers points of {line.get_label()}")
    categories = [label.get_text() for label in ax.get_yticklabels()]
    if (
        ax.axison
        and not ax.get_ylabel()
        and not any(name.strip("−-0123456789.,") for name in categories)
    ):
        out.append("the vertical axis has no name")
    if ax.axison and not ax.get_xlabel() and ax.get_label() != "<colorbar>":
        out.append("the horizontal axis has no name")
    return out


def ranking(task, method="posterior", seen=12800):
    "A ranking and the complete curves."
    curves = load_benchmark(task)
    return as_selector(method).rank(curves.up_to(seen), max(curves.sizes)), curves


def long_names():
    "Three candidates with names as long as a hub's."
    sizes = [100, 200, 400, 800, 1600]
    rows = [
        (
            f"organisation/A-Rather-Long-Name-of-a-Model-{k}B-Instruct",
            size,
            2 + k / 10 + 9 / size**0.4,
        )
        for k in (1, 2, 3)
        for size in sizes
    ]
    return CurveSet([dict(task="mine", model=m, train_size=D, test_loss=x) for m, D, x in rows])


@pytest.fixture(scope="module")
def post():
    return fit_posterior(load_benchmark("flan").up_to(12800), 1638400)


def fitted(law, task="flan", last=12800):
    return fit_law(law, *load_benchmark(task).up_to(last).curve("gpt2"))


DRAWN = {
    "curves": lambda: load_benchmark("gigaword").plot(),
    "curves highlighted": lambda: load_benchmark("flan").plot(highlight=["gpt2", "gpt2-medium"]),
    "rectified law": lambda: fitted(RECTIFIED).plot(1638400),
    "vanilla law": lambda: fitted(VANILLA).plot(1638400),
    "ranking": lambda: ranking("flan")[0].plot(top=1),
    "ranking and truth": lambda: ranking("gigaword")[0].plot(load_benchmark("gigaword")),
    "ranking of six": lambda: ranking("flan")[0].plot(load_benchmark("flan"), top=6),
    "ranking of errors": lambda: ranking("pet/boolq", seen=3200)[0].plot(top=3),
    "ranking by lines": lambda: ranking("flan", "ats")[0].plot(load_benchmark("flan")),
    "ranking of long names": lambda: as_selector("ats").rank(long_names(), 6400).plot(),
    "race": lambda: simulate("race", "flan", "2%").plot(),
    "halving": lambda: simulate("halving", "flan", "2%").plot(),
    "uniform": lambda: simulate("uniform", "gigaword", "2%").plot(),
    "compare": lambda: plot_compare(compare(["zeroshot", "subtuning", "ats"], ["flan"])),
    "predictions": lambda: plot_predictions(*predictions("posterior")),
    "predictions by lines": lambda: plot_predictions(*predictions("ats")),
    "forecast": lambda: plot_forecast(*ranking("flan"))[0],
    "forecast of six": lambda: plot_forecast(*ranking("gigaword"), top=6)[0],
    "forecast of errors": lambda: plot_forecast(*ranking("pet/boolq", seen=3200))[0],
}


def kernel(rows=16):
    "A kernel of two kinds of rows."
    from lensllm.kernels.ntk import Kernel

    rng = np.random.default_rng(0)
    kinds = np.repeat([[3.0, 0.0], [0.0, 3.0]], rows // 2, axis=0)
    rows = np.hstack([kinds, rng.normal(size=(len(kinds), 60)) / np.arange(1, 61)])
    said = dict(output="loss", params="all", method="exact", error=0.0, sweeps=1.0)
    return Kernel(K=rows @ rows.T, P=9_152, **said)


def kernel_and_spectrum():
    "What `lensllm ntk --plot` draws."
    from lensllm.cli.models import _kernel_and_spectrum

    return _kernel_and_spectrum(kernel())


def kernel_spectrum():
    from lensllm.kernels.spectra import spectrum

    return spectrum(kernel(64).K).plot()


def learning_curve():
    from lensllm.kernels.dynamics import plot_learning_curve

    D = np.geomspace(2, 256, 30)
    measured = dict(at=D[[5, 15, 25]], measured=9 / D[[5, 15, 25]], stderr=0.3 / D[[5, 15, 25]])
    return plot_learning_curve(D, 9 / D, **measured)


def density():
    from lensllm.generalization.curvature import Density

    nodes = np.random.default_rng(0).normal(2, 3, (4, 20))
    return Density(nodes, np.full((4, 20), 0.05), 1256, 80).plot()


DRAWN |= {
    "kernel": lambda: kernel().plot(ax=None),
    "kernel and spectrum": kernel_and_spectrum,
    "spectrum": kernel_spectrum,
    "learning curve": learning_curve,
    "density of eigenvalues": density,
}


def predictions(method):
    found, curves = ranking("flan", method)
    return found, curves.at(found.target)


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_can_be_read(name):
    ax = DRAWN[name]()
    assert faults(ax.figure) == []
    close(ax.figure)


def test_a_figure_of_needed_sizes_can_be_read(post):
    ax = plot_needed(post, 1.7, unit="nats/token")
    assert faults(ax.figure) == []
    assert "1.7 nats/token" in ax.get_title(loc="left")
    close(ax.figure)


def test_a_legend_covers_no_line_of_needed_sizes():
    post = fit_posterior(load_benchmark("pet/boolq").up_to(3200), 320_000)
    ax = plot_needed(post, 0.2, unit="error rate")
    ax.figure.canvas.draw()
    assert not ax.get_legend().get_window_extent().overlaps(ax.get_window_extent())
    close(ax.figure)


def test_a_figure_of_gains_can_be_read(post):
    ax = plot_gain(post, 12800, 25600, unit="nats/token")
    assert faults(ax.figure) == []
    assert "(nats/token), median and 90% interval" in ax.get_xlabel()
    close(ax.figure)


def broken(fault):
    "Axes with one fault."
    ax = new_axes()
    ax.plot([1, 2, 3], [1, 2, 3], "o-", label="a line")
    ax.fill_between([1, 2, 3], [0, 1, 2], [2, 3, 4])
    ax.set(xlabel="x", ylabel="y")
    if fault == "is cut":
        ax.set_ylim(0.5, 5)
    if fault == "lie outside":
        ax.set_xlim(1.5, 4)
    if fault == "lies over":
        ax.text(2, 3.5, "first")
        ax.text(2, 3.5, "second")
    if fault == "the legend covers":
        ax.legend(loc="center")
    if fault == "has no name":
        ax.set_ylabel("")
    return ax


@pytest.mark.parametrize(
    "fault", ["is cut", "lie outside", "lies over", "the legend covers", "has no name"]
)
def test_a_fault_is_seen(fault):
    ax = broken(fault)
    assert any(fault in said for said in faults(ax.figure))
    close(ax.figure)


def test_a_sound_figure_has_no_fault():
    ax = broken("none")
    assert faults(ax.figure) == []
    close(ax.figure)


@pytest.mark.parametrize(
    "low, high, numbers",
    [
        (30, 70_000, ["100", "1,000", "10,000"]),
        (0.001, 1, ["0.001", "0.01", "0.1", "1"]),
        (1e5, 1e7, ["100,000", "1M", "10M"]),
    ],
)
def test_a_logarithmic_axis_has_raw_numbers(low, high, numbers):
    ax = new_axes()
    ax.set(xscale="log", xlim=(low, high))
    raw_ticks(ax)
    ax.figure.canvas.draw()
    written = [label.get_text() for label in ax.get_xticklabels()]
    assert set(numbers) <= set(written)
    assert not any("$" in text for text in written)
    close(ax.figure)


def test_panels_wrap_and_have_one_message():
    axs = new_axes(3, columns=2)
    message(axs, "what they say")
    figure = axs[0].figure
    assert len(axs) == len(figure.axes) == 3
    assert figure.get_size_inches()[0] == pytest.approx(2 * 5.6)
    assert figure.get_suptitle() == "what they say"
    close(figure)


@pytest.mark.parametrize("panels", [2, 3])
def test_panels_share_one_legend_that_covers_none(panels):
    axs = new_axes(panels, columns=2, size=(3.5, 2.5))
    for ax in axs:
        ax.plot([1, 2], [1, 2], "o-", label="a line")
        ax.set(xlabel="x", ylabel="y")
    shared_legend(axs)
    figure = axs[0].figure
    assert faults(figure) == []
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not any(box.overlaps(ax.get_window_extent()) for ax in axs)
    close(figure)


def test_shades_go_from_light_to_dark():
    light = [sum(colour) for colour in shades(9)]
    assert light == sorted(light, reverse=True)
    assert shades(0) == []
