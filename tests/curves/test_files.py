"Tables in files and in Python: every cell under its header, or one line that says where not."

import dataclasses
import datetime
import gzip
from collections import namedtuple
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from lensllm.curves.files import as_frame, similar_path
from lensllm.curves.table import CurveSet, load_curves, read_table

ROWS = [
    dict(model="a", train_size=200, test_loss=3.0),
    dict(model="a", train_size=400, test_loss=2.5),
    dict(model="b", train_size=200, test_loss=3.5),
]
FRAME = pd.DataFrame(ROWS)
WIDE = FRAME.pivot(index="model", columns="train_size", values="test_loss")
Run = namedtuple("Run", "model train_size test_loss")


@dataclasses.dataclass
class Row:
    model: str
    train_size: int
    test_loss: float


class Foreign:
    "A table of another library."

    def to_pandas(self):
        return FRAME


class Stream:
    "A table that has Arrow's stream alone."

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.Table.from_pandas(FRAME).__arrow_c_stream__(requested_schema)


@pytest.fixture
def read(tmp_path):
    "Read a text as a file."

    def load(text, name="t.csv", **options):
        raw = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(raw)
        return load_curves(tmp_path / name, **options)

    return load


# Text


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffmodel,200\na,3\n",
        "model\t200\na\t3\n",
        "model|200\na|3\n",
        'model,"200"\n"a", 3 \n\n,\n',
        "model,200,,,\na,3,,,\n,,,,\n",
        "sep=;\nmodel;200\na;3\n",
        "# nats\n\n# 3 May\nmodel,200\na,3\n",
        ",model,200\n7,a,3\n",
        "model,200\ra,3\r",
    ],
)
def test_a_small_table_is_read(read, text):
    assert read(text).wide().to_dict() == {200: {"a": 3.0}}


@pytest.mark.parametrize(
    "text, message",
    [
        ("model,200,400\na,3\n", r"row 1 \(line 2\) of .* has 2 cells, the header 3"),
        ("# x\n\nmodel,200\na,3\nb,3,4\n", r"row 2 \(line 5\) of .* has 3 cells, the header 2"),
        ("model,200\na,3,\nb,2\n", r"row 1 \(line 2\) of .* has 3 cells"),
        ("model,model,200\na,b,3\n", "'model' is twice"),
        ("model,200,0.2k\na,3,2\n", "'200' and '0.2k' in .* are both 200"),
        ('model,1000,"1,000"\na,3,2\n', "'1000' and '1,000' in .* are both 1,000"),
        ("# model,200\na,3\n", "line 1 of .* looks like the header"),
        ("model,200\na,3\n#b,2\n", "line 3 of .* begins with #"),
        ('model,200\n"a,3\n', "look for a quote that is not closed"),
        ('model,200\n"a"x,3\n', "line 2 of .* cannot be parted"),
        ("model,,200\na,x,3\n", r"column 2 of .* \(with 'x'\) has none"),
        ("|model|200|\n|a|3|\n", "column 1 of .* is empty"),
        ("model 200\na 3\n", "comma, semicolon, tab or |"),
        ("model,200\n", "got no rows in .*t.csv"),
        ("\n\n", "is empty; it needs a header"),
        (b"model,200\nmod\xe8le,3\n", "line 2 is not; save it as UTF-8"),
        (b"model,200\na\0,3\n", "binary data"),
        (b"PK\x03\x04xx", "workbook"),
        ('[{"model": "a"}]', "looks like JSON"),
        ("model,200\n" + "a" * 200_000 + ",3\n", "field larger than field limit"),
        ("model,200,train_size\na,3,200\n", "got `train_size` and a column '200'"),
        ("model,n=200,400\na,3,2\nb,-,3\n", "got 'n=200'; rename or remove it"),
        ("model,200,1.600\na,3,2\n", "it may be 1.6 or 1600"),
        ("model,train_size,test_loss\na,1.000,3\n", "it may be 1 or 1000"),
        ("model;1,000\na;3\n", "it may be 1 or 1000"),
        ("model;200\na;3,1\nb;3.2\n", "model b, train_size 200 has 3.2; the decimal sign"),
        ("model,n_params,200\na,124.4,3\n", "write 124M or 124000000"),
        ("model,train_size,test_loss\na,200,OOM\n", "leave the row out where a run gave no loss"),
        ("model,train_size,test_loss\na,200,\n", "leave the row out where a run gave no loss"),
        ("model,n_params,train_size,test_loss\na,1e8,200,3\na,2e8,400,2\n", "100,000,000 in an"),
    ],
)
def test_a_wrong_text_is_one_line(read, text, message):
    with pytest.raises(ValueError, match=message) as raised:
        read(text)
    assert "\n" not in str(raised.value)


