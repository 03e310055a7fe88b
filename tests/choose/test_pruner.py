"LensPruner inside the real Optuna: what it stops, what it keeps, and what it refuses."

import math
import re
import subprocess
import sys

import numpy as np
import pytest

optuna = pytest.importorskip("optuna", reason="Optuna is an extra: pip install 'lensllm[optuna]'")

from lensllm.choose import pruner as module  # noqa: E402  # after the skip
from lensllm.choose.pruner import LensPruner  # noqa: E402
from lensllm.curves.scores import Metric  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
SIZES = [100 * 2**k for k in range(8)]
TARGET = SIZES[-1]


def falling(floor, scale=6.0, power=0.35, sizes=SIZES):
    "A curve that falls towards a floor, `{size: loss}`."
    return {size: floor + scale * size**-power for size in sizes}


def study_of(curves, pruner=None, direction="minimize", state="COMPLETE"):
    "A study with one finished trial per curve."
    study = optuna.create_study(direction=direction, pruner=pruner)
    for curve in curves:
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState[state],
            value=list(curve.values())[-1],
            intermediate_values=curve,
        )
        study.add_trial(trial)
    return study


def judged(study, curve):
    "The decisions about a running trial, one per report, up to the first that stops it."
    trial, decisions = study.ask(), []
    for step, value in curve.items():
        trial.report(value, step)
        decisions.append(trial.should_prune())
        if decisions[-1]:
            break
    return decisions


def frozen(study, curve):
    "A running trial of a study that has reported a curve."
    trial = study.ask()
    for step, value in curve.items():
        trial.report(value, step)
    return study.get_trials(deepcopy=False)[trial.number]


def cut(curve, n):
    return dict(list(curve.items())[:n])


@pytest.fixture
def good():
    "Eight curves whose floors lie from 1.0 to 1.7."
    return [falling(1.0 + i / 10) for i in range(8)]


def test_a_bad_trial_is_stopped_as_soon_as_it_is_judged(good):
    study = study_of(good, LensPruner(target=TARGET))
    assert judged(study, falling(3.0)) == [False, False, True]


def test_the_best_trial_is_kept_to_the_end(good):
    study = study_of(good, LensPruner(target=TARGET))
    assert not any(judged(study, falling(0.9)))


@pytest.fixture
def mixed():
    "Eight noisy curves of different floors, scales and powers."
    rng = np.random.default_rng(0)
    curves = []
    for i in range(8):
        scale, power = 6 * np.exp(rng.normal(0, 0.2)), 0.35 * np.exp(rng.normal(0, 0.15))
        noise = np.exp(rng.normal(0, 0.01, len(SIZES)))
        curve = falling(1 + i / 10, scale, power)
        curves.append({size: loss * f for (size, loss), f in zip(curve.items(), noise)})
    return curves


def test_a_trial_that_starts_high_and_falls_fast_is_kept(mixed):
    late = falling(0.5, scale=60.0, power=0.6)
    lens = study_of(mixed, LensPruner(target=TARGET))
    median = study_of(mixed, optuna.pruners.MedianPruner())
    assert any(judged(median, late))
    assert not any(judged(lens, late))


@pytest.mark.parametrize(
    "others, points, settings",
    [
        (8, 2, {}),
        (4, 4, {}),
        (8, 4, dict(least_steps=5)),
        (8, 4, dict(n_startup_trials=9)),
        (8, 8, {}),
        (8, 8, dict(target=None)),
    ],
    ids=["2 points", "4 others", "least steps", "start-up trials", "at the target", "none further"],
)
def test_where_it_is_too_early_or_too_late_nothing_is_said(good, others, points, settings):
    pruner = LensPruner(**dict(target=TARGET) | settings)
    study = study_of(good[:others], pruner)
    trial = frozen(study, cut(falling(3.0), points))
    assert pruner.chance(study, trial) is None
    assert not pruner.prune(study, trial)


def test_without_a_target_the_largest_step_counts(good):
    study, pruner = study_of(good), LensPruner()
    trial = frozen(study, cut(falling(1.1), 4))
    assert pruner.chance(study, trial) == LensPruner(target=TARGET).chance(study, trial)


def test_failed_trials_are_not_read(good):
    study, pruner = study_of(good[1:]), LensPruner(target=TARGET)
    curve = cut(falling(1.1), 4)
    before = pruner.chance(study, frozen(study, curve))
    failed = optuna.trial.create_trial(
        state=optuna.trial.TrialState.FAIL, intermediate_values=falling(0.01)
    )
    other = study_of(good[1:])
    other.add_trial(failed)
    after = pruner.chance(other, frozen(other, curve))
    assert after == pytest.approx(before, abs=1e-12)


