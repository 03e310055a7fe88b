"Names that leave the library do no harm, and come back as they were."

import pytest
from lensllm._internal.text import guarded_cell, shortened, unguarded_cell, visible


@pytest.mark.parametrize(
    "text, shown",
    [
        ("gpt2", "gpt2"),
        ("naïve Übung 模型 👩‍💻", "naïve Übung 模型 👩‍💻"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("a\x00\x7f\x9b", r"a\x00\x7f\x9b"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("a\u2028b\u2029\ufeff", r"a\u2028b\u2029\ufeff"),
        ("a\udc80", r"a\udc80"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert visible(text) == shown
    visible(text).encode()  # so that it can be written anywhere


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
@pytest.mark.parametrize("apostrophes", ["", "'", "''"])
def test_a_cell_that_begins_a_formula_comes_back(start, apostrophes):
    cell = f"{apostrophes}{start}cmd|' /C calc'!A0"
    assert guarded_cell(cell) == f"'{cell}"
    assert unguarded_cell(guarded_cell(cell)) == cell


@pytest.mark.parametrize("cell", ["gpt2", "'gpt2", "a=b", "", -1.5, None])
def test_other_cells_stay(cell):
    assert guarded_cell(cell) == unguarded_cell(cell) == cell


def test_long_texts_keep_both_ends():
    text = shortened("a" * 500 + "z" * 500, 30)
    assert len(text) == 30 and text[0] == "a" and text[-1] == "z"


def test_a_figure_shows_no_control_character(recwarn):
    import matplotlib.pyplot as plt
    from lensllm._internal.text import escape_figure

    figure, axes = plt.subplots()
    axes.plot([0, 1], label="a\x1bb")
    axes.legend()
    axes.annotate("a\x1bb", (0, 0))
    axes.set_title("two\nlines\x07")
    axes.set_xticks([0, 1], ["a\x1bb", "c"])
    escape_figure(figure)
    figure.draw_without_rendering()
    texts = [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "set_text"))]
    assert texts.count(r"a\x1bb") >= 3
    assert not any("\x1b" in text for text in texts)
    assert r"two" + "\n" + r"lines\x07" in texts
    assert not recwarn.list
    plt.close(figure)
