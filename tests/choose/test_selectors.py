"Selectors: what each method reads, what a ranking says of itself, and what is refused."

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm._internal.style import short_name
from lensllm.choose.selectors import (
    AtS,
    PLAUSIBLE,
    ROWS,
    NLPMetrics,
    PosteriorSelector,
    Selector,
    accept_then_stop,
    as_selector,
    compare,
    rank,
)
from lensllm.curves.table import CurveSet, load_benchmark
from lensllm.forecast.kalman import Hint
from lensllm.forecast.posterior import fit_posterior

TARGET = 1_638_400
SEEN = 12_800
METHODS_WITHOUT_FITS = ["zeroshot", "modelsize", "subtuning", "ats", "posterior"]


@pytest.fixture(scope="module")
def default(flan):
    "The posterior's ranking, with its second opinion."
    return PosteriorSelector().rank(flan.up_to(SEEN), TARGET)


@pytest.fixture(scope="module")
def lowest_only(flan):
    "The same posterior; the lowest prediction is chosen."
    return PosteriorSelector(second=False).rank(flan.up_to(SEEN), TARGET)


@pytest.fixture(scope="module")
def ats(flan):
    "Accept then Stop's ranking."
    return as_selector("ats").rank(flan.up_to(SEEN), TARGET)


def without(curves, model, sizes):
    "The curves without some runs of one model."
    frame = curves.frame
    return curves.where(~((frame.model == model) & frame.train_size.isin(sizes)))


# Accept then Stop

D = 200 * 2.0 ** np.arange(7)
NOISE = np.exp(1e-3 * (-1.0) ** np.arange(7))


def test_smallest_size_is_left_out_where_no_point_is_rejected():
    assert accept_then_stop(D, 9 * D**-0.2 * NOISE)[2] == 6


def test_three_points_make_the_line_where_there_are_three():
    assert accept_then_stop(D[:3], 9 * D[:3] ** -0.2 * NOISE[:3])[2] == 3


# The posterior's ranking


def test_every_candidate_has_an_interval_and_probabilities_sum_to_one(default):
    assert default.frame[["low", "high", "p_best"]].notna().all(axis=None)
    assert default.frame.p_best.sum() == pytest.approx(1, abs=1e-6)


def test_the_lowest_prediction_comes_first_without_a_second_opinion(lowest_only):
    assert lowest_only.frame.predicted_loss.idxmin() == 0
    assert not any(" although " in note for note in lowest_only.notes)


def test_the_second_opinion_moves_one_model_to_the_front_and_nothing_else(default, lowest_only):
    assert default.best != lowest_only.best
    assert default.frame.model[1] == lowest_only.best
    assert default.frame.predicted_loss[1:].is_monotonic_increasing
    assert list(default.frame["rank"]) == list(range(1, 31))
    assert any(" although " in note for note in default.notes)


def test_the_choice_has_the_lowest_line_among_the_plausible(flan, default):
    probability = default.frame.set_index("model").p_best
    plausible = probability.index[probability >= PLAUSIBLE * probability.max()]
    ends = {}
    for model in plausible:
        x, y = np.log([values[-5:] for values in flan.up_to(SEEN).curve(model)])
        ends[model] = np.polyval(np.polyfit(x, y, 1), np.log(TARGET))
    assert len(plausible) > 2
    assert min(ends, key=ends.get) == default.best


def test_the_choice_does_not_depend_on_the_order_of_the_table(flan, default):
    seen = flan.up_to(SEEN)
    reversed_rows = CurveSet(seen.frame[::-1], unit=seen.unit)
    assert as_selector("posterior").rank(reversed_rows, TARGET).best == default.best


def test_a_missing_size_of_one_model_is_left_out_of_all_lines(flan, default, lowest_only):
    gap = without(flan.up_to(SEEN), lowest_only.best, [3200])
    assert as_selector("posterior").rank(gap, TARGET).best == default.best


def test_shrinkage_decides_where_one_model_was_seen_less_far(flan):
    curves = without(flan.up_to(6400), "t5-small", [6400])
    ranking = as_selector("posterior").rank(curves, TARGET)
    post = ranking.posterior
    assert ranking.best == post.models[post.shrunk().argmin()]
    assert ranking.best != post.models[post.mean().argmin()]


def test_shrinkage_decides_where_two_points_make_no_line(flan):
    post = fit_posterior(flan.up_to(400), TARGET)
    best = as_selector("posterior").rank(flan.up_to(400), TARGET).best
    assert best == post.models[post.shrunk().argmin()]


def test_shrinkage_decides_where_the_leader_lacks_its_last_size(flan, default):
    curves = without(flan.up_to(SEEN), default.best, [SEEN])
    ranking = as_selector("posterior").rank(curves, TARGET)
    assert ranking.best == ranking.posterior.models[ranking.posterior.shrunk().argmin()]