def test_a_pruned_trial_is_no_rival(good):
    study, pruner = study_of(good), LensPruner(target=TARGET)
    pruned = study_of(good)
    pruned.add_trial(study_of([cut(falling(0.2), 5)], state="PRUNED").trials[0])
    rival = study_of([*good, falling(0.2)])
    curve = cut(falling(1.0), 4)
    chances = [pruner.chance(each, frozen(each, curve)) for each in (study, pruned, rival)]
    assert chances[0] > 0.05
    assert chances[1] > 0.05
    assert chances[2] < 0.01


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_trial_that_diverged_is_stopped_at_once(good, value):
    study = study_of(good, LensPruner(target=TARGET))
    assert judged(study, {100: 5.0, 200: value}) == [False, True]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "curve",
    [
        {size: 2.0 for size in SIZES[:5]},
        {size: float(k + 1) for k, size in enumerate(SIZES[:5])},
        {size: 1e300 for size in SIZES[:5]},
        {size: 1e-300 for size in SIZES[:5]},
        {0: 9.0} | cut(falling(1.0), 3),
        {100: 5.0, 101: 1e-9, 102: 1e9, 103: 3.0},
        {1: 1.0, 2: 1.0, 10**15: 1.0},
        {100: -1.0, 200: -2.0, 400: -3.0, 800: -4.0},
        {100: math.nan, 200: 4.0, 400: 3.0, 800: 2.0},
    ],
    ids=["flat", "rising", "huge", "tiny", "step 0", "wild", "far", "negative", "first NaN"],
)
def test_odd_values_stop_no_optimisation(good, curve):
    study = study_of([*good, *[curve] * 3], LensPruner(target=2 * 10**15))
    judged(study, curve)
    judged(study, falling(1.2))


def test_a_loss_of_zero_is_left_out_and_said(good):
    study, pruner = study_of(good), LensPruner(target=TARGET)
    curve = cut(falling(1.1), 4)
    expected = pruner.chance(study, frozen(study, curve))
    other = study_of(good)
    with pytest.warns(UserWarning, match="a loss of 0 or below is not used"):
        chance = pruner.chance(other, frozen(other, {50: 0.0} | curve))
        assert pruner.chance(other, frozen(other, curve | {1600: 0.0})) is None
    assert chance == pytest.approx(expected, rel=1e-6)


def scores(curves, top):
    return [{size: top * (1 - error) for size, error in curve.items()} for curve in curves]


@pytest.mark.parametrize("top, metric", [(1, None), (100, None), (100, "accuracy"), (1, "f1")])
def test_scores_are_judged_as_their_errors(top, metric):
    errors = [falling(0.05 + i / 50, scale=1.5) for i in range(8)]
    trial = cut(falling(0.052, scale=1.5), 4)
    study = study_of(errors)
    expected = LensPruner(target=TARGET).chance(study, frozen(study, trial))
    mirrored = study_of(scores(errors, top), direction="maximize")
    pruner = LensPruner(target=TARGET, metric=metric)
    chance = pruner.chance(mirrored, frozen(mirrored, scores([trial], top)[0]))
    assert 0.01 < expected < 1
    assert chance == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "direction, metric, values, message",
    [
        ("maximize", None, [0.5, 45.0, 60.0], "must be in percent or in fractions, got 0.5 and 45"),
        ("maximize", None, [-3.0, 0.5, 0.6], "must lie between 0 and 1, got -3"),
        ("maximize", None, [50.0, 60.0, 214.0], "must lie between 0 and 100, got 214"),
        ("minimize", "accuracy", [0.5, 0.6, 0.7], "must go the way of the study"),
        ("maximize", "wer", [0.5, 0.6, 0.7], 'direction="minimize"'),
    ],
)
def test_scores_that_cannot_be_read_are_refused(direction, metric, values, message):
    study = study_of([], LensPruner(target=TARGET, metric=metric), direction)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        judged(study, dict(zip(SIZES, values)))
    assert "`metric`" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_named_range_settles_mixed_scores():
    metric = Metric("accuracy", higher_is_better=True, percent=True)
    study = study_of([], LensPruner(target=TARGET, metric=metric), "maximize")
    assert not any(judged(study, {100: 0.5, 200: 45.0, 400: 60.0}))


