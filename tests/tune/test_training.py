"A run is the same for the same seed, however it is interrupted, watched or split."

import copy
import json
import random
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lensllm.models.batches import sequence_loss
from lensllm.models.loading import count_params, load_model
from lensllm.tune import trainer, training
from lensllm.tune.losses import ratio, row_costs
from lensllm.tune.recipe import Recipe
from lensllm.tune.tasks import collate, encode, load_task
from lensllm.tune.trainer import CourseTrainer
from lensllm.tune.training import finetune, probe_rate, work

MEASURED = (
    "test_loss",
    "test_loss_se",
    "byte_loss",
    "valid_loss",
    "step",
    "steps",
    "tokens",
    "flop",
)


def facts(run):
    "What a run measured, and what it cost."
    record = run if isinstance(run, dict) else asdict(run)
    return [record[name] for name in MEASURED]


@pytest.fixture(scope="module")
def again(places, counting, recipe):
    "A function that makes the same run of 200 rows, with other options if you give any."

    def run(**options):
        options = dict(seed=0, recipe=recipe, device="cpu") | options
        return finetune(places["gpt2"], counting, 200, **options)

    return run


@pytest.fixture(scope="module")
def undisturbed(again):
    return again()


@pytest.fixture
def step_by_step(monkeypatch):
    "Checkpoints after every check."
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)


@pytest.fixture
def full_disk(monkeypatch):
    def save(*_, **__):
        raise OSError(28, "no space left")

    return lambda: monkeypatch.setattr(trainer, "sign", save)


class Interrupted(Exception):
    pass


def stop_half_way(step, steps, loss):
    if step > steps / 2:
        raise Interrupted


def leave_half_done(again, checkpoint):
    with pytest.raises(Interrupted):
        again(progress=stop_half_way, checkpoint=checkpoint)
    assert len(list(checkpoint.glob("checkpoint-*"))) == 1


@pytest.mark.parametrize("arch", ["gpt2", "t5"])
def test_rows_cost_the_same_together_and_alone(places, arch):
    model, tokenizer = load_model(places[arch], device="cpu")
    rows = [("ab", "cde"), ("", "xyz 12"), ("a b c", "d")]
    encoded = encode(rows, tokenizer, pairs=model.config.is_encoder_decoder)
    nats, tokens, size = row_costs(model, tokenizer, encoded, rows_at_once=2)
    assert tokens.tolist() == [4, 7, 2]  # each target and its end
    assert size.tolist() == [3, 6, 1]
    alone = [sequence_loss(model, collate([row], tokenizer)).item() for row in encoded]
    np.testing.assert_allclose(nats / tokens, alone, rtol=1e-5)


def test_the_standard_error_of_a_ratio_is_its_spread():
    draws = np.random.default_rng(0).normal([2.0, 1.0], [0.3, 0.2], (4000, 50, 2))
    estimates = np.array([ratio(draw[:, 0], draw[:, 1]) for draw in draws])
    np.testing.assert_allclose(estimates[:, 0].std(), estimates[:, 1].mean(), rtol=0.03)


def test_size_zero_measures_the_model_as_it_is(places, counting, recipe):
    run = finetune(places["gpt2"], counting, 0, seed=0, recipe=recipe, device="cpu")
    assert (run.step, run.tokens, run.cut) == (0, 0, 0)


def test_more_rows_give_a_lower_loss(places, counting, recipe):
    losses = []
    for n in (0, 50, 200, 600):
        run = finetune(places["gpt2"], counting, n, seed=0, recipe=recipe, device="cpu")
        losses.append(run.test_loss)
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[-1] > 1


def test_the_same_seed_is_the_same_run_and_another_is_not(again, undisturbed):
    assert facts(again()) == facts(undisturbed)
    assert facts(again(seed=1)) != facts(undisturbed)


def test_a_batch_in_two_halves_is_the_same_batch(again, undisturbed, recipe):
    split = again(recipe=replace(recipe, rows_at_once=8))
    np.testing.assert_allclose(facts(split), facts(undisturbed), rtol=1e-4)


def test_an_interrupted_run_ends_as_if_undisturbed(again, undisturbed, step_by_step, tmp_path):
    leave_half_done(again, tmp_path / "left")
    assert facts(again(checkpoint=tmp_path / "left")) == facts(undisturbed)
    assert not (tmp_path / "left").exists()


