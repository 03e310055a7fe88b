"A recipe says how many steps a run takes, and what it costs."

from dataclasses import replace

import numpy as np
import pytest
from lensllm.tune.recipe import (
    Recipe,
    read_recipe,
    continued_rate,
    fresh_rate,
    run_price,
    search_price,
)
from lensllm.tune.training import finetune

FRESH = Recipe(rate=1e-2, passes=6, least_steps=40)
CONTINUES = replace(FRESH, ladder="continue")


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(method="some"), "`method` must be full, lora or last-K"),
        (dict(method="last-0"), "`method` must be full, lora or last-K"),
        (dict(method="last-x"), "`method` must be full, lora or last-K"),
        (dict(rate=0.0), "`rate` must be finite and > 0"),
        (dict(rate=float("inf")), "`rate` must be finite and > 0"),
        (dict(rate=float("nan")), "`rate` must be finite and > 0"),
        (dict(passes=1e300), "`passes` must lie in"),
        (dict(least_steps=2.5), "`least_steps` must be a whole number"),
        (dict(batch=True), "`batch` must be a whole number"),
        (dict(warmup=1.5), "`warmup` must lie in"),
        (dict(weight_decay=float("nan")), "`weight_decay` must be finite"),
        (dict(clip="x"), "`clip` must be"),
        (dict(method=None), "`method` must be a text"),
        (dict(passes=-1), "`passes` must lie in"),
        (dict(precision="half"), "`precision` must be one of auto"),
        (dict(ladder="up"), "`ladder` must be one of fresh, continue"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


@pytest.mark.parametrize(
    "smaller, n, steps",
    [(0, 100, (28, 6)), (100, 200, (27, 12))],
)
def test_a_ladder_that_continues_trains_on_new_rows_and_decays_over_all(smaller, n, steps):
    assert FRESH.steps_from(smaller, n) == steps


@pytest.mark.parametrize("checks", [3, 8])
@pytest.mark.parametrize("usual", [FRESH, CONTINUES], ids=["fresh", "continue"])
def test_effort_is_what_a_run_takes_if_it_is_not_stopped(places, counting, tmp_path, usual, checks):
    recipe = replace(usual, patience=99, checks=checks)
    trunk = tmp_path / "trunk" if recipe.ladder == "continue" else None
    for smaller, n in ((0, 80), (80, 200)):
        calls = []
        run = finetune(
            places["gpt2"],
            counting,
            n,
            seed=0,
            recipe=recipe,
            device="cpu",
            trunk=trunk,
            progress=lambda step, steps, loss, calls=calls: calls.append(step),
        )
        steps, evaluations = recipe.effort(smaller, n)
        assert 1 + len(calls) == evaluations
        if recipe.ladder == "fresh":
            assert run.steps == steps


def test_rates_rise_to_the_highest_and_fall_to_zero():
    rates = [fresh_rate(step, 100, FRESH) for step in range(101)]
    assert max(rates) == rates[9] == 1 and rates[100] == 0
    rates = [continued_rate(step, 80, 100, CONTINUES) for step in range(101)]
    assert set(rates[4:81]) == {1.0} and rates[100] == 0


def test_the_search_for_a_rate_costs_nothing_with_a_rate():
    others = (200, 1000)
    assert search_price(1e6, None, (40, 0), FRESH, others) == 0
    assert search_price(1e6, None, (40, 0), replace(FRESH, rate=None), others) > 0


def test_a_price_by_hand():
    recipe = Recipe(rate=1e-3)  # 60 steps of 16 rows, 10 checks
    by_hand = 1e6 * 40 * (6 * 60 * 16 + 2 * (10 * 200 + 1000))
    assert run_price(1e6, None, (40, 0), recipe, 100, (200, 1000)) == by_hand


def test_numbers_of_other_types_become_plain_ones():
    recipe = Recipe(batch=np.int64(8), rate=np.float32(0.5), checks=4.0)
    assert [type(value) for value in (recipe.batch, recipe.rate, recipe.checks)] == [
        int,
        float,
        int,
    ]
    assert Recipe(passes=6).passes == 6


def test_settings_go_before_those_of_a_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("passes: 2\nrate: 1e-4\noptim: adafactor\narguments:\n  adam_beta1: 0.8\n")
    found = read_recipe(path, ["rate=3e-4", "gradient_checkpointing=true"], method="lora")
    assert (found.passes, found.rate, found.method) == (2, 3e-4, "lora")
    expected = dict(optim="adafactor", adam_beta1=0.8, gradient_checkpointing=True)
    assert found.arguments == expected


def test_without_a_file_and_settings_it_is_the_usual_recipe():
    assert read_recipe() == Recipe()


@pytest.mark.parametrize(
    "content, settings, message",
    [
        ("- 1\n", [], "must be a YAML file of names with values"),
        ("a: [", [], "must be a YAML file that can be read"),
        ("passes: 2\n", ["rate"], "must be NAME=VALUE"),
        ("method: lora\n", [], "`--method` must be given once"),
        ("passes: none\n", [], "`passes` must lie in"),
        ("arguments: 5\n", [], "`arguments` must be a dictionary"),
        ("passes: 2\n", ["method=lora"], "`--method` must be given once"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content, settings, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises((ValueError, TypeError), match=message):
        read_recipe(path, settings, method="full")