def test_names_are_text(read):
    names = ["007", "7", "1.1", "1.10", "NA", "None", "null", "nan", "True", "1e3", "#1"]
    text = "".join(f'"{name}",{3 + i / 10}\n' for i, name in enumerate(names))
    assert read("model,200\n" + text).models == names


def test_a_blank_name_is_no_name(read):
    with pytest.raises(ValueError, match="must name a model"):
        read('model,200\n" ",3\n')


def test_a_family_may_be_called_none(read):
    assert list(read("family,model,200\nNone,a,3\n").frame.family) == ["None"]


def test_a_decimal_comma_is_declared_or_seen_between_semicolons(read):
    text = 'model,200\na,"4,39"\n'
    assert read(text, decimal=",").at(200)["a"] == 4.39
    assert read("model;200\na;4,39\n").at(200)["a"] == 4.39
    with pytest.raises(ValueError, match="has 4,39"):
        read(text)


@pytest.mark.parametrize("decimal", ["x", "", ";", None])
def test_a_decimal_sign_is_a_point_or_a_comma(read, decimal):
    if decimal is None:
        assert len(read("model,200\na,3\n", decimal=decimal)) == 1
    else:
        with pytest.raises(ValueError, match="`decimal` must be '.' or ','"):
            read("model,200\na,3\n", decimal=decimal)


def test_options_that_mean_nothing_are_refused(read, tmp_path):
    with pytest.raises(ValueError, match="`pattern` has no meaning"):
        read("model,200\na,3\n", pattern="{model}/{train_size}")
    for source in ("flan", tmp_path, ROWS):
        with pytest.raises(ValueError, match="`decimal` has no meaning"):
            load_curves(source, decimal=",")


def test_a_further_column_is_a_number_if_all_its_cells_are(read):
    text = "model,hours,code,note,200\na,1.5,007,x,3\nb,,012,,2\n"
    frame = read(text).frame.set_index("model")
    assert frame.hours["a"] == 1.5
    assert np.isnan(frame.hours["b"])
    assert list(frame.code) == ["007", "012"]
    assert frame.note["a"] == "x"


def test_a_name_that_begins_a_formula_is_read_without_its_prefix(read):
    assert read("model,200\n'=cmd,3\n").models == ["=cmd"]


def test_a_saved_table_keeps_odd_names(tmp_path):
    names = ["#1", "=cmd", "a,b", 'a"b', "NA", "a\nb", "'x", "'=x", "007"]
    losses = [3.0 + i for i in range(len(names))]
    rows = dict(task="#t", model=names, train_size=200, test_loss=losses)
    curves = CurveSet(rows)
    for suffix in (".csv", ".tsv", ".parquet"):
        back = load_curves(curves.save(tmp_path / f"c{suffix}"))
        assert back.models == names
        assert back.tasks == ["#t"]


@pytest.mark.parametrize(
    "name, meant",
    [("losess.csv", "losses.csv"), ("rums/gpt2", "runs"), ("flam", "flan")],
)
def test_a_mistyped_path_gets_a_guess(tmp_path, monkeypatch, name, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "losses.csv").write_text("model,200\n")
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match=f"is {meant} meant?"):
        load_curves(name)
    assert similar_path(tmp_path / "zzzz") == ""


def test_a_table_of_three_thousand_sizes_is_read(read):
    sizes = range(10, 3010)
    losses = ",".join(f"{3 - size / 1e5:.5f}" for size in sizes)
    curves = read(f"model,{','.join(map(str, sizes))}\na,{losses}\n")
    assert len(curves) == 3000
    assert len(curves.complete()) == 3000


# Python


