"Tables for people, JSON and CSV for programs."

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from lensllm.cli.output import Output, json_rows, progress_bar, probability, show_table

ROWS = pd.DataFrame(dict(model=["[bold]a", "b"], loss=[1.25, float("nan")]))


def test_a_table_in_a_pipe_is_plain_and_complete(capsys):
    show_table(ROWS, "losses", dict(loss=".1f"))
    title, head, first, second = capsys.readouterr().out.splitlines()
    assert title == "losses"
    assert head.split() == ["model", "loss"]
    assert first.split() == ["[bold]a", "1.2"]
    assert second.split() == ["b", "–"]


def test_a_table_on_a_terminal_keeps_names_that_look_like_markup(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_table(ROWS, "losses", dict(loss=".1f"))
    assert "[bold]a" in capsys.readouterr().out


def test_an_empty_table_says_so(capsys):
    show_table(ROWS[:0], "losses", {})
    assert capsys.readouterr().out == "losses\n(none)\n"


@pytest.mark.parametrize(
    "asked, message",
    [
        (dict(as_json=True, as_csv=True), "`--json` and `--csv` exclude each other; choose one"),
        (dict(table=Path("x.txt")), "`--out` must end in .csv, .json, got x.txt"),
        (dict(figure=Path("x.bmp")), "`--plot` must end in .png, .svg, .pdf, got x.bmp"),
    ],
)
def test_what_cannot_be_written_is_refused_at_once(asked, message):
    with pytest.raises(ValueError) as refused:
        Output(**asked)
    assert str(refused.value) == message


def test_json_and_csv_take_all_of_standard_output(capsys):
    rows = ROWS.fillna(0)
    assert Output(as_json=True).write(rows, dict(n=1))
    assert capsys.readouterr().out == '{\n "n": 1\n}\n'
    assert Output(as_csv=True).write(rows, dict(n=1))
    assert capsys.readouterr().out == "model,loss\n[bold]a,1.25\nb,0.0\n"
    assert not Output().write(rows, dict(n=1))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["t.csv", "t.json"])
def test_a_file_is_written_beside_and_announced(tmp_path, capsys, name):
    assert not Output(table=tmp_path / name).write(ROWS, dict(n=1))
    text = (tmp_path / name).read_text()
    assert text == (ROWS.to_csv(index=False) if name == "t.csv" else '{\n "n": 1\n}\n')
    assert capsys.readouterr().err == f"table: {tmp_path / name}\n"


def test_a_figure_is_drawn_only_where_it_is_asked_for(tmp_path, capsys):
    import matplotlib.pyplot as plt

    drawn = []

    def axes():
        drawn.append(plt.subplots()[1])
        return drawn[-1]

    Output().draw(axes)
    assert not drawn
    Output(figure=tmp_path / "f.svg").draw(axes)
    assert (tmp_path / "f.svg").read_text().startswith("<?xml")
    assert not plt.fignum_exists(drawn[0].figure.number)
    assert capsys.readouterr().err == f"figure: {tmp_path / 'f.svg'}\n"


def test_what_json_cannot_hold_becomes_null():
    rows = pd.DataFrame(dict(n=[1, 2], x=[float("inf"), float("nan")], why=["text", None]))
    assert json_rows(rows) == [
        dict(n=1, x=None, why="text"),
        dict(n=2, x=None, why=None),
    ]
    json.dumps(json_rows(rows), allow_nan=False)


def test_nothing_moves_where_nobody_watches():
    items = [1, 2]
    assert progress_bar(items, "work") is items


@pytest.mark.parametrize(
    "value, text", [(0.0, "<.001"), (0.0004, "<.001"), (0.741, "0.741"), (1.0, ">.999")]
)
def test_a_table_never_says_that_something_is_certain(value, text):
    assert probability(value) == text
