"A study ends with a tuned model that says what it is and loads."

import json

import pytest
import torch
from lensllm.models.loading import load_model
from lensllm.tune import trainer
from lensllm.tune.handover import finish, loading_lines
from lensllm.tune.recipe import Recipe
from lensllm.tune.study import Study, new_study


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_sums, save_candidate):
    "A study of a causal model and an encoder-decoder, one run each."
    folder = tmp_path_factory.mktemp("finish")
    models = [save_candidate(folder, name, name) for name in ("gpt2", "t5")]
    begun = new_study(
        folder / "study",
        task=write_sums(folder / "sums.jsonl"),
        candidates=models,
        sizes=[50, 100],
        budget_size=50,
        recipe=Recipe(rate=1e-2, passes=2, least_steps=12, checks=3),
    )
    begun.run(device="cpu")
    return begun


@pytest.fixture
def begin(tmp_path, write_sums, save_candidate):
    "A function that begins a study of causal models without running it."

    def begun(*names, **options):
        return new_study(
            tmp_path / "study",
            task=write_sums(tmp_path / "sums.jsonl"),
            candidates=[save_candidate(tmp_path, name, "gpt2") for name in names],
            sizes=[50],
            budget_size=50,
            **options,
        )

    return begun


def test_the_choice_is_tuned_on_all_rows_and_loads(study, tmp_path):
    record = finish(study, tmp_path / "tuned", device="cpu")
    assert record["model"].endswith(study.choice())
    assert record["train_size"] > 100
    model, _ = load_model(tmp_path / "tuned", device="cpu")
    assert sum(p.numel() for p in model.parameters()) == record["n_params"]
    assert json.loads((tmp_path / "tuned" / "lensllm.json").read_text()) == record


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_the_printed_lines_load_the_model(study, tmp_path, name):
    record = finish(study, tmp_path / "tuned", model=name, device="cpu")
    names = {}
    exec(loading_lines(tmp_path / "tuned", record), names)
    assert names["model"].config.is_encoder_decoder == (name == "t5")


def test_the_card_says_what_it_is(study, tmp_path):
    record = finish(study, tmp_path / "tuned", model="gpt2", certificate=True, device="cpu")
    card = (tmp_path / "tuned" / "README.md").read_text()
    for part in (study.facts["source"]["fingerprint"], f"{record['byte_loss']:.4f}", "certificate"):
        assert part in card
    assert record["findings"]["runs"] == 2  # candidates among which the test rows chose


def test_texts_that_have_changed_are_refused(begin, tmp_path):
    begun = begin("gpt2")
    texts = (tmp_path / "sums.jsonl").read_text()
    (tmp_path / "sums.jsonl").write_text(texts.replace("nine", "none"))
    with pytest.raises(ValueError, match="texts that the study began with"):
        finish(begun, tmp_path / "tuned", model="gpt2", device="cpu")


def test_a_finish_that_is_stopped_goes_on(study, tmp_path, monkeypatch):
    undisturbed = finish(study, tmp_path / "whole", model="gpt2", device="cpu")
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)

    def stop(step, steps, loss):
        if step > steps / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(study, tmp_path / "tuned", model="gpt2", device="cpu", progress=stop)
    assert not (tmp_path / "tuned").exists()
    steps = []
    look = lambda step, *_: steps.append(step)
    record = finish(study, tmp_path / "tuned", model="gpt2", device="cpu", progress=look)
    assert record["test_loss"] == undisturbed["test_loss"]
    assert min(steps) > record["steps"] / 3


def test_adapters_are_saved_alone(begin, tmp_path):
    begun = begin("gpt2", recipe=Recipe(rate=1e-2, method="lora", passes=1, least_steps=4))
    record = finish(begun, tmp_path / "tuned", model="gpt2", device="cpu")
    assert (tmp_path / "tuned" / "adapter_model.safetensors").is_file()
    names = {}
    exec(loading_lines(tmp_path / "tuned", record), names)
    assert isinstance(names["model"], torch.nn.Module)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(model="nobody"), "`model` must be one of gpt2, t5"),
        (dict(folder="full"), "`folder` must be a new folder"),
        (dict(folder="no/where"), "`folder` must lie in a folder"),
    ],
)
def test_what_cannot_be_finished_is_refused(study, tmp_path, options, message):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("a")
    folder = tmp_path / options.pop("folder", "tuned")
    with pytest.raises(ValueError, match=message):
        finish(study, folder, device="cpu", **options)


def test_a_strangers_study_is_finished_only_when_its_sources_are_named(study, tmp_path):
    opened = Study(study.store.folder)
    with pytest.raises(ValueError, match="`trust` must hold sources"):
        finish(opened, tmp_path / "tuned", model="gpt2", device="cpu")


def test_without_a_run_there_is_no_choice(begin, tmp_path):
    with pytest.raises(ValueError, match="`model` must be given while no run is done"):
        finish(begin("a", "b"), tmp_path / "tuned", device="cpu")
