"The figures of a report: nothing of the choice is cut, and every point says what it is."

import re
from xml.etree import ElementTree

import pytest
from lensllm.choose.selectors import rank
from lensllm.report.charts import curve_chart, training_chart


@pytest.fixture(scope="module")
def ranking():
    "Far ahead, so that bands are wide."
    return rank("flan", 1_638_400, seen=1_600)


@pytest.fixture(scope="module")
def chart(ranking):
    colours = dict(zip(ranking.frame.model, ["#0173b2", "#de8f05", "#029e73"]))
    return ElementTree.fromstring(curve_chart(ranking, colours))


def heights(group):
    "Where the corners of an area lie, counted from the top of the figure."
    path, use = group.find(".//path"), group.find(".//use")
    offset = 0.0 if use is None else float(use.get("y"))
    return [offset + float(y) for y in re.findall(r"[ML] \S+ (\S+)", path.get("d"))]


def test_the_band_of_the_choice_is_not_cut(chart, ranking):
    (rect,) = chart.iter("rect")
    top = float(rect.get("y"))
    bottom = top + float(rect.get("height"))
    bands = [
        heights(group)
        for group in chart.findall(".//g[@data-group='0']")
        if "of the probability" in group.findtext("title", "")
    ]
    assert len(bands) == 2
    assert top < min(map(min, bands)) and max(map(max, bands)) < bottom


def test_each_candidate_is_a_group_with_its_points_and_prediction(chart, ranking):
    for k, model in enumerate(ranking.frame.model):
        titles = [
            title.text
            for group in chart.findall(f".//g[@data-group='{k}']")
            for title in group.iter("title")
        ]
        assert model in titles
        assert any(text.startswith(f"{model}: ") and "800 examples" in text for text in titles)
        assert sum("predicted for 1,638,400" in text for text in titles) == 1


def test_a_target_that_somebody_has_reached_has_bars():
    ranking = rank("flan", 12_800, seen=6_400)
    reached = rank("flan", 12_801, seen=12_800)
    for each, count in ((ranking, 2), (reached, 1)):
        svg = curve_chart(each, {each.best: "#0173b2"})
        assert svg.count("of the probability</title>") == count


@pytest.mark.parametrize("points", [True, False])
def test_a_run_is_a_line_with_or_without_points(points):
    losses = [[0, None, 3.0], [10, 2.9, 2.5], [20, 2.4, 2.6]]
    run = dict(train_size=100, losses=losses, step=10)
    svg = training_chart([run], "p", points=points)
    assert ("<title>100, step 10: 2.500</title>" in svg) == points
    assert "training loss, at last 2.400" in svg
    assert "the state of step 10 was kept" in svg


def test_a_run_without_training_is_a_point():
    svg = training_chart([dict(train_size=100, losses=[[0, None, 3.0]], step=0)], "p")
    assert "training loss" not in svg and "<title>100, step 0: 3.000</title>" in svg


@pytest.mark.parametrize(
    "run, message",
    [
        (dict(train_size=100), "`runs.* must have train_size, losses and step"),
        (dict(train_size=100, step=0, losses=[]), "must have losses of checks"),
        (dict(train_size=100, step=0, losses=[[1]]), "losses of .step, training, validation"),
    ],
)
def test_runs_need_their_checks(run, message):
    with pytest.raises(ValueError, match=message):
        training_chart([run], "p")


def test_a_colour_is_one_that_pages_know(ranking):
    with pytest.raises(ValueError, match="`colours` must give models colours"):
        curve_chart(ranking, {ranking.best: "no colour"})


def test_a_course_without_its_last_training_loss_says_the_one_before():
    course = dict(train_size=100, losses=[[0, None, 3.0], [10, 2.9, 2.8], [20, None, 2.6]])
    svg = training_chart([course | dict(step=20)], "a", points=True)
    assert "training loss, at last 2.900" in svg and "nan" not in svg
