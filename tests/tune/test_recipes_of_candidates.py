"A candidate may have a recipe of its own: MODEL@RECIPE."

import pytest
from lensllm.tune.handover import finish
from lensllm.tune.recipe import Recipe, split_candidate
from lensllm.tune.study import Study, new_study

RECIPE = Recipe(rate=1e-2, passes=2, least_steps=12, checks=3)


@pytest.fixture(scope="module")
def begin(tmp_path_factory, write_sums, save_candidate):
    "A function that begins a study of one model in several recipes."
    folder = tmp_path_factory.mktemp("recipes")
    model = save_candidate(folder, "adder", "gpt2")
    task = write_sums(folder / "sums.jsonl")

    def begun(name, *recipes, **options):
        options = dict(recipe=RECIPE, sizes=[50, 100], budget_size=50) | options
        candidates = [f"{model}{recipe}" for recipe in recipes]
        return new_study(folder / name, task=task, candidates=candidates, **options)

    return begun


@pytest.fixture(scope="module")
def study(begin):
    "One model, trained in full and by adapters of rank 4, run once each."
    begun = begin("both", "", "@lora:r=4,rate=3e-2")
    begun.run(device="cpu")
    return begun


def test_what_a_candidate_does_not_name_is_the_study_s(study):
    whole, adapters = (study.recipe_of(name) for name in ("adder", "adder@lora:r=4,rate=3e-2"))
    assert whole == RECIPE
    assert (adapters.method, adapters.lora_rank, adapters.rate) == ("lora", 4, 3e-2)
    assert adapters.passes == RECIPE.passes


def test_each_run_is_made_by_the_candidate_s_recipe(study):
    results = {run.model: run.result for run in study.store.runs().itertuples()}
    whole, adapters = results["adder"], results["adder@lora:r=4,rate=3e-2"]
    assert (whole["recipe"]["method"], adapters["recipe"]["method"]) == ("full", "lora")
    assert adapters["trained"] < whole["trained"]
    assert adapters["rate"] == 3e-2


def test_recipes_of_one_model_are_one_family(study):
    assert set(study.store.curves().frame.family) == {"adder"}
    assert set(study.store.candidates().source) == {study.store.candidates().source.iloc[0]}


def test_a_study_that_goes_on_knows_the_recipes(study):
    again = Study(study.store.folder)
    assert again.recipe_of("adder@lora:r=4,rate=3e-2").lora_rank == 4


def test_the_rank_is_that_of_the_adapters(begin):
    small, large = "@lora:r=1", "@lora:r=6"
    ranks = begin("ranks", small, large)
    ranks.run(device="cpu")
    trained = {run.model: run.result["trained"] for run in ranks.store.runs().itertuples()}
    assert trained["adder@lora:r=6"] == 6 * trained["adder@lora:r=1"]


def test_a_rate_that_is_given_is_not_searched(begin):
    searched = begin("searched", "", "@rate=1e-2", recipe=Recipe(least_steps=12))
    facts = searched.store.candidates().facts
    assert facts["adder"]["search"] > 0
    assert facts["adder@rate=1e-2"]["search"] == 0


def test_the_choice_is_tuned_by_its_own_recipe(study, tmp_path):
    record = finish(study, tmp_path / "tuned", model="adder@lora:r=4,rate=3e-2", device="cpu")
    assert record["recipe"]["lora_rank"] == 4
    assert (tmp_path / "tuned" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    "recipe, said",
    [
        ("@", "must be MODEL or MODEL@RECIPE"),
        ("@loar", "`method` must be full, lora or last-K"),
        ("@lora:ranks=3", "may name method, rate"),
        ("@lora:seed=3", "may name method, rate"),
        ("@lora:rate=fast", "`rate` must be"),
        ("@lora:rate=-1", "`rate` must be"),
        ("@lora:r=0", "`lora_rank` must be"),
        ("@lora:rate", "NAME=VALUE"),
        ("@lora:rate=", "NAME=VALUE"),
        ("@lora:,", "NAME=VALUE"),
        ("@lora:r=4,r=8", "must name each setting once"),
        ("@lora:method=full", "must name each setting once"),
    ],
)
def test_a_recipe_that_does_not_parse_is_refused_by_name(begin, recipe, said):
    with pytest.raises(ValueError, match="`candidate`") as refused:
        begin("refused", recipe)
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "recipes",
    [("@lora", "@lora"), ("@lora:r=4", "@lora:lora_rank=4.0"), ("", "@full"), ("", "@rate=1e-2")],
)
def test_the_same_recipe_twice_is_refused(begin, recipes):
    with pytest.raises(ValueError, match="must be given once each.*leave one out"):
        begin("twice", *recipes)


def test_a_rank_without_adapters_is_refused(begin):
    with pytest.raises(ValueError, match="must be trained by adapters to have a lora_rank"):
        begin("rank", "@r=4")


def test_a_study_set_up_again_is_the_same(study, begin):
    again = begin("both", "", "@lora:r=4,rate=3e-2")
    assert again.ask() == [] and again.facts == study.facts


def test_a_study_from_before_a_setting_goes_on(begin):
    begun = begin("older", "")
    known = {name: value for name, value in begun.facts["recipe"].items() if name != "lora_rank"}
    begun.store.set_fact("recipe", known, anew=True)
    begun.store.close()
    assert begin("older", "").facts["recipe"] == known


def test_own_passes_cost_more(begin):
    prices = begin("dear", "@passes=20", "@passes=40").prices
    assert prices.loc["adder@passes=40", 100] > 1.5 * prices.loc["adder@passes=20", 100]


def test_the_report_says_which_candidates_have_a_recipe_of_their_own(study, tmp_path):
    from lensllm.report.page import study_report

    page = study_report(study, tmp_path / "report.html").read_text()
    assert "adder@lora:r=4,rate=3e-2: " in page and "lora_rank=4" in page


@pytest.mark.parametrize("name", ["~nobody/x", "x" * 5000])
def test_what_cannot_be_a_path_is_a_model_s_name(name):
    assert split_candidate(f"{name}@lora") == (name, dict(method="lora"))


def test_a_folder_with_the_sign_in_its_name_is_a_model(tmp_path):
    (tmp_path / "me@home").mkdir()
    assert split_candidate(tmp_path / "me@home") == (tmp_path / "me@home", {})


def test_a_stranger_s_recipe_is_checked(begin, study):
    import sqlite3

    wrong = begin("wrong", "@lora")
    wrong.store.close()
    with sqlite3.connect(wrong.store.folder / "study.db") as db:
        db.execute("UPDATE candidates SET facts = replace(facts, '\"lora\"', '\"all\"')")
    db.close()
    with pytest.raises(ValueError, match="the recipe of adder@lora"):
        Study(wrong.store.folder)
