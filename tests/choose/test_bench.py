"The bench: which cells a table has, what is scored, and how cells become a summary."

import dataclasses

import numpy as np
import pandas as pd
import pytest
from lensllm.choose.bench import bench_scores, bench_summary, cuts_of, p_best_calibration
from lensllm.choose.selectors import PosteriorSelector, Ranking, Selector
from lensllm.curves.table import CurveSet, load_benchmark

SIZES = [100, 200, 400, 800, 1600]


def falling(models=("a", "b"), sizes=SIZES, task="made/one"):
    "Power laws, the first model's the lowest."
    rows = [
        dict(task=task, model=model, train_size=size, test_loss=(3 + i) * max(size, 50) ** -0.1)
        for i, model in enumerate(models)
        for size in sizes
    ]
    return CurveSet(pd.DataFrame(rows))


class Refusing(Selector):
    name = "refusing"

    def score(self, seen, target):
        raise ValueError("`refusing` ranks nothing")


class Faulty(Selector):
    name = "faulty"

    def score(self, seen, target):
        raise np.linalg.LinAlgError("singular")


@pytest.mark.parametrize(
    "sizes, cells",
    [
        (SIZES, [(2, 800), (4, 400)]),  # at 1/8 two sizes would be left
        ([0, *SIZES], [(2, 800), (4, 400)]),  # a zero-shot loss is no size
        ([100, 200, 400, 3200], [(2, 400)]),  # each size once
        ([100, 200, 400], []),
        ([100, 150, 300, 599], []),  # only two sizes lie up to half of the largest
    ],
)
def test_a_table_is_cut_where_three_sizes_are_left(sizes, cells):
    assert cuts_of(falling(sizes=sizes)) == cells


def test_the_target_is_the_largest_size_that_all_have():
    frame = falling().frame
    shorter = CurveSet(frame[(frame.model == "a") | (frame.train_size < 1600)])
    found = bench_scores("ats", shorter)
    assert list(found.target.unique()) == [800]
    assert list(found.seen) == [400]


def test_a_model_without_a_run_so_early_is_left_out_of_that_cell():
    frame = falling(("a", "b", "c")).frame
    late = CurveSet(frame[(frame.model != "c") | (frame.train_size > 400)])
    found = bench_scores("subtuning", late).set_index("seen")
    assert found.models.to_dict() == {800: 3, 400: 2}


def test_a_refusal_is_a_row_and_the_others_go_on():
    found = bench_scores([Refusing(), "ats"], falling()).set_index("method")
    assert set(found.loc["refusing"].refusal) == {"`refusing` ranks nothing"}
    assert found.loc["refusing"].relative_accuracy.isna().all()
    assert (found.loc["ats"].refusal == "").all()
    assert (found.loc["ats"].relative_accuracy == 100).all()
    refused = bench_summary(found.reset_index()).set_index("method").refused
    assert refused.to_dict() == {"refusing": 2, "ats": 0}


def test_a_fault_of_a_method_ends_the_bench():
    with pytest.raises(np.linalg.LinAlgError):
        bench_scores(Faulty(), falling())


def test_a_table_too_short_for_a_cell_is_refused_by_name():
    short = falling(sizes=SIZES[:3], task="made/short")
    with pytest.raises(ValueError, match="at least 4 sizes above 0 .* made/short has not"):
        bench_scores("ats", [falling(), short])


def ranking(low, high, p_best):
    "A ranking of a and b whose intervals are given."
    frame = pd.DataFrame(dict(model=["a", "b"], rank=[1, 2], predicted_loss=[2.0, 3.0]))
    frame = frame.assign(low=low, high=high, p_best=p_best, score=[-2.0, -3.0])
    return Ranking(frame=frame, method="made", target=1600, seen=falling())


@pytest.mark.parametrize("level, penalty", [(0.9, 20), (0.5, 4)])
def test_intervals_are_scored_in_ln_loss_at_their_own_level(level, penalty):
    low, high = np.array([1.8, 2.5]), np.array([2.2, 2.9])
    made = dataclasses.replace(ranking(low, high, [0.9, 0.1]), level=level)
    found = made.certainty(dict(a=2.0, b=3.2))  # b misses its interval
    width = np.mean(np.log(high / low))
    assert found["width"] == pytest.approx(width)
    assert found["interval_score"] == pytest.approx(width + penalty * np.log(3.2 / 2.9) / 2)


@pytest.mark.parametrize("truth, hit", [((2.0, 3.0), 1.0), ((3.0, 2.0), 0.0), ((2.0, 2.0), 1.0)])
def test_a_hit_is_a_choice_that_nothing_beats(truth, hit):
    found = ranking([1.8, 2.5], [2.2, 2.9], [0.9, 0.1]).certainty(dict(zip("ab", truth)))
    assert (found["hit"], found["p_best"]) == (hit, 0.9)


def test_what_a_method_does_not_say_is_none():
    silent = ranking([np.nan] * 2, [np.nan] * 2, [np.nan] * 2).certainty(dict(a=2.0, b=3.0))
    nothing = dict.fromkeys(("coverage_50", "width", "interval_score", "p_best"))
    assert silent == nothing | dict(hit=1.0)


def test_coverage_50_counts_true_losses_in_50_percent_intervals():
    curves = load_benchmark("mini/define").complete()
    seen, target = curves.up_to(curves.sizes[-2]), curves.sizes[-1]
    ranked = PosteriorSelector().rank(seen, target)
    median = ranked.posterior.frame().predicted_loss
    truth = median.copy()
    truth.iloc[::2] *= 100  # every second one lies far outside
    share = 1 - len(truth.iloc[::2]) / len(truth)
    assert ranked.certainty(truth)["coverage_50"] == pytest.approx(share)


@pytest.mark.parametrize("truth", [dict(a=2.0), dict(a=2.0, b=np.nan)])
def test_certainty_needs_the_truth_of_every_candidate(truth):
    with pytest.raises(ValueError, match="`truth` must hold a finite loss for every candidate"):
        ranking([1.8, 2.5], [2.2, 2.9], [0.9, 0.1]).certainty(truth)


def test_a_source_is_a_mean_over_tasks_and_a_task_one_over_cells():
    cells = bench_scores("ats", [falling(), falling(task="made/two", sizes=SIZES[:4])])
    accuracy = [90.0, 70.0, 40.0]  # two cells of the first task, one of the second
    summary = bench_summary(cells.assign(relative_accuracy=accuracy)).iloc[0]
    assert summary.relative_accuracy == pytest.approx((80 + 40) / 2)
    assert summary.se == pytest.approx(20.0)
    assert (summary.source, summary.tasks, summary.cells) == ("made", 2, 3)


def test_p_best_is_counted_in_bins():
    cells = pd.DataFrame(dict(method="made", p_best=[0.1, 0.9, 1.0, np.nan], hit=[0, 1, 0, 1]))
    found = p_best_calibration(cells)
    assert found.cells.tolist() == [1, 2]
    assert found.mean_p_best.tolist() == pytest.approx([0.1, 0.95])
    assert found.share_best.tolist() == [0.0, 0.5]