@pytest.mark.parametrize(
    "settings",
    [
        dict(target=0),
        dict(least_chance=0),
        dict(margin=-0.1),
        dict(n_startup_trials=0),
        dict(least_steps=1),
        dict(prior=3),
        dict(metric=3),
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_wrong_setting_is_named(settings):
    with pytest.raises((ValueError, TypeError), match=f"`{next(iter(settings))}` must"):
        LensPruner(**settings)


def objective(trial):
    "A noisy curve whose floor depends on one parameter."
    rate = trial.suggest_float("rate", 1e-5, 1e-2, log=True)
    noise = np.random.default_rng(trial.number).normal(0, 0.005, len(SIZES))
    curve = falling(1.0 + 0.3 * np.log10(rate / 3e-4) ** 2)
    for (size, loss), shift in zip(curve.items(), noise):
        trial.report(loss * np.exp(shift), size)
        if trial.should_prune():
            raise optuna.TrialPruned
    return loss


def optimised(storage=None, n_trials=20, **options):
    study = optuna.create_study(
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=1),
        pruner=LensPruner(target=TARGET),
    )
    study.optimize(objective, n_trials=n_trials, **options)
    return study


LEARNED = []  # one entry per time that a search has learned what curves share


@pytest.fixture(scope="module")
def searched():
    "A search of 20 trials."
    real = module._learned_from
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_learned_from", lambda *args: LEARNED.append(args) or real(*args))
        return optimised()


def test_the_same_seed_gives_the_same_trials(searched):
    again = optimised()
    assert [t.state for t in again.trials] == [t.state for t in searched.trials]
    assert [t.last_step for t in again.trials] == [t.last_step for t in searched.trials]


def test_a_search_stops_many_trials_and_keeps_the_best(searched):
    states = [trial.state.name for trial in searched.trials]
    floors = [1.0 + 0.3 * np.log10(t.params["rate"] / 3e-4) ** 2 for t in searched.trials]
    assert 6 < states.count("PRUNED") < 20
    assert searched.best_trial.number == int(np.argmin(floors))


def test_what_was_kept_changes_no_answer(searched):
    asked = searched.trials[10:14]
    kept = [searched.pruner.chance(searched, trial) for trial in asked]
    fresh = [LensPruner(target=TARGET).chance(searched, trial) for trial in asked]
    assert kept == fresh


def test_what_curves_share_is_learned_seldom(searched):
    reports = sum(len(trial.intermediate_values) for trial in searched.trials)
    assert 1 < len(LEARNED) < reports / 4


def test_trials_side_by_side_are_judged():
    study = optuna.create_study(pruner=LensPruner(target=TARGET))
    curves = {study.ask(): falling(1.0 + i / 4) for i in range(8)}
    stopped = {}
    for size in SIZES:
        for trial, curve in list(curves.items()):
            trial.report(curve[size], size)
        for trial in list(curves):
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                del curves[trial]
                stopped[trial.number] = size
    assert 0 not in stopped
    assert len(stopped) >= 5
    assert max(stopped.values()) < TARGET


def test_threads_and_a_database_are_no_obstacle(tmp_path):
    study = optimised(f"sqlite:///{tmp_path}/study.db", n_trials=9, n_jobs=2)
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED"}


def test_long_curves_are_thinned_and_keep_their_ends():
    sizes = np.arange(1.0, 1001.0)
    thin = module._thinned(module._Curve(sizes, 1 / sizes))
    assert len(thin.sizes) <= 12
    assert (thin.sizes[0], thin.sizes[-1]) == (1, 1000)
    np.testing.assert_array_equal(thin.losses, 1 / thin.sizes)


def printed(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["lensllm", "lensllm.choose", "lensllm.choose.policies"])
def test_importing_the_rest_does_not_import_optuna(name):
    assert printed(f"import sys, {name}; dir({name}); print('optuna' in sys.modules)") == "False"


@pytest.mark.parametrize("code", ["import lensllm.optuna", "import lensllm; lensllm.optuna"])
def test_without_the_package_one_line_says_what_to_install(code):
    lines = [
        "import sys",
        "class Absent:",
        "    def find_spec(self, name, path=None, target=None):",
        "        if name.partition('.')[0] == 'optuna':",
        "            raise ModuleNotFoundError(name=name)",
        "sys.meta_path.insert(0, Absent())",
        "try:",
        *(f"    {part}" for part in code.split("; ")),
        "except ImportError as error:",
        "    print(error)",
    ]
    assert printed("\n".join(lines)) == (
        "`lensllm.optuna` needs the package optuna; install it: pip install 'lensllm[optuna]'"
    )
