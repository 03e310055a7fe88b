"Screens of many candidates: on tables made by hand, and on tables whose law is known."

import numpy as np
import pandas as pd
import pytest
from lensllm.choose import screening
from lensllm.choose.screening import held_out_screens, learn_screen, normal_scores
from lensllm.choose.screening import screen, screening_tables
from lensllm.curves.table import CurveSet

N = 12


def table_of(task, final, n_params=None, zero_shot=None, names="m{}"):
    "Curves of one task with two sizes: 0 and 800."
    n = len(final)
    models = [names.format(i) for i in range(n)]
    n_params = np.geomspace(1e7, 1e9, n) if n_params is None else n_params
    zero_shot = np.full(n, 4.0) if zero_shot is None else zero_shot
    frame = dict(model=models * 2, n_params=np.tile(n_params, 2), task=task)
    sizes = np.repeat([0, 800], n)
    return CurveSet(pd.DataFrame(frame | dict(train_size=sizes, test_loss=[*zero_shot, *final])))


def tables_where(final_of, n_tables=6, names="m{}"):
    "Tables whose final losses follow from size and zero-shot loss."
    rng, tables = np.random.default_rng(0), []
    for t in range(n_tables):
        n_params, zero_shot = np.exp(rng.normal(18, 1, N)), np.exp(rng.normal(1, 0.2, N))
        final = np.exp(final_of(np.log(n_params), np.log(zero_shot), rng))
        tables.append(table_of(f"t{t}", final, n_params, zero_shot, names))
    return tables


def candidates_of(n=N, names="new{}", seed=1):
    rng = np.random.default_rng(seed)
    looks = dict(n_params=np.exp(rng.normal(18, 1, n)), zero_shot=np.exp(rng.normal(1, 0.2, n)))
    return pd.DataFrame(dict(model=[names.format(i) for i in range(n)]) | looks)


def test_normal_scores_are_ranks_and_ties_are_equal():
    scores = normal_scores([3.0, 1.0, 1e9, 1.0])
    assert scores[1] == scores[3] < scores[0] < scores[2]
    np.testing.assert_allclose(scores.sum(), 0, atol=0.2)
    np.testing.assert_allclose(normal_scores([7.0]), [0])


@pytest.mark.parametrize("look", ["n_params", "zero_shot"])
def test_a_look_that_decides_elsewhere_decides_here(look):
    by = dict(
        n_params=lambda size, zero, rng: -size / 10 + rng.normal(0, 0.01, N),
        zero_shot=lambda size, zero, rng: zero + rng.normal(0, 0.01, N),
    )
    candidates = candidates_of()
    best = dict(n_params=candidates.n_params.idxmax(), zero_shot=candidates.zero_shot.idxmin())
    found = screen(candidates, keep=3, tables=tables_where(by[look]))
    assert found.survivors[0] == candidates.model[best[look]]
    assert found.p_kept > 0.9


def test_the_sign_of_a_look_is_learned_against_what_is_expected():
    tables = tables_where(lambda size, zero, rng: size / 10 + rng.normal(0, 0.01, N))
    candidates = candidates_of()
    found = screen(candidates, keep=1, tables=tables)
    assert found.survivors == [candidates.model[candidates.n_params.idxmin()]]


def test_a_model_that_is_good_elsewhere_is_kept():
    own = np.random.default_rng(5).permutation(N) / 10
    tables = tables_where(lambda size, zero, rng: own + rng.normal(0, 0.02, N))
    found = screen(candidates_of(names="m{}"), keep=2, tables=tables)
    assert found.survivors[0] == f"m{own.argmin()}"
    assert (found.frame.known_from == 6).all() and not found.doubts


def test_where_looks_tell_nothing_p_best_is_nearly_even():
    tables = tables_where(lambda size, zero, rng: rng.normal(0, 0.1, N), n_tables=20, names="m{}")
    renamed = [
        CurveSet(t.frame.assign(model=t.frame.model + t.frame.task), t.source) for t in tables
    ]
    found = screen(candidates_of(), keep=6, tables=renamed)
    assert found.frame.p_best.max() < 0.25
    assert 0.4 < found.p_kept < 0.75


def test_the_probability_is_honest_where_the_model_holds():
    rng, claimed, came = np.random.default_rng(3), [], []

    def law(size, zero, _):
        return 0.05 * (zero / 0.2) - 0.05 * (size - 18) + rng.normal(0, 0.08, N)

    tables = tables_where(law, n_tables=8)
    for seed in range(60):
        candidates = candidates_of(seed=100 + seed)
        found = screen(candidates, keep=3, tables=tables, draws=500)
        truth = law(np.log(candidates.n_params), np.log(candidates.zero_shot), rng)
        claimed.append(found.p_kept)
        came.append(candidates.model[int(np.argmin(truth))] in found.survivors)
    error = 4 * np.sqrt(np.mean(claimed) * (1 - np.mean(claimed)) / 60)
    assert abs(np.mean(came) - np.mean(claimed)) < error


def test_p_best_adds_up_and_those_kept_come_first():
    found = screen(candidates_of(), keep=4)
    frame = found.frame
    np.testing.assert_allclose(frame.p_best.sum(), 1)
    np.testing.assert_allclose(frame.p_best[:4].sum(), found.p_kept)
    assert list(frame.kept) == [True] * 4 + [False] * (N - 4)
    assert frame.p_best.is_monotonic_decreasing
    assert ((frame.low <= frame["rank"]) & (frame["rank"] <= frame.high)).all()