def test_a_run_records_its_losses_by_step(undisturbed):
    steps, trained, valid = zip(*undisturbed.losses)
    assert steps[0] == 0 and trained[0] is None
    assert list(steps) == sorted(set(steps)) and steps[-1] == undisturbed.steps
    assert min(valid) == undisturbed.valid_loss == valid[steps.index(undisturbed.step)]
    assert trained[-1] < trained[1]
    assert json.loads(json.dumps(undisturbed.to_dict()))["losses"] == undisturbed.losses


def test_an_interrupted_run_records_the_losses_before_it_too(
    again, undisturbed, step_by_step, tmp_path
):
    leave_half_done(again, tmp_path / "left")
    assert again(checkpoint=tmp_path / "left").losses == undisturbed.losses


def test_the_training_loss_is_that_of_the_batches(places, counting, recipe):
    "At a rate of almost nothing, a pass over all rows reads what they cost."
    slow = replace(recipe, rate=1e-12, passes=1, least_steps=1, batch=10, checks=1, valid_rows=20)
    run = finetune(places["gpt2"], counting, 100, seed=0, recipe=slow, device="cpu")
    model, tokenizer = load_model(places["gpt2"], device="cpu")
    rows = encode(counting.subset(100), tokenizer, max_tokens=training.max_tokens(model, slow))
    nats, tokens, _ = row_costs(model, tokenizer, rows, 10)
    assert run.losses[-1][1] == pytest.approx(ratio(nats, tokens)[0], rel=0.02)


def test_a_checkpoint_of_another_run_is_left_alone(again, recipe, step_by_step, tmp_path):
    leave_half_done(again, tmp_path / "left")
    slower = replace(recipe, rate=1e-3)
    assert facts(again(recipe=slower, checkpoint=tmp_path / "left")) == facts(again(recipe=slower))


def test_a_full_disk_costs_no_run(again, undisturbed, step_by_step, full_disk, tmp_path):
    full_disk()
    assert facts(again(checkpoint=tmp_path / "left")) == facts(undisturbed)


def tear(checkpoint):
    (checkpoint / "optimizer.pt").write_bytes(b"torn")


def tear_the_best(checkpoint):
    (checkpoint / "best.safetensors").write_bytes(b"torn")


def write_another_version(checkpoint):
    (checkpoint / "run.json").write_text('{"step": 1}')


def leave_it_unsigned(checkpoint):
    (checkpoint / "run.json").unlink()


@pytest.mark.parametrize(
    "spoil",
    [tear, tear_the_best, write_another_version, leave_it_unsigned],
    ids=lambda f: f.__name__,
)
def test_a_checkpoint_that_cannot_be_used_starts_the_run_anew(
    again, undisturbed, step_by_step, tmp_path, spoil
):
    leave_half_done(again, tmp_path / "left")
    spoil(next((tmp_path / "left").glob("checkpoint-*")))
    assert facts(again(checkpoint=tmp_path / "left")) == facts(undisturbed)


def test_a_link_in_a_checkpoint_is_not_followed(again, undisturbed, step_by_step, tmp_path):
    leave_half_done(again, tmp_path / "left")
    state = next((tmp_path / "left").glob("checkpoint-*")) / "optimizer.pt"
    state.rename(tmp_path / "elsewhere")
    state.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    assert facts(again(checkpoint=tmp_path / "left")) == facts(undisturbed)
    assert (tmp_path / "elsewhere").read_bytes() == before


@pytest.fixture(scope="module")
def climb(places, counting, recipe):
    "A function that makes a ladder of runs that continue from one another."

    def runs(trunk, sizes, **settings):
        continues = replace(recipe, ladder="continue", **settings)
        options = dict(seed=0, recipe=continues, device="cpu", trunk=trunk)
        return [finetune(places["gpt2"], counting, n, **options) for n in sizes]

    return runs


@pytest.fixture(scope="module")
def went_on(climb, tmp_path_factory):
    return climb(tmp_path_factory.mktemp("trunk"), (80, 160, 320, 640))


