"A run is a Trainer: what it is told, what it is not, and what it needs when memory is short."

import json
import shutil
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lensllm.models.loading import load_model
from lensllm.tune import trainer, training
from lensllm.tune.recipe import Recipe
from lensllm.tune.tasks import encode
from lensllm.tune.trainer import Best, Course, Order, check_arguments, training_arguments
from lensllm.tune.trainer import Stretch
from lensllm.tune.training import finetune, loading_options, prepared

CPU = torch.device("cpu")


@pytest.mark.parametrize("n, batch", [(5, 2), (3, 7), (16, 4)])
def test_each_row_comes_once_before_any_comes_again(n, batch):
    order = list(Order(n, batch, seed=3, start=0, end=20))
    for lap in range(len(order) // n):
        assert sorted(order[lap * n : (lap + 1) * n]) == list(range(n))


def test_the_rows_of_a_step_do_not_depend_on_where_the_order_starts():
    late, whole = Order(7, 3, seed=0, start=4, end=9), Order(7, 3, seed=0, start=0, end=9)
    assert list(late) == list(whole)[4 * 3 :]
    assert late.step(6) == whole.step(6) == list(late)[2 * 3 : 3 * 3]


@pytest.mark.parametrize("is_small", [True, False])
def test_a_best_state_comes_back_from_where_it_was_written(tmp_path, is_small):
    (tmp_path / "other").mkdir()
    tied = torch.nn.Parameter(torch.arange(4.0))
    best = Best([tied, torch.nn.Parameter(tied.data[:2])], tmp_path)
    best.is_small = is_small
    best.keep(0.5, 3)
    best.write(tmp_path / "other" / "kept.safetensors")
    tied.data += 1
    again = Best(best.weights, tmp_path / "other")
    again.is_small = is_small
    again.read(tmp_path / "other" / "kept.safetensors")
    again.restore()
    assert tied.tolist() == [0, 1, 2, 3]


def test_a_large_best_state_lies_in_a_file_and_changes_no_loss(
    places, counting, recipe, monkeypatch
):
    options = dict(seed=0, recipe=recipe, device="cpu")
    small = finetune(places["gpt2"], counting, 100, **options)
    monkeypatch.setattr(trainer, "SMALL", 0)
    large = finetune(places["gpt2"], counting, 100, **options)
    assert (large.test_loss, large.step) == (small.test_loss, small.step)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(optimm="adafactor"), "did you mean optim?"),
        (dict(learning_rate=1e-3), "set rate"),
        (dict(eval_steps=10), "set checks, valid_rows and patience"),
        (dict(save_total_limit=3), "keeps its own files"),
        (dict(push_to_hub=True), "lensllm finish"),
        (dict(adam_beta1="much"), "must give adam_beta1 as a number"),
        (dict(bf16="maybe"), "must give bf16 as true or false"),
        (dict(logging_first_step=1), "must give logging_first_step as true or false"),
        (dict(torch_empty_cache_steps="x", optim="fast"), "not a valid OptimizerNames"),
        (dict(report_to="nobody"), "trackers that are installed, got 'nobody'"),
        (dict(report_to=["nobody"]), "trackers that are installed, got 'nobody'"),
        (dict(fp16=True), "leave fp16 out on a CPU"),
        (dict(fsdp="full_shard"), "leave fsdp to the study"),
        (dict(deepspeed={}), "leave deepspeed to the study"),
        (dict(full_determinism=True), "change the whole process"),
    ],
)
def test_what_trainer_cannot_be_told_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_arguments(arguments, CPU)


@pytest.fixture
def told(places, counting, alphabet, tmp_path):
    "A function that returns what Trainer is told for a recipe."

    def arguments(recipe):
        model, tokenizer = load_model(places["gpt2"], device="cpu")
        rows = encode(counting.train[:20], tokenizer)
        options = dict(rate=1e-3, seed=0, folder=tmp_path, rows_at_once=4)
        course = Course(prepared(model, recipe), tokenizer, rows, recipe, **options)
        stretch = Stretch(rows, 0, 10, 5, lambda step: 1.0, tmp_path)
        return training_arguments(course, stretch, 10)

    return arguments


def test_a_recipe_in_the_words_of_trainer(told):
    found = told(Recipe(rate=1e-3, batch=16, clip=float("inf"), warmup=0.5))
    assert (found.max_steps, found.learning_rate, found.max_grad_norm) == (10, 1e-3, 0.0)
    assert (found.per_device_train_batch_size, found.gradient_accumulation_steps) == (4, 4)
    assert found.warmup_steps == 5
    assert found.report_to == []


def test_further_fields_reach_trainer(told):
    found = told(Recipe(rate=1e-3, arguments=dict(optim="sgd", gradient_checkpointing=True)))
    assert found.optim == "sgd"
    assert getattr(found, trainer._CHECKPOINTING) is True


