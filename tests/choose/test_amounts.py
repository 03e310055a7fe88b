"The number of examples that reaches a loss, and what more of them buy."

import numpy as np
import pandas as pd
import pytest
from lensllm.choose import amounts
from lensllm.choose.amounts import chance_reached, data_gain, data_or_model, needed_sizes
from lensllm.choose.policies import run_costs
from lensllm.curves.table import CurveSet
from lensllm.forecast.posterior import fit_posterior

SIZES = 100 * 2 ** np.arange(7)


def curve(model, sizes, floor, scale, power):
    losses = floor + scale * np.asarray(sizes, float) ** -power
    return pd.DataFrame(dict(model=model, train_size=sizes, test_loss=losses, task="made"))


def table_of(*curves):
    return CurveSet(pd.concat(curves, ignore_index=True))


@pytest.fixture(scope="module")
def eight():
    "Power laws above a floor, with what they are made of."
    rng = np.random.default_rng(0)
    made = {
        f"m{i}": (rng.uniform(0.8, 1.4), rng.uniform(4, 8), rng.uniform(0.25, 0.4))
        for i in range(8)
    }
    return table_of(*(curve(model, SIZES, *law) for model, law in made.items())), made


@pytest.fixture(scope="module")
def post(eight):
    return fit_posterior(eight[0], 100 * int(SIZES[-1]))


def test_intervals_hold_the_size_of_a_known_law(eight, post):
    held = []
    for model, (floor, scale, power) in eight[1].items():
        truth = 4 * SIZES[-1]
        loss = floor + scale * truth**-power
        row = needed_sizes(post, loss).loc[model]
        held.append(row.low <= truth <= row.high)
        assert truth / 3 < row.needed < 3 * truth
    assert sum(held) >= 7


def test_a_lower_loss_needs_more(post):
    losses = (1.9, 1.8, 1.7, 1.6)
    needed = pd.DataFrame({loss: needed_sizes(post, loss).needed for loss in losses})
    assert (needed.diff(axis=1).iloc[:, 1:].fillna(0) >= 0).all(axis=None)  # inf - inf is NaN
    assert np.isfinite(needed[1.9]).any()


def test_a_chance_once_reached_stays(post):
    chances = chance_reached(post, 1.7)
    assert (chances.diff().iloc[1:] >= 0).all(axis=None)
    assert chances.index[0] == SIZES[-1] and chances.index[-1] == 100 * SIZES[-1]


def test_what_was_measured_is_no_prediction(eight, post):
    sizes, losses = eight[0].curve("m0")
    row = needed_sizes(post, losses[3]).loc["m0"]
    assert row.measured and row.needed == row.low == row.high == sizes[3]


def test_a_dip_that_does_not_last_is_not_reached():
    losses = [3.0, 2.0, 2.8, 2.7, 2.6]
    dipped = pd.DataFrame(dict(model="dip", train_size=SIZES[:5], test_loss=losses, task="made"))
    found = fit_posterior(table_of(dipped, curve("other", SIZES[:5], 1, 6, 0.3)), 10**5)
    assert not needed_sizes(found, 2.1).measured["dip"]


def test_nothing_reaches_what_lies_below_the_floor(post):
    needed = needed_sizes(post, 0.05)
    assert np.isinf(needed.needed).all() and (needed.p_reached < 0.05).all()


def test_a_shorter_curve_knows_less(eight, post):
    floor, scale, power = eight[1]["m1"]
    loss = floor + scale * (4.0 * SIZES[-1]) ** -power
    short = eight[0].frame.query("model != 'm1' or train_size <= 400")
    less = needed_sizes(fit_posterior(CurveSet(short), 10**5), loss).loc["m1"]
    more = needed_sizes(post, loss).loc["m1"]
    assert less.low >= SIZES[-1]  # no smaller size is looked at
    assert less.high / less.low > more.high / more.low


def test_what_fell_back_counts_from_when_it_stays():
    losses = [3.0, 2.0, 2.8, 2.1, 2.0]
    back = pd.DataFrame(dict(model="back", train_size=SIZES[:5], test_loss=losses, task="made"))
    found = fit_posterior(table_of(back, curve("other", SIZES[:5], 1, 6, 0.3)), 10**5)
    assert needed_sizes(found, 2.1).needed["back"] == SIZES[3]


def test_ends_of_one_curve_tell_more_of_their_difference(eight):
    last = int(SIZES[-1])
    post = fit_posterior(eight[0], 100 * last, calibrated=False)  # own errors alone
    gains = data_gain(post, 4 * last, 8 * last).loc[post.models]
    near, far = (post.at(size * last) for size in (4, 8))
    apart = np.hypot(near.sd(), far.sd()) * near.quantile(0.5)
    assert ((gains.high - gains.low) / 3.29 < apart / 2).all()


@pytest.mark.parametrize("name", ["needed_sizes", "data_gain"])
def test_accuracies_are_asked_as_the_errors_that_they_stand_for(name):
    sizes = SIZES[:5]
    errors = table_of(curve("a", sizes, 0.05, 1.2, 0.3), curve("b", sizes, 0.1, 1.2, 0.35))
    frame = errors.frame[["model", "train_size", "task"]].assign(
        accuracy=1 - errors.frame.test_loss.round(6)
    )
    rounded = CurveSet(
        errors.frame.assign(error_rate=errors.frame.test_loss.round(6)).drop(columns="test_loss")
    )
    ask = getattr(amounts, name)
    arguments = (0.12,) if name == "needed_sizes" else (int(sizes[-1]), 2 * int(sizes[-1]))
    found = [ask(fit_posterior(table, 10**5), *arguments) for table in (CurveSet(frame), rounded)]
    pd.testing.assert_frame_equal(*found, rtol=1e-6)


def test_the_gain_of_no_distance_is_nothing_and_grows(post):
    last = int(SIZES[-1])
    near, far = (data_gain(post, last, size) for size in (last + 1, 8 * last))
    assert (near.gain.abs() < 1e-3).all()
    assert (far.gain[near.index] > near.gain).all()
    assert ((far.high - far.low)[near.index] > near.high - near.low).all()


def test_the_gain_of_a_known_law(eight, post):
    last = int(SIZES[-1])
    gains = data_gain(post, last, 4 * last)
    held = []
    for model, (_, scale, power) in eight[1].items():
        truth = scale * (last**-power - (4 * last) ** -power)
        held.append(gains.low[model] <= truth <= gains.high[model])
    assert sum(held) >= 7


def test_another_model_costs_in_proportion_to_its_parameters(eight):
    frame = eight[0].frame.assign(n_params=1e8)
    frame.loc[frame.model == "m0", "n_params"] = 4e8
    table, last = CurveSet(frame), int(SIZES[-1])
    found = fit_posterior(table, 10**6)
    used = found.at(last).quantile(0.5).argmax()  # the worst
    model = found.models[used]
    ways = data_or_model(
        found, last, 2 * last, model=model, costs=run_costs(table, sizes=(last, 2 * last))
    )
    other = ways.loc["another model"]
    assert ways.cost["more data"] == pytest.approx(2)
    sizes = dict(zip(table.models, [4, *[1] * 7]))
    assert other.cost == pytest.approx(sizes[other.model] / sizes[model])
    assert other.gain > 0 and other.low < other.gain < other.high


def test_a_table_of_one_model_has_no_other():
    alone = fit_posterior(table_of(curve("a", SIZES, 1, 6, 0.3)), 10**5)
    assert list(data_or_model(alone, 6400, 12800).index) == ["now", "more data"]