def test_a_ladder_that_continues_takes_fewer_tokens(places, counting, recipe, went_on):
    options = dict(seed=0, recipe=recipe, device="cpu")
    fresh = [finetune(places["gpt2"], counting, r.train_size, **options) for r in went_on]
    assert went_on[0].steps < fresh[0].steps
    assert sum(r.tokens for r in went_on) < 0.6 * sum(r.tokens for r in fresh)


def test_a_ladder_interrupted_between_sizes_ends_the_same(climb, went_on, tmp_path):
    assert facts(climb(tmp_path, (80, 160))[1]) == facts(went_on[1])
    assert facts(climb(tmp_path, (160,))[0]) == facts(went_on[1])  # once more from the size below


def test_a_torn_state_starts_the_ladder_anew(climb, tmp_path):
    climb(tmp_path, (80,))
    tear(next((tmp_path / "80").glob("checkpoint-*")))
    assert climb(tmp_path, (160,))[0].came_from == 0


def test_runs_say_where_they_came_from(climb, went_on, tmp_path):
    assert [run.came_from for run in went_on] == [0, 80, 160, 320]
    assert climb(tmp_path, (160,))[0].came_from == 0


def test_a_full_disk_costs_the_way_on_and_not_the_run(climb, went_on, full_disk, tmp_path):
    full_disk()
    run = climb(tmp_path, (80,))[0]
    assert abs(run.test_loss - went_on[0].test_loss) < 0.2
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def by_heart(climb, tmp_path_factory):
    "Runs of 30 and 60 rows, the first of which stops early, and the rows of each step."
    trunk, steps = tmp_path_factory.mktemp("early"), []
    compute = CourseTrainer.compute_loss

    def noting(self, model, inputs, *args, **options):
        rows = zip(inputs["input_ids"].tolist(), inputs["attention_mask"].sum(1).tolist())
        steps.append({tuple(ids[:length]) for ids, length in rows})
        return compute(self, model, inputs, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CourseTrainer, "compute_loss", noting)
        run = climb(trunk, (30,), passes=80, rate=2e-2)[0]
        first = len(steps)
        climb(trunk, (60,), passes=80, rate=2e-2)
    return SimpleNamespace(trunk=trunk, run=run, first=steps[:first], second=steps[first:])


def test_a_trunk_holds_one_state_per_size(by_heart):
    assert sorted(path.name for path in by_heart.trunk.iterdir()) == ["30", "60"]


def test_a_trunk_continues_from_the_best_state_at_the_full_rate(by_heart, recipe):
    left = int(next((by_heart.trunk / "30").iterdir()).name.removeprefix("checkpoint-"))
    held, falling = replace(recipe, passes=80).steps_from(0, 30)
    assert by_heart.run.steps == left + falling
    assert left < held  # which was not the last
    assert len(by_heart.first) < held + falling  # and there was not much beyond it


def test_new_rows_come_at_the_full_rate_and_then_all(by_heart, counting, alphabet):
    smaller = {tuple(ids) for ids, _ in encode(counting.train[:30], alphabet)}
    assert set.union(*by_heart.first) == smaller
    assert not by_heart.second[0] & smaller
    assert by_heart.second[-1] & smaller


def test_a_ladder_that_continues_needs_a_trunk(places, counting, recipe):
    continues = replace(recipe, ladder="continue")
    with pytest.raises(ValueError, match="`trunk` must be a folder"):
        finetune(places["gpt2"], counting, 100, seed=0, recipe=continues, device="cpu")


def work_by_hand(rows, flop, n, encoder):
    "FLOP of work on rows; prompt and target end with one token more."
    if not encoder:
        return flop * sum(n * (len(prompt) + len(target) + 1) for prompt, target in rows)
    decoder = n - encoder
    return flop * sum(encoder * (len(p) + 1) + decoder * (len(t) + 1) for p, t in rows)


@pytest.mark.parametrize("arch", ["gpt2", "t5"])
def test_the_work_of_a_run_by_hand(places, counting, recipe, arch):
    whole = replace(recipe, batch=10, least_steps=1, passes=6, patience=99)
    sizes = count_params(load_model(places[arch], device="cpu")[0])
    run = finetune(places[arch], counting, 50, seed=0, recipe=whole, device="cpu")
    checks = whole.effort(0, 50)[1]
    by_hand = 6 * work_by_hand(counting.train[:50], 6, *sizes)
    by_hand += checks * work_by_hand(counting.valid[: whole.valid_rows], 2, *sizes)
    by_hand += work_by_hand(counting.test, 2, *sizes)
    np.testing.assert_allclose(run.flop, by_hand)


