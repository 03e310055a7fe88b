"A figure as an SVG element: its texts are texts, its ids its own, and its tooltips complete."

import re
from xml.etree import ElementTree

import pytest
from lensllm._internal.style import loss_axes
from lensllm.report.inline import Mark, inline_svg

ODD = "</text><script>alert(1)</script> ]]> \x07 \u202e \ufffe 'a' \"b\""


def curve(gid="a"):
    ax = loss_axes()
    ax.plot([100, 200, 400], [3, 2.5, 2.2], marker="o", gid=gid)
    return ax


def test_texts_of_a_figure_and_tooltips_are_texts():
    ax = curve()
    ax.set_ylabel(ODD)
    svg = inline_svg(ax, "p", ODD, dict(a=Mark(ODD, [ODD] * 3)))
    texts = [element.text for element in ElementTree.fromstring(svg).iter("title")]
    assert len(texts) == 4 and all("alert(1)" in text for text in texts)
    assert "<script" not in svg and not re.search("[\x07\u202e\ufffe]", svg)


def test_two_figures_of_a_page_share_no_id():
    first, second = (inline_svg(curve(), prefix, "curve") for prefix in ("a", "b"))
    ids = [set(re.findall(' id="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0] and not ids[0] & ids[1]
    assert first.replace('"a-', '"b-').replace("#a-", "#b-") == second


def test_styles_are_attributes():
    svg = inline_svg(curve(), "p", "curve")
    assert "style" not in svg and "font-family" not in svg
    assert 'stroke-width="' in svg and 'text-anchor="middle"' in svg


def test_a_group_keeps_its_name_around_its_artist():
    root = ElementTree.fromstring(inline_svg(curve(), "p", "curve", dict(a=Mark("it", (), "7"))))
    (group,) = root.findall(".//g[@data-group='7']")
    assert group.find("title").text == "it"
    assert len(list(group.iter("use"))) == 3


@pytest.mark.parametrize(
    "marks, message",
    [
        (dict(b=Mark("x")), "`marks` must name artists of the figure, got 'b'"),
        (dict(a=Mark("x", ["1", "2"])), "a text for each of the 3 markers of 'a', got 2"),
    ],
)
def test_marks_must_fit_the_figure(marks, message):
    with pytest.raises(ValueError, match=message):
        inline_svg(curve(), "p", "curve", marks)
