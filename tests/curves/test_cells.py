"What counts as a number, by which rule, and whether a remedy fits what it is given for."

import datetime
import math
import pickle
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from lensllm.curves.cells import (
    UnreadCell,
    as_count,
    as_number,
    header_size,
    number,
    whole_number,
)


@pytest.mark.parametrize(
    "text, decimal, loss",
    [
        ("4.39", ".", 4.39),
        ("4.390", ".", 4.39),
        (" 4.39\u00a0", ".", 4.39),
        ("−3.2", ".", -3.2),
        ("3.9e0", ".", 3.9),
        ("4,39", ",", 4.39),
        ("4,390", ",", 4.39),
        ("4.39", ";", 4.39),
    ],
)
def test_a_loss_is_read_by_its_decimal_sign(text, decimal, loss):
    assert as_number(text, decimal) == loss


@pytest.mark.parametrize(
    "text, decimal, remedy",
    [
        ("4,39", ".", "set `decimal` to ','"),
        ("4,390", ".", "set `decimal` to ','"),
        ("4,39", ";", "set `decimal` to ','"),
        ("4.39", ",", "set `decimal` to '.'"),
        ("4.390", ",", "set `decimal` to '.'"),
        ("1.234,56", ".", "write the number alone"),
        ("4.19 ± 0.02", ".", "write the number alone"),
        ("41.9%", ".", "a percentage is no loss"),
        ("OOM", ".", "leave the cell empty"),
        ("-", ".", "leave the cell empty"),
        ("nan", ".", "leave the cell empty"),
        ("-inf", ".", "leave the cell empty"),
        ("#DIV/0!", ".", "leave the cell empty"),
        ("1e400", ".", "too large"),
    ],
)
def test_a_loss_that_is_no_number_says_what_to_do(text, decimal, remedy):
    cell = as_number(text, decimal)
    assert isinstance(cell, UnreadCell)
    assert remedy in cell.remedy


@pytest.mark.parametrize("text", ["", "  ", "\u00a0", "NA", "n/a", "None", "null", "#N/A", "<NA>"])
def test_an_empty_cell_is_unknown(text):
    assert math.isnan(as_number(text))
    assert math.isnan(as_count(text))


@pytest.mark.parametrize(
    "text, decimal, count",
    [
        ("1,600", ".", 1600),
        ("1 600", ".", 1600),
        ("1\u202f600", ".", 1600),
        ("1'600", ";", 1600),
        ("1.600", ",", 1600),
        ("1.600", ";", 1600),
        ("124.439.808", ";", 124_439_808),
        ("1600.0", ";", 1600),
        ("1600,0", ",", 1600),
        ("1.3e9", ".", 1_300_000_000),
        ("0.2k", ".", 200),
        ("2.3M", ".", 2_300_000),
        ("0,2k", ",", 200),
        ("007", ".", 7),
    ],
)
def test_a_count_is_exact(text, decimal, count):
    assert as_count(text, decimal) == count


@pytest.mark.parametrize(
    "text, decimal, remedy",
    [
        ("1.000", ".", "it may be 1 or 1000: write it without '.'"),
        ("16.384", ".", "it may be 16.384 or 16384"),
        ("1,000", ",", "it may be 1 or 1000: write it without ','"),
        ("1,000", ";", "it may be 1 or 1000: write it without ','"),
        ("124.439.808", ".", "124439808"),
        ("12,80", ".", "write the number alone"),
        ("10%", ".", "a percentage is no count"),
        ("many", ".", "write a number"),
    ],
)
def test_a_count_that_may_be_two_numbers_is_not_read(text, decimal, remedy):
    assert remedy in as_count(text, decimal).remedy


def test_parameters_may_end_in_b():
    assert as_count("1.3B", large=True) == 1.3e9
    assert isinstance(as_count("1.3B"), UnreadCell)


@pytest.mark.parametrize(
    "value",
    [
        3,
        3.0,
        np.float32(3),
        np.int64(3),
        np.array(3.0),
        torch.tensor(3.0),
        torch.tensor(3, dtype=torch.bfloat16),
        Decimal(3),
        Fraction(3),
        np.str_("3"),
    ],
    ids=repr,
)
def test_numbers_of_every_library_are_numbers(value):
    assert number("loss", value) == 3
    assert whole_number("size", value) == 3


@pytest.mark.parametrize(
    "value, remedy",
    [
        (True, "truth value"),
        (np.True_, "truth value"),
        (torch.tensor(True), "truth value"),
        (1 + 2j, "complex"),
        (np.complex64(1), "complex"),
        (datetime.date(2026, 4, 3), "a date or a time"),
        (pd.Timestamp("2026-04-03"), "a date or a time"),
        (np.datetime64("2026-04-03"), "a date or a time"),
        (np.timedelta64(3), "a date or a time"),
        ([3.0], "type list"),
        ({}, "type dict"),
        (b"3", "type bytes"),
        (10**400, "too large"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_number_says_what_it_is(value, remedy):
    with pytest.raises(ValueError, match=remedy):
        number("loss", value)


@pytest.mark.parametrize("value", [200.5, np.float32(0.5), "1.5", math.nan, math.inf, 1e300, -1])
def test_a_whole_number_is_never_cut(value):
    with pytest.raises(ValueError, match="`size` must be a whole number"):
        whole_number("size", value, least=0)


@pytest.mark.parametrize("value", [math.nan, None, "", math.inf])
def test_a_missing_or_infinite_argument_is_refused(value):
    with pytest.raises(ValueError, match="`loss` must be a finite number"):
        number("loss", value)


@pytest.mark.parametrize("header", ["1.000", "1.600", "-400", "1.5"])
def test_a_header_that_is_no_size_is_refused(header):
    with pytest.raises(ValueError, match=f"must be a whole number >= 0, got '{header}'"):
        header_size(header)


@pytest.mark.parametrize("header", ["n_params", "10%", "n=200", None, True, math.nan, ("a", 1)])
def test_another_name_is_no_size(header):
    assert header_size(header) is None


def test_an_unread_cell_keeps_its_remedy_on_the_way_to_another_process():
    assert pickle.loads(pickle.dumps(as_number("OOM"))).remedy == as_number("OOM").remedy