@pytest.mark.parametrize(
    "arch, method", [("t5", "full"), ("gpt2", "lora"), ("t5", "lora"), ("gpt2", "last-1")]
)
def test_every_method_learns(places, counting, recipe, arch, method):
    options = dict(seed=0, device="cpu")
    method_recipe = replace(recipe, method=method)
    tuned = finetune(places[arch], counting, 200, recipe=method_recipe, **options)
    untuned = finetune(places[arch], counting, 0, recipe=recipe, **options)
    assert tuned.test_loss < untuned.test_loss


def test_what_is_not_trained_does_not_move(places, again, recipe, tmp_path):
    again(recipe=replace(recipe, method="last-1"), keep=tmp_path / "kept")
    kept, _ = load_model(tmp_path / "kept", device="cpu")
    start, _ = load_model(places["gpt2"], device="cpu")
    moved = [
        name for name, p in kept.named_parameters() if not torch.equal(p, start.get_parameter(name))
    ]
    assert moved
    assert all(name.startswith(("transformer.h.1", "transformer.ln_f")) for name in moved)


def test_watching_shows_both_ends_and_changes_nothing(places, counting, again, undisturbed):
    moments, ends = [], {}

    def look(at):
        torch.rand(100)  # random numbers that are not the training's
        moments.append((at.step, at.last))
        if at.step == 0 or at.last:
            ends[at.last] = copy.deepcopy(at.model)

    assert facts(again(watch=look)) == facts(undisturbed)
    assert moments[0] == (0, False)
    assert moments[-1] == (undisturbed.step, True)
    start, tokenizer = load_model(places["gpt2"], device="cpu")
    for p, q in zip(ends[False].parameters(), start.parameters()):
        assert torch.equal(p, q)
    costs = row_costs(ends[True], tokenizer, encode(counting.test, tokenizer))
    assert ratio(*costs[:2])[0] == undisturbed.test_loss


def test_a_run_leaves_the_random_numbers_of_its_process_alone(again):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    again(watch=lambda at: torch.rand(100))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


@pytest.fixture
def little_memory(monkeypatch):
    "Training steps of more than five rows fail after a while; the sizes of all batches that came."
    sizes = []

    def forgetful(model, batch):
        sizes.append(len(batch["labels"]))
        if len(batch["labels"]) > 5 and model.training and len(sizes) > 30:
            raise torch.OutOfMemoryError("no memory")
        return sequence_loss(model, batch)

    monkeypatch.setattr(trainer, "sequence_loss", forgetful)
    return sizes


def test_where_memory_runs_out_a_run_takes_fewer_rows_at_once(again, undisturbed, little_memory):
    small = again()
    assert small.rows_at_once == 4
    np.testing.assert_allclose(facts(small), facts(undisturbed), rtol=1e-4)


def test_a_probe_finds_the_rate_where_memory_runs_out(places, counting, little_memory):
    assert probe_rate(places["gpt2"], counting, recipe=Recipe(), seed=0, device="cpu") == 3e-3
    assert max(little_memory[40:]) > 5


def test_a_run_without_a_rate_takes_that_of_the_probe(places, counting):
    rate = probe_rate(places["gpt2"], counting, recipe=Recipe(), seed=0, device="cpu")
    assert rate == 3e-3
    short = Recipe(least_steps=5)
    run = finetune(places["gpt2"], counting, 50, seed=0, recipe=short, device="cpu")
    assert run.rate == rate


@pytest.fixture(scope="module")
def spec(places, counting, recipe, tmp_path_factory):
    "A run as plain data."
    path = tmp_path_factory.mktemp("spec") / "few.csv"
    lines = [f"{prompt},{target}" for prompt, target in counting.train[:100]]
    path.write_text("\n".join(["prompt,target", *lines]))
    return dict(
        model=str(places["gpt2"]),
        task=dict(task=str(path), test=None, columns=None),
        train_size=50,
        seed=0,
        recipe=asdict(recipe),
        device="cpu",
        checkpoint=None,
    )