@pytest.mark.parametrize("spread, moves", [([0.1, 0.02, 0.1], True), ([np.inf] * 3, False)])
def test_a_hint_moves_its_candidate_only_where_it_says_something(flan, spread, moves):
    few = flan.filter(model=["gpt2", "t5-base", "facebook/opt-1.3b"]).up_to(800)
    hints = {"gpt2": Hint([6.0, 0.3, 1.0], spread)}
    hinted, plain = (
        PosteriorSelector(hints=h).rank(few, TARGET).frame.set_index("model").predicted_loss
        for h in (hints, None)
    )
    if moves:
        assert abs(hinted["gpt2"] - plain["gpt2"]) > 0.05
    else:
        pd.testing.assert_series_equal(hinted, plain)


# Against the truth


@pytest.mark.parametrize(
    "method, saved",
    [
        ("zeroshot", 100.0),
        ("modelsize", 100.0),
        ("subtuning", 100 * (1 - SEEN / TARGET)),
        ("ats", 100 * (1 - 127 * 200 / TARGET)),
    ],
)
def test_cost_saved_counts_the_runs_that_the_method_reads(flan, method, saved):
    ranking = as_selector(method).rank(flan.up_to(SEEN), TARGET)
    assert round(ranking.cost_saved(), 2) == round(saved, 2)


@pytest.mark.parametrize("ranking", ["default", "lowest_only"])
def test_regret_is_that_of_the_choice(flan, ranking, request):
    ranking, truth = request.getfixturevalue(ranking), flan.at(TARGET)
    assert ranking.evaluate(truth)["regret"] == truth[ranking.best] - truth.min()


# Saving


def test_json_contract(flan, ats):
    data = json.loads(json.dumps(ats.to_dict(flan.at(TARGET)), allow_nan=False))
    assert list(data) == [
        "task",
        "method",
        "seen",
        "target",
        "ranking",
        "pearson",
        "relative_accuracy",
        "regret",
        "doubts",
    ]
    first = data["ranking"][0]
    assert list(first) == ROWS == ["model", "rank", "predicted_loss", "low", "high", "p_best"]
    assert first["model"] == ats.best
    assert first["p_best"] is None
    assert data["seen"] == SEEN


def test_a_posterior_adds_its_beliefs_to_the_json(default):
    data = json.loads(json.dumps(default.to_dict(), allow_nan=False))
    assert list(data["beliefs"][0]) == [
        "model",
        "low_50",
        "high_50",
        "expected_regret",
        "slope",
        "p_power",
        "phase",
    ]


# The picture


def labels_of(ax):
    return [text.get_text() for text in ax.texts]


def test_the_leaders_are_labelled_by_rank_and_the_true_best_by_name(flan, default, closed_figures):
    labels = labels_of(default.plot(flan))
    leaders = [f"{i}  {short_name(m)}" for i, m in enumerate(default.frame.model[:4], 1)]
    assert [label for label in labels if label[0].isdigit()] == leaders
    assert f"true best: {short_name(flan.at(TARGET).idxmin())}" in labels


def test_the_picture_holds_the_intervals_of_the_leaders(flan, default, closed_figures):
    low, high = default.plot(flan).get_ylim()
    assert low < default.frame.low[:4].min()
    assert high > default.frame.high[:4].max()


@pytest.mark.parametrize("method", METHODS_WITHOUT_FITS)
def test_every_method_can_be_drawn(flan, method, closed_figures):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = as_selector(method).rank(flan.up_to(3200), TARGET).plot(flan)
        ax.figure.canvas.draw()
    assert ax.get_xlim()[1] > TARGET
    assert ax.get_ylim()[1] < 10


def test_a_prediction_is_joined_to_where_its_model_was_last_seen(flan, closed_figures):
    three = flan.filter(model=["gpt2", "t5-base", "facebook/opt-1.3b"]).up_to(800)
    ax = as_selector("posterior").rank(without(three, "gpt2", [800]), TARGET).plot()
    starts = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert 400 in starts


def test_a_model_without_fine_tuning_does_not_spoil_the_picture(flan, closed_figures):
    sizes = [size for size in flan.sizes if size > 0]
    untuned = without(flan, "gpt2", sizes).up_to(800)
    as_selector("zeroshot").rank(untuned, TARGET).plot()


def test_a_picture_without_any_tuned_leader_has_no_colours(flan, closed_figures):
    ranking = as_selector("zeroshot").rank(flan.up_to(800), TARGET)
    sizes = [size for size in flan.sizes if size > 0]
    for model in ranking.frame.model[:1]:
        flan = without(flan, model, sizes)
    ax = as_selector("zeroshot").rank(flan.up_to(800), TARGET).plot(top=1)
    assert not labels_of(ax)