def test_a_screen_is_the_same_again_and_in_another_order():
    candidates = candidates_of()
    once, again = screen(candidates, seed=4), screen(candidates, seed=4)
    pd.testing.assert_frame_equal(once.frame, again.frame)
    turned = screen(candidates[::-1], seed=4, draws=50_000).frame.set_index("model").p_best
    straight = screen(candidates, seed=4, draws=50_000).frame.set_index("model").p_best
    pd.testing.assert_series_equal(turned, straight, check_like=True, atol=0.01)


def test_a_look_that_one_candidate_lacks_is_left_out_and_said():
    candidates = candidates_of()
    candidates.loc[2, "zero_shot"] = np.nan
    found = screen(candidates)
    assert found.features == ("n_params",)
    assert found.doubts[0] == (
        "all: the zero-shot loss is unknown for new2; it is left out for all candidates"
    )


def test_unknown_models_are_said_to_be_a_guess():
    found = screen(candidates_of())
    assert "12 of 12 candidates are in no table" in found.doubts[-1]


def test_hundreds_of_candidates_are_screened():
    found = screen(candidates_of(300), keep=8)
    assert len(found.survivors) == 8 and len(found.frame) == 300


def test_the_task_at_hand_is_left_out():
    tasks = [table.one_task() for table in screening_tables(leave_out="Headline")]
    assert "mini/headline" not in tasks and len(tasks) == 5
    assert len(screening_tables()) == 6


def test_scores_of_tables_are_within_each_table():
    "A table in another unit says the same."
    tables = tables_where(lambda size, zero, rng: zero + rng.normal(0, 0.05, N))
    scaled = [
        CurveSet(t.frame.assign(test_loss=t.frame.test_loss * (i + 1)), t.source)
        for i, t in enumerate(tables)
    ]
    for name, value in learn_screen(tables).variances.items():
        assert learn_screen(scaled).variances[name] == pytest.approx(value)


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda c: c[:1], "at least 2 to screen, got 1; one model needs no screen"),
        (lambda c: c[:0], "at least 2 to screen, got 0"),
        (lambda c: c[:4], "`keep` must be below the number of candidates, 4, got 8"),
        (lambda c: c[:8], "`keep` must be below the number of candidates, 8, got 8"),
        (lambda c: c.drop(columns="n_params"), "n_params is missing"),
        (lambda c: c.assign(model="a"), "must differ in name, got a twice"),
        (lambda c: c.assign(zero_shot=-1.0), "`zero_shot` must be finite and > 0, got -1"),
        (lambda c: c.assign(zero_shot=np.inf), "`zero_shot` must be finite and > 0, got inf"),
        (lambda c: c.assign(n_params=0), "`n_params` must be finite and > 0, got 0"),
        (lambda c: c.assign(n_params="many"), "`n_params` must be numbers"),
        (lambda c: c.assign(model=3), "`model` must be a text, got 3"),
        (lambda c: 7, "`candidates` must be a table with columns"),
    ],
)
def test_what_cannot_be_screened_is_refused(change, said):
    with pytest.raises(ValueError) as refused:
        screen(change(candidates_of()))
    assert said in str(refused.value)


@pytest.mark.parametrize("lacks", ["zero-shot", "n_params"])
def test_a_table_without_a_look_teaches_nothing(lacks):
    table = table_of("bare", np.linspace(2, 3, N))
    frame = table.frame
    frame = frame[frame.train_size > 0] if lacks == "zero-shot" else frame.drop(columns="n_params")
    with pytest.raises(ValueError, match="bare does not; leave it out"):
        learn_screen([CurveSet(frame)])
    with pytest.raises(ValueError, match="must be of different tasks"):
        learn_screen([table, table])


def test_held_out_screens_learn_nothing_from_the_source_at_hand(monkeypatch):
    "Losses of a source may be anything: what is kept there stays the same, seen from the others."
    rows = screening._shipped_rows()
    before = held_out_screens(8).query("source == 'mini' and way == 'screen'")
    changed = rows.copy()
    of_mini = changed.source == "mini"
    changed.loc[of_mini, "final"] = changed.final[of_mini].to_numpy()[::-1]
    monkeypatch.setattr(screening, "_shipped_rows", lambda: changed)
    screening._fit_without.cache_clear()
    after = held_out_screens(8).query("source == 'mini' and way == 'screen'")
    screening._fit_without.cache_clear()
    np.testing.assert_allclose(after.cost, before.cost)
    np.testing.assert_allclose(after.p_kept, before.p_kept)


def test_chance_is_what_random_screens_come_to():
    part = pd.DataFrame(
        dict(source="s", task="t", final=[2.0, 2.01, 2.5, 3, 4, 5], n_params=[1e8] * 6)
    )
    chance, rng = screening._judged_by_chance(part, 2, 0), np.random.default_rng(0)
    kept = [rng.permutation(np.arange(6) < 2) for _ in range(20_000)]
    found = pd.DataFrame(screening._judged(part, mask, 0, "random") for mask in kept)
    for column in ("best", "near", "cost"):
        assert chance[column] == pytest.approx(found[column].mean(), abs=0.015)


def test_all_ways_keep_as_many_of_a_subset():
    replays = held_out_screens(4, 16, draws=2)
    assert set(replays.way) == set(screening.WAYS)
    sizes = replays.groupby("source")[["n", "kept"]].agg(["min", "max"])
    assert list(sizes.loc["flan"]) == [16, 16, 4, 4]
    assert list(sizes.loc["mini"]) == [10, 10, 2, 2]
    with pytest.raises(ValueError, match="`keep` must be below `of`, 4, got 4"):
        held_out_screens(4, 4)