@pytest.mark.parametrize(
    "table",
    [
        ROWS,
        tuple(ROWS),
        [Run(**row) for row in ROWS],
        [Row(**row) for row in ROWS],
        [FRAME.iloc[i] for i in range(3)],
        FRAME.to_dict("list"),
        {name: np.array(column) for name, column in FRAME.items()},
        {name: column for name, column in FRAME.items()},
        FRAME.set_index(["model", "train_size"]),
        FRAME.set_index("model"),
        FRAME.set_index(["model", "train_size"]).test_loss,
        FRAME.astype("category"),
        FRAME.astype(str),
        FRAME.astype("string"),
        FRAME.astype({"test_loss": "float32", "train_size": "int16"}),
        FRAME.convert_dtypes(),
        FRAME.convert_dtypes(dtype_backend="pyarrow"),
        FRAME.assign(test_loss=FRAME.test_loss.map(Decimal)),
        FRAME.rename(columns=" {} ".format),
        FRAME.assign(n_params=pd.array([1, None, 3], "Int64")),
        FRAME.to_records(index=False),
        pa.Table.from_pandas(FRAME),
        Foreign(),
        Stream(),
        WIDE,
        WIDE.reset_index().rename(columns=str),
        WIDE.rename(columns=float),
        {"a": {200: 3.0, 400: 2.5}, "b": {200: 3.5}},
        {"a": {"0.2k": 3.0, "0.4k": 2.5}, "b": {"0.2k": 3.5}},
    ],
    ids=lambda table: type(table).__name__,
)
def test_every_container_holds_the_same_table(table):
    expected = {200: {"a": 3.0, "b": 3.5}, 400: {"a": 2.5}}
    wide = load_curves(table).wide()
    assert {size: losses.dropna().to_dict() for size, losses in wide.items()} == expected


def test_a_generator_is_read_once():
    assert len(load_curves(row for row in ROWS)) == 3


@pytest.mark.parametrize(
    "frame", [FRAME.set_index(["model", "train_size"]), FRAME.set_index("model")]
)
def test_an_index_of_a_parquet_file_is_read(tmp_path, frame):
    frame.to_parquet(tmp_path / "t.parquet")
    assert len(load_curves(tmp_path / "t.parquet")) == 3