# Properties


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(
    seed=st.integers(0, 2**31),
    method=st.sampled_from(["zeroshot", "modelsize", "subtuning", "ats"]),
    seen=st.sampled_from([1600, 25600]),
)
def test_a_ranking_does_not_depend_on_the_order_of_the_rows(seed, method, seen):
    curves = load_benchmark("flan").up_to(seen)
    ranking = as_selector(method).rank(curves, TARGET)
    shuffled = CurveSet(curves.frame.sample(frac=1, random_state=seed))
    again = as_selector(method).rank(shuffled, TARGET)
    pd.testing.assert_series_equal(again.scores.sort_index(), ranking.scores.sort_index())
    assert sorted(ranking.frame["rank"]) == list(range(1, 31))
    assert ranking.frame.score.is_monotonic_decreasing


@pytest.mark.parametrize("method", ["subtuning", "ats", "rectifiedfit", "posterior"])
def test_what_is_hidden_cannot_matter(flan, method):
    hidden = flan.frame.train_size > SEEN
    poisoned = CurveSet(flan.frame.assign(test_loss=flan.frame.test_loss.where(~hidden, 99.0)))
    clean, same = (
        as_selector(method).rank(curves.up_to(SEEN), TARGET).frame for curves in (flan, poisoned)
    )
    pd.testing.assert_frame_equal(clean, same)


# Notes


def test_a_curve_that_ends_early_is_noted(flan):
    sizes = [size for size in flan.sizes if size > 800]
    uneven = without(flan, "gpt2", sizes).up_to(SEEN)
    notes = as_selector("subtuning").rank(uneven, TARGET).notes
    assert notes == ["gpt2: seen to 800 examples only, others to 12,800"]


def test_a_typo_wins_and_is_named_first(flan):
    frame = flan.up_to(SEEN).frame
    typo = (frame.model == "gpt2") & (frame.train_size == SEEN)
    mistyped = CurveSet(frame.assign(test_loss=frame.test_loss.where(~typo, 0.35)))
    assert as_selector("ats").rank(mistyped, TARGET).notes[0].startswith("gpt2: jump")


# What is refused


def plot_of_zero_shot_losses(flan):
    as_selector("zeroshot").rank(flan.up_to(0), TARGET).plot()


def plot_with_seven_colours(flan):
    as_selector("ats").rank(flan.up_to(3200), TARGET).plot(top=7)


def ranking_of_one_model(flan):
    as_selector("ats").rank(flan.filter(model="gpt2"), TARGET)


def law_with_three_points(flan):
    two = flan.filter(model=["gpt2", "t5-base"]).up_to(800)
    as_selector("rectifiedfit").rank(two, TARGET)


def line_through_one_point(flan):
    as_selector("ats").rank(flan.up_to(200), TARGET)


def modelsize_without_sizes(flan):
    as_selector("modelsize").rank(CurveSet(flan.frame.drop(columns="n_params")), TARGET)


def zeroshot_without_zero_shot_losses(flan):
    as_selector("zeroshot").rank(CurveSet(flan.frame[flan.frame.train_size > 0]), TARGET)


def unknown_method(flan):
    as_selector("oracle")


def two_tasks_of_one_name(flan):
    compare("ats", [flan, flan])


def ratio_that_hides_everything(flan):
    compare("ats", [flan], [100_000])


def ratio_of_one(flan):
    compare("ats", [flan], [1])


def a_model_seen_late_only(flan):
    early = [size for size in flan.sizes if size <= SEEN]
    without(flan, "gpt2", early).up_to(SEEN)


def several_tasks(flan):
    both = pd.concat([flan.frame, load_benchmark("gigaword").frame])
    as_selector("ats").rank(CurveSet(both), TARGET)


def target_of_zero(flan):
    as_selector("ats").rank(flan, 0)


def unknown_metric(flan):
    NLPMetrics("alpha")