def test_a_run_as_plain_data_is_the_same_run(spec, recipe):
    task = load_task(spec["task"]["task"])
    run = finetune(spec["model"], task, 50, seed=0, recipe=recipe, device="cpu")
    assert work(spec)["test_loss"] == run.test_loss


def test_findings_change_no_loss(spec):
    with_findings = work(spec | dict(findings_of=5))
    assert with_findings["findings"]["runs"] == 5
    assert facts(with_findings) == facts(work(spec))


def test_findings_are_not_rounded_where_training_is(spec, recipe, again):
    half = replace(recipe, precision="bfloat16")
    found = work(spec | dict(findings_of=5, recipe=asdict(half)))["findings"]
    assert found["drift"] > 0
    plain = []
    look = lambda at: plain.append(at.model.forward.__func__ is type(at.model).forward)
    again(recipe=half, watch=look)
    assert plain and all(plain)


def test_too_large_a_run_is_not_tried_again(spec):
    assert work(spec | dict(train_size=10_000))["again"] is False


@pytest.mark.parametrize(
    "error, record",
    [
        (
            IndexError("index out of range in self"),
            dict(reason="IndexError: index out of range in self", again=False),
        ),
        (
            torch.OutOfMemoryError("no memory"),
            dict(reason="OutOfMemoryError: no memory", again=True),
        ),
    ],
)
def test_what_goes_wrong_comes_back_as_a_reason(spec, monkeypatch, error, record):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr(training, "finetune", broken)
    assert work(spec) == record


def test_a_full_disk_is_no_candidates_fault(spec, monkeypatch):
    def broken(*_, **__):
        raise OSError(28, "no space left")

    monkeypatch.setattr(training, "finetune", broken)
    with pytest.raises(OSError, match="no space left"):
        work(spec)


def test_a_run_uses_as_many_threads_as_it_is_told(spec, monkeypatch):
    seen, before = [], torch.get_num_threads()

    def count(*_, **__):
        seen.append(torch.get_num_threads())
        raise ValueError("enough")

    monkeypatch.setattr(training, "finetune", count)
    work(spec | dict(threads=before + 1))
    work(spec)
    assert seen == [before + 1, before]
    assert torch.get_num_threads() == before


def refused(error, message, **options):
    with pytest.raises(error, match=message):
        finetune(options.pop("model"), options.pop("task"), options.pop("n"), seed=0, **options)


def test_more_rows_than_the_task_has_are_refused(places, counting, recipe):
    refused(
        ValueError,
        "`train_size` must be 1 to",
        model=places["gpt2"],
        task=counting,
        n=10_000,
        recipe=recipe,
    )


@pytest.mark.parametrize(
    "settings, error, message",
    [
        (dict(max_tokens=1000), ValueError, "`max_tokens` must be <= 64"),
        (dict(method="last-7"), ValueError, "needs that many layers"),
        (dict(rate=1e30, clip=1e30), FloatingPointError, "take a lower one"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(places, counting, recipe, settings, error, message):
    settings = replace(recipe, **settings)
    refused(error, message, model=places["gpt2"], task=counting, n=50, recipe=settings)


def test_a_folder_that_holds_something_is_not_overwritten(counting, recipe, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a").write_text("a")
    refused(
        ValueError,
        "`keep` must be a new folder",
        model=tmp_path / "nowhere",
        task=counting,
        n=50,
        recipe=recipe,
        keep=tmp_path / "kept",
    )


def test_a_model_without_a_finite_loss_is_refused(places, counting, recipe, tmp_path):
    spoilt, tokenizer = load_model(places["gpt2"], device="cpu")
    with torch.no_grad():
        next(spoilt.parameters()).mul_(1e38)  # finite weights, whose logits overflow
    spoilt.save_pretrained(tmp_path / "spoilt")
    tokenizer.save_pretrained(tmp_path / "spoilt")
    refused(
        ValueError,
        "`MODEL` must have a finite loss before training, got nan",
        model=tmp_path / "spoilt",
        task=counting,
        n=0,
        recipe=recipe,
        device="cpu",
    )
