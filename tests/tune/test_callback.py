"A Trainer script that tells a study what came of its run."

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainingArguments

from lensllm._internal.tiny import tiny_model
from lensllm.tune.callback import TellCallback
from lensllm.tune.study import Study, new_study


def rows(n):
    starts = torch.arange(n) % 8
    return [dict(input_ids=ids, labels=ids) for ids in starts[:, None] + torch.arange(12)]


@pytest.fixture
def study(tmp_path):
    return new_study(
        tmp_path / "study",
        task="counting",
        candidates=dict(small=1e6, large=2e6),
        budget=0.3,
        target=6400,
    )


def trained(folder, callback, train=None, evaluation=None, **settings):
    "A short training with the callback."
    arguments = dict(max_steps=4, learning_rate=1e-2, report_to="none", disable_tqdm=True)
    arguments |= dict(save_strategy="no", use_cpu=True) | settings
    trainer = Trainer(
        tiny_model("gpt2", seed=0, vocab=32, tokens=16),
        TrainingArguments(folder / "run", **arguments),
        train_dataset=rows(24) if train is None else train,
        eval_dataset=rows(8) if evaluation is None else evaluation,
        callbacks=[callback],
    )
    trainer.train()
    return trainer


def logged(trainer, key="eval_loss"):
    return [entry[key] for entry in trainer.state.log_history if key in entry]


EVERY_STEP = dict(eval_strategy="steps", eval_steps=1)


def only_run(study):
    runs = study.store.runs()
    assert len(runs) == 1
    return runs.iloc[0]


@pytest.mark.parametrize("take, of_all", [("best", min), ("last", lambda losses: losses[-1])])
def test_the_study_knows_rows_and_loss(tmp_path, study, take, of_all):
    callback = TellCallback(study, "small", take=take)
    trainer = trained(
        tmp_path, callback, learning_rate=1.0, lr_scheduler_type="constant", **EVERY_STEP
    )
    run = only_run(study)
    losses = logged(trainer)
    assert (run.model, run.train_size, run.seed, run.state) == ("small", 24, 0, "done")
    assert run.test_loss == of_all(losses)
    assert losses[-1] > min(losses)  # else both rules were the same here


def test_the_untrained_model_does_not_speak_for_the_run(tmp_path, study):
    still = dict(learning_rate=0.0, eval_on_start=True)
    trainer = trained(tmp_path, TellCallback(study, "small"), **still)
    assert len(logged(trainer)) == 1
    assert study.store.runs().empty


def test_an_evaluation_after_training_tells_too(tmp_path, study):
    trainer = trained(tmp_path, TellCallback(study, "small"))
    assert study.store.runs().empty
    loss = trainer.evaluate()["eval_loss"]
    assert only_run(study).test_loss == loss
    trainer.evaluate(rows(3))
    assert only_run(study).test_loss == loss


def test_a_folder_serves_as_the_study_and_a_seed_is_kept(tmp_path, study):
    callback = TellCallback(study.store.folder, "large", seed=7, train_size=400)
    trained(tmp_path, callback, **EVERY_STEP)
    run = only_run(Study(study.store.folder))
    assert (run.model, run.train_size, run.seed) == ("large", 400, 7)


def test_one_of_several_evaluation_sets_speaks(tmp_path, study):
    callback = TellCallback(study, "small", eval_set="news")
    sets = dict(news=rows(8), chat=rows(3))
    trainer = trained(tmp_path, callback, evaluation=sets, **EVERY_STEP)
    assert only_run(study).test_loss == min(logged(trainer, "eval_news_loss"))


def test_a_run_that_diverged_has_failed(tmp_path, study):
    class Diverges(TellCallback):
        def on_evaluate(self, args, state, control, **kwargs):
            for entry in state.log_history:
                if "eval_loss" in entry:
                    entry["eval_loss"] = np.nan

    trained(tmp_path, Diverges(study, "small"), **EVERY_STEP)
    run = only_run(study)
    assert (run.state, run.reason) == ("failed", "eval_loss is nan")


def test_a_lent_run_counts_once_though_its_lease_has_ended(tmp_path, study):
    model, train_size, seed = study.lend(lease=0.001)[0]
    trained(tmp_path, TellCallback(study, model, train_size=train_size), **EVERY_STEP)
    told = study.store.runs().query("state == 'done'")
    assert list(zip(told.model, told.train_size, told.seed)) == [(model, train_size, seed)]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(rows(24))


def test_a_stream_without_a_length_needs_a_size(tmp_path, study):
    with pytest.raises(ValueError, match="^`train_size` must be given where the training set"):
        trained(tmp_path, TellCallback(study, "small"), train=Stream())
    assert study.store.runs().empty


def test_who_is_no_candidate_is_refused_before_training(study):
    with pytest.raises(ValueError, match=r"^`model` must be a candidate .*small, large.*'smal'"):
        TellCallback(study, "smal")


def test_a_study_per_byte_is_refused(tmp_path):
    facts = dict(task="t", candidates=dict(a=1e6, b=2e6), budget=0.3, target=6400)
    bytes_study = new_study(tmp_path / "bytes", unit="byte", **facts)
    with pytest.raises(ValueError, match="^`study` must be of losses per token"):
        TellCallback(bytes_study, "a")