@pytest.mark.parametrize(
    "table, message",
    [
        (FRAME.assign(test_loss=[True, False, True]), "truth value"),
        (FRAME.assign(test_loss=pd.to_datetime(["2026-04-03"] * 3)), "a date or a time"),
        (FRAME.assign(test_loss=[datetime.date(2026, 4, 3)] * 3), "a date or a time"),
        (FRAME.assign(test_loss=pd.to_timedelta([1, 2, 3])), "a date or a time"),
        (FRAME.assign(test_loss=[1 + 1j] * 3), "complex"),
        (FRAME.assign(test_loss=[[3.0]] * 3), "one number per cell"),
        (FRAME.assign(train_size=[True, False, True]), "truth value"),
        (FRAME.assign(train_size=[200, 10**30, 200]), "whole number"),
        (FRAME.assign(seed=list("abc")), "`seed` must be a number"),
        (FRAME.assign(model=[7, "7", 8]), "must be of one type, int in an earlier row"),
        (FRAME.assign(model=[["a"]] * 3), "`model` must be a name"),
        (FRAME.assign(model=["a", None, "b"]), "must name a model"),
        (FRAME.assign(n_params=[1e8, 2e8, 3e8]), "`n_params` must be one for each model"),
        (FRAME.assign(n_params=1e8, active_params=[1, 2, 3]), "`active_params` must be one"),
        (FRAME.assign(**{"200": 3.0}), "one row per run or one column per size"),
        (FRAME.set_index(["model", "train_size"]).rename_axis([None, None]), "a level None"),
        (WIDE.rename_axis(index=None), "rename_axis"),
        (FRAME.pivot(index="model", columns=["train_size"], values=["test_loss"]), "2 levels"),
        (pd.DataFrame([["a", 3.0, 2.0]], columns=["model", 200, "200"]), "'200' is twice"),
        (FRAME.set_index("model", drop=False), "in the index and in the columns"),
        (FRAME.test_loss, "must name model and train_size in its index"),
        (ROWS[0], "a dict of single values"),
        (dict(model=["a"], train_size=[1, 2]), "must have one length"),
        (FRAME.to_numpy(), "must name its columns"),
        ([[1, 2, 3]], "one dict per run"),
        ([], "at least one run"),
        ({}, "at least one run"),
        ("", "got an empty text"),
        (None, "got a NoneType"),
        (3, "got a int"),
        (b"flan", "got a bytes"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:25],
)
def test_a_table_that_cannot_be_read_is_one_line(table, message):
    with pytest.raises(ValueError, match=message) as raised:
        load_curves(table)
    assert "\n" not in str(raised.value)


def test_a_frame_that_is_read_is_not_changed():
    before = FRAME.copy()
    as_frame(FRAME)
    CurveSet(FRAME)
    pd.testing.assert_frame_equal(FRAME, before)


def test_a_damaged_parquet_file_is_one_line(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1xxxx")
    with pytest.raises(ValueError, match="must be a Parquet table"):
        read_table(tmp_path / "t.parquet")


def test_the_unit_of_a_frame_is_kept():
    assert CurveSet(FRAME.assign(unit="nats/byte")).unit == "nats/byte"
    with pytest.raises(ValueError, match="`unit` must be that of the table"):
        CurveSet(FRAME.assign(unit="nats/byte"), unit="nats/token")


def test_a_loss_too_large_for_its_unit_is_doubted():
    curves = CurveSet(FRAME.assign(test_loss=FRAME.test_loss * 100), unit="nats/token")
    assert "too large" in set(curves.flags.flag)
    assert "too large" not in set(CurveSet(FRAME, unit="nats/token").flags.flag)


SERIES = dict(model=["a", "b"], train_size=[100, 100], test_loss=[3.0, 2.0])


def test_columns_of_two_orders_are_refused():
    other = pd.Series(SERIES["test_loss"], index=[1, 0])
    with pytest.raises(ValueError, match="the indexes of 'model' and 'test_loss' differ"):
        load_curves(SERIES | dict(model=pd.Series(SERIES["model"]), test_loss=other))


def test_what_a_frame_writes_as_a_dict_is_read():
    frame = pd.DataFrame(SERIES)
    assert load_curves(frame.to_dict()).frame.test_loss.tolist() == SERIES["test_loss"]


def test_no_cell_or_header_of_a_saved_table_is_a_formula(tmp_path):
    odd = {"=cmd": ["=1+1", "plain"], "-x": ["@a", "+b"]}
    load_curves(pd.DataFrame(SERIES | odd)).save(tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    assert not any(
        cell.startswith(tuple("=+-@")) for line in text.splitlines() for cell in line.split(",")
    )
    again = load_curves(tmp_path / "t.csv").frame
    assert {name: again[name].tolist() for name in odd} == odd


def test_rounding_is_no_contradiction():
    frame = pd.DataFrame(dict(model="a", train_size=[100, 200], test_loss=[3.0, 2.0]))
    load_curves(frame.assign(n_params=[110_000_000, 1.1 * 1e8]))


def test_a_compressed_table_is_to_be_decompressed(tmp_path):
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"model,200\na,3\n"))
    with pytest.raises(ValueError, match="is compressed; decompress it"):
        load_curves(tmp_path / "t.csv")


def test_a_title_above_the_header_is_named(tmp_path):
    text = "My results,,,\nmodel,200,400,800\na,3.1,3.0,2.9\nb,3.0,2.9,2.8\n"
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match="delete the lines above the names of the columns"):
        load_curves(tmp_path / "t.csv")


@pytest.mark.parametrize("cells", ["200,٣.١", "２００,3.1"])
def test_digits_of_another_script_are_to_be_written_anew(tmp_path, cells):
    text = f"model,train_size,test_loss\na,{cells}\nb,400,3.0\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="write it with the digits 0 to 9"):
        load_curves(tmp_path / "t.csv")


@pytest.mark.parametrize("decimal", [pd.NA, np.ones(2), 3], ids=["NA", "array", "3"])
def test_a_decimal_sign_of_another_type_is_named(tmp_path, decimal):
    (tmp_path / "t.csv").write_text("model,200,400\na,3,2\n")
    with pytest.raises(ValueError, match="`decimal` must be"):
        read_table(tmp_path / "t.csv", decimal)