@pytest.mark.parametrize(
    "arguments",
    [
        dict(optim="adafactor"),
        dict(lr_scheduler_type="constant"),
        dict(neftune_noise_alpha=5.0),
    ],
)
def test_other_optimisers_and_schedules_train_otherwise(places, counting, recipe, arguments):
    options = dict(seed=0, device="cpu")
    usual = finetune(places["gpt2"], counting, 100, recipe=recipe, **options)
    other = replace(recipe, arguments=arguments)
    run = finetune(places["gpt2"], counting, 100, recipe=other, **options)
    assert run.test_loss != usual.test_loss
    assert run.recipe["arguments"] == arguments


def test_activations_computed_again_change_no_loss(places, counting, recipe):
    options = dict(seed=0, device="cpu")
    usual = finetune(places["t5"], counting, 100, recipe=recipe, **options)
    saving = replace(recipe, arguments=dict(gradient_checkpointing=True))
    run = finetune(places["t5"], counting, 100, recipe=saving, **options)
    assert run.test_loss == pytest.approx(usual.test_loss, rel=1e-4)


def test_a_tracker_gets_the_losses(places, counting, recipe, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
    reporting = replace(recipe, arguments=dict(report_to="tensorboard"))
    finetune(places["gpt2"], counting, 100, seed=0, recipe=reporting, device="cpu")
    assert list((tmp_path / "logs").rglob("events.*"))


@pytest.fixture
def no_memory(monkeypatch):
    "Every training step fails; rows at once, and whether activations are computed again."
    tries = []

    def compute_loss(self, model, inputs, *_, **__):
        tries.append((len(inputs["labels"]), model.is_activation_checkpointing))
        raise torch.OutOfMemoryError("no memory")

    monkeypatch.setattr(trainer.CourseTrainer, "compute_loss", compute_loss)
    return tries


def test_where_nothing_fits_a_run_says_what_would(places, counting, recipe, no_memory):
    with pytest.raises(MemoryError, match="--method lora, a smaller --max-tokens"):
        finetune(places["gpt2"], counting, 50, seed=0, recipe=recipe, device="cpu")
    assert no_memory == [(16, False), (8, False), (4, False), (2, False), (1, False), (1, True)]


def test_half_precision_is_for_the_weights_under_adapters():
    plain, half = Recipe(method="lora"), Recipe(method="lora", load="bfloat16")
    assert loading_options(plain, CPU)["dtype"] is torch.float32
    assert loading_options(half, CPU)["dtype"] is torch.bfloat16


def test_adapters_on_weights_in_half_precision_learn(places, counting, recipe):
    half = replace(recipe, method="lora", load="bfloat16")
    run = finetune(places["t5"], counting, 200, seed=0, recipe=half, device="cpu")
    as_is = finetune(places["t5"], counting, 0, seed=0, recipe=half, device="cpu")
    assert run.test_loss < as_is.test_loss


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(load="4bit", method="lora"), "`load` must be auto, float32 or bfloat16 on a CPU"),
        (dict(load="half"), "`load` must be one of"),
        (dict(arguments=dict(a=float("nan"))), "`arguments` must hold numbers"),
    ],
)
def test_weights_that_cannot_be_loaded_so_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        loading_options(Recipe(**settings), CPU)