@pytest.mark.parametrize(
    "call, message",
    [
        (plot_of_zero_shot_losses, "has seen zero-shot losses only"),
        (plot_with_seven_colours, "`top` must be a whole number from 1 to 6"),
        (ranking_of_one_model, "at least 2 models"),
        (
            law_with_three_points,
            "gpt2: `rectified` has 4 parameters and needs as many sizes above 0, got 3",
        ),
        (
            line_through_one_point,
            "MBZUAI/LaMini-GPT-124M: `D` must hold at least 2 sizes above 0",
        ),
        (modelsize_without_sizes, "`modelsize` needs n_params"),
        (zeroshot_without_zero_shot_losses, "`zeroshot` needs a run at train_size 0"),
        (unknown_method, "`method` must be one of"),
        (two_tasks_of_one_name, "must have different names"),
        (ratio_that_hides_everything, "leaves no size above 0"),
        (ratio_of_one, "`ratios` must be finite and > 1"),
        (a_model_seen_late_only, "leaves no run of gpt2"),
        (several_tasks, "several: flan, gigaword"),
        (target_of_zero, "`target` must be"),
        (unknown_metric, "`metric` must be one of pl_alpha"),
    ],
)
def test_refused_with_the_rule(flan, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(flan)


# Comparing


@pytest.mark.parametrize("settings", [dict(k=4), dict(delta=4)])
def test_compare_takes_settings_into_account(flan, settings):
    from lensllm.choose.selectors import AtS

    published, changed = compare("ats", flan), compare(AtS(**settings), flan)
    assert not published.pearson.equals(changed.pearson)


def test_compare_takes_generators(flan, gigaword):
    tasks = (task for task in (flan, gigaword))
    assert len(compare("ats", tasks, (ratio for ratio in (64, 128)))) == 4


def test_compare_takes_names(flan):
    pd.testing.assert_frame_equal(compare("ats", "flan", [64]), compare(["ats"], [flan], [64]))


# One call


def test_rank_is_the_selector_on_the_cut_curves(flan, default):
    ranking = rank(flan, target=TARGET, seen=SEEN)
    pd.testing.assert_frame_equal(ranking.frame, default.frame)
    assert ranking.target == TARGET


def test_rank_takes_a_name_a_path_and_a_frame(flan, tmp_path):
    flan.save(tmp_path / "mine.csv")
    frames = [
        rank(curves, target=TARGET, seen=3200, method="ats").frame
        for curves in (flan, "flan", tmp_path / "mine.csv", str(tmp_path / "mine.csv"), flan.frame)
    ]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])


def test_rank_looks_from_all_sizes_below_the_largest(flan):
    ranking = rank("flan", method="ats")
    assert ranking.target == max(flan.sizes)
    assert max(ranking.seen.sizes) == flan.sizes[-2]


def test_rank_looks_beyond_the_table_from_all_of_it(flan):
    ranking = rank("flan", target=10_000_000, method="ats")
    assert max(ranking.seen.sizes) == max(flan.sizes)


def test_rank_takes_a_selector(flan, lowest_only):
    ranking = rank(flan, TARGET, seen=SEEN, method=PosteriorSelector(second=False))
    assert ranking.best == lowest_only.best


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(target=400, seen=800), "`target` must be larger than what is seen (800), got 400"),
        (dict(target=0), "`target` must be a whole number of examples from 1 to 1e18, got 0"),
        (dict(method="ats", prior="generic"), "`prior` is for posterior, got `method` ats"),
        (dict(method="oracle"), "`method` must be one of zeroshot"),
        (dict(target=TARGET, seen=100, method="ats"), "`model` must have a run above size 0"),
    ],
)
def test_rank_refuses_in_one_line(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        rank("flan", **settings)
    assert "\n" not in str(refused.value)


WRONG_TARGETS = [True, 200.5, 10, 1e19, "many", None, np.nan]


@pytest.mark.parametrize("target", WRONG_TARGETS, ids=repr)
@pytest.mark.parametrize("name", ["modelsize", "subtuning", "ats", "rectifiedfit", "posterior"])
def test_no_selector_ranks_for_a_target_that_is_none(name, target, flan):
    with pytest.raises(ValueError, match="^`target` must"):
        as_selector(name).rank(flan.up_to(800), target)


@pytest.mark.parametrize("setting", [dict(delta="x"), dict(delta=0), dict(k=2.5), dict(k=True)])
def test_settings_of_accept_then_stop_are_checked_at_once(setting):
    with pytest.raises(ValueError, match=f"^`{next(iter(setting))}` must"):
        AtS(**setting)


def test_a_cell_that_a_method_cannot_do_is_a_gap(flan):
    table = compare(["subtuning", "rectifiedfit"], flan, [8, 2048])
    cells = table.set_index(["method", "ratio"])
    assert cells.pearson.isna().to_dict() == {
        ("subtuning", 8): False,
        ("subtuning", 2048): False,
        ("rectifiedfit", 8): False,
        ("rectifiedfit", 2048): True,
    }
    (reason,) = table.attrs["refusals"].values()
    assert "needs as many sizes above 0" in reason


def test_a_comparison_without_any_cell_is_refused(flan):
    with pytest.raises(ValueError, match="needs as many sizes above 0"):
        compare("rectifiedfit", flan, [2048])


def test_a_fault_of_a_method_is_no_gap(flan):
    class Faulty(Selector):
        name = "faulty"

        def score(self, seen, target):
            raise np.linalg.LinAlgError("singular")

    with pytest.raises(np.linalg.LinAlgError):
        compare([Faulty(), "ats"], [flan], [512])
