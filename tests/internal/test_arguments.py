"A wrong argument is named in one line, and what counts as a number is one."

import math

import numpy as np
import pandas as pd
import pytest
from lensllm._internal import arguments as must


@pytest.mark.parametrize(
    "value", [200, 200.0, np.int64(200), np.float32(200), np.array(200)], ids=repr
)
def test_a_count_of_any_type_is_an_int(value):
    count = must.size()("target", value)
    assert (count, type(count)) == (200, int)


@pytest.mark.parametrize(
    "value",
    [True, np.True_, 200.5, 0, -1, 1e19, 10**400, math.nan, math.inf, "200", b"2", None, pd.NA, []],
    ids=must.shown,
)
def test_what_is_no_count_is_refused(value):
    with pytest.raises(ValueError, match="^`target` must be a whole number of examples from 1 to"):
        must.size()("target", value)


@pytest.mark.parametrize("value", [0, 1, -0.1, math.nan, math.inf, "x", True, None], ids=repr)
def test_what_lies_outside_an_open_range_is_refused(value):
    with pytest.raises(ValueError, match=r"`p` must lie in \(0, 1\), got"):
        must.number(above=0, below=1)("p", value)


def test_infinity_is_a_number_only_where_it_is_allowed():
    assert must.number(infinite=True)("x", math.inf) == math.inf
    with pytest.raises(ValueError, match="`x` must be a finite number, got inf"):
        must.number()("x", math.inf)


@pytest.mark.parametrize("value", [1, 0, "no", None, []], ids=repr)
def test_a_flag_is_true_or_false_only(value):
    with pytest.raises(ValueError, match="`robust` must be True or False"):
        must.flag("robust", value)


@pytest.mark.parametrize("value", ["ab", b"ab", dict(a=1), 3, None], ids=repr)
def test_a_text_is_no_list(value):
    with pytest.raises(TypeError, match="`failed` must be a list"):
        must.several()("failed", value)


@pytest.mark.parametrize("value", [10**400, "x" * 999, "a\n\x1b[31mb", pd.DataFrame()])
def test_a_value_is_shown_in_one_short_line(value):
    text = must.shown(value)
    assert len(text) <= 60
    assert text.isprintable()


def test_a_missing_argument_is_python_s_to_name():
    @must.checked(target=must.size())
    def rank(target):
        return target

    with pytest.raises(TypeError, match="'target'"):
        rank()
    assert rank.__name__ == "rank"


@pytest.mark.parametrize(
    "rule, wrong, message",
    [
        (must.mapping(), [1], "must be a dictionary"),
        (must.torch_model, dict, "must be a model, a torch.nn.Module"),
        (must.path(folder=True), "", "must be the path of a file or folder"),
        (must.numeric, None, "must be numbers, got None"),
        (must.one_of(("a",), or_function=True), 3, "must be one of a or a function, got 3"),
    ],
    ids=["mapping", "model", "folder", "numbers", "name or function"],
)
def test_a_rule_names_what_it_wants(rule, wrong, message):
    with pytest.raises((TypeError, ValueError), match=f"`x` {message}"):
        rule("x", wrong)


def test_what_follows_a_rule_goes_through():
    losses = pd.Series([1.0], ["a"])
    assert must.numeric("x", losses) is losses
    assert must.path(folder=True)("x", ".") == "."
    assert must.one_of(("a",), or_function=True)("x", len) is len
    assert must.seed(negative=True)("x", -1) == -1