def test_a_checkpoint_says_whose_it_is(places, counting, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)

    def stop(step, steps, loss):
        if step > steps / 2:
            raise KeyboardInterrupt

    options = dict(seed=0, recipe=recipe, device="cpu", checkpoint=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        finetune(places["gpt2"], counting, 100, progress=stop, **options)
    (signed,) = (tmp_path / "run").glob("checkpoint-*/run.json")
    assert json.loads(signed.read_text())["tokens"] > 0


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("recipe", [Recipe(batch=16), Recipe(batch=12, rows_at_once=5)])
def test_a_step_has_the_rows_of_a_batch_however_they_are_shared(recipe, processes, monkeypatch):
    monkeypatch.setattr(trainer, "_processes", lambda: processes)
    for rows_at_once, _ in trainer._ways(recipe):
        accumulated = recipe.batch // rows_at_once
        assert rows_at_once // processes * accumulated * processes == recipe.batch


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    monkeypatch.setattr(trainer, "_processes", lambda: 3)
    with pytest.raises(ValueError, match="multiples of the 3 processes"):
        next(trainer._ways(Recipe(batch=16)))


def test_a_kept_model_has_the_configuration_that_it_had(places, counting, recipe, tmp_path):
    options = dict(seed=0, recipe=recipe, device="cpu", keep=tmp_path / "kept")
    finetune(places["gpt2"], counting, 50, **options)
    before, after = (
        json.loads((folder / "config.json").read_text())
        for folder in (places["gpt2"], tmp_path / "kept")
    )
    assert after.get("use_cache") == before.get("use_cache")


def test_the_model_that_ran_out_of_memory_is_gone_before_another_is_loaded(
    places, counting, recipe, monkeypatch
):
    alive, ready = [], training._Source.ready

    def watched(source):
        gone = [model() is None for model in alive]
        assert all(gone)
        model = ready(source)
        alive.append(weakref.ref(model))
        return model

    def compute_loss(self, model, inputs, *_, **__):
        if len(inputs["labels"]) > 4:
            raise torch.OutOfMemoryError("no memory")
        return usual(self, model, inputs, *_, **__)

    usual = trainer.CourseTrainer.compute_loss
    monkeypatch.setattr(training._Source, "ready", watched)
    monkeypatch.setattr(trainer.CourseTrainer, "compute_loss", compute_loss)
    run = finetune(places["gpt2"], counting, 50, seed=0, recipe=recipe, device="cpu")
    assert (run.rows_at_once, len(alive)) == (4, 3)


@pytest.fixture
def leave_half_done(places, counting, recipe, tmp_path, monkeypatch):
    "A function that leaves a run half way, with a checkpoint."
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)

    def stop(step, steps, loss):
        if step > steps / 2:
            raise KeyboardInterrupt

    def leave(n):
        options = dict(seed=0, recipe=recipe, device="cpu", checkpoint=tmp_path / "run")
        with pytest.raises(KeyboardInterrupt):
            finetune(places["gpt2"], counting, n, progress=stop, **options)
        return options

    return leave


def test_a_checkpoint_of_other_rows_is_left_alone(places, counting, leave_half_done):
    options = leave_half_done(20)
    steps = []
    look = lambda step, *_: steps.append(step)
    finetune(places["gpt2"], counting, 30, progress=look, **options)  # as many steps as for 20
    assert min(steps) < 10


def test_nothing_is_written_through_a_link(places, counting, leave_half_done, tmp_path):
    options = leave_half_done(50)
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.json").write_text("mine")
    shutil.rmtree(checkpoint)
    for step in range(100):
        (tmp_path / "run" / f"checkpoint-{step}").symlink_to(elsewhere)
    finetune(places["gpt2"], counting, 50, **options)
    assert [path.name for path in elsewhere.iterdir()] == ["config.json"]
    assert (elsewhere / "config.json").read_text() == "mine"


def test_a_ladder_writes_through_no_link(places, counting, recipe, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "checkpoint-7").mkdir(parents=True)
    (tmp_path / "trunk").mkdir()
    (tmp_path / "trunk" / "50.part").symlink_to(elsewhere)
    continues = replace(recipe, ladder="continue")
    options = dict(seed=0, recipe=continues, device="cpu", trunk=tmp_path / "trunk")
    finetune(places["gpt2"], counting, 50, **options)
    assert [path.name for path in elsewhere.iterdir()] == ["checkpoint-7"]
    assert list((tmp_path / "trunk" / "50").glob("checkpoint-*"))  # the ladder goes on


def test_a_disk_that_fills_up_in_between_costs_the_way_on_and_not_the_best_state(
    places, counting, recipe, tmp_path, monkeypatch
):
    sign, calls = trainer.sign, []

    def second_fails(*args, **options):
        calls.append(args)
        if len(calls) > 1:
            raise OSError(28, "no space left")
        sign(*args, **options)

    continues = replace(recipe, ladder="continue")
    options = dict(seed=0, recipe=continues, device="cpu")
    undisturbed = finetune(places["gpt2"], counting, 80, trunk=tmp_path / "a", **options)
    monkeypatch.setattr(trainer, "sign", second_fails)
    run = finetune(places["gpt2"], counting, 80, trunk=tmp_path / "b", **options)
    assert (run.steps, run.tokens) == (undisturbed.steps, undisturbed.tokens)
    assert abs(run.test_loss - undisturbed.test_loss) < 0.2


def test_a_schedule_of_trainer_does_not_go_with_a_ladder_that_continues():
    with pytest.raises(ValueError, match="leave lr_scheduler_type out where a ladder continues"):
        Recipe(ladder="continue", arguments=dict(lr_scheduler_type="linear"))


def test_batches_that_were_trained_on_are_kept_as_two_numbers():
    course = SimpleNamespace(trained_on=None)
    Course.note_batch(course, torch.tensor(6.0), torch.tensor(2))
    first = course.trained_on
    for nats, tokens in ((1.0, 3), (2.0, 1)):
        Course.note_batch(course, torch.tensor(nats), torch.tensor(tokens))
    assert course.trained_on is first  # added to in place
    assert Course._training_loss(course) == 1.5
    assert Course._training_loss(course) is None
