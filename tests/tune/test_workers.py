"Runs are made in this process or beside it, and what dies is replaced."

import time
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from lensllm.tune import training, workers
from lensllm.tune.workers import InProcess, Processes, Torchrun, check_executor, open_executor

NO_TEXTS = dict(
    model="none",
    task=dict(task="nothing.csv", test=None, columns=None),
    train_size=1,
    seed=0,
    recipe={},
    device="cpu",
    checkpoint=None,
)


def test_a_worker_that_dies_while_idle_is_replaced():
    with Processes(1) as pool:
        before = pool.result(pool.submit(NO_TEXTS, None))["reason"]
        next(iter(pool.free[0]._processes.values())).kill()
        while not pool.free[0]._broken:
            time.sleep(0.05)
        after = pool.result(pool.submit(NO_TEXTS, None))["reason"]
    assert before == after
    assert "`task` must be" in before


def test_a_worker_trains_with_as_many_threads_as_this_process():
    submitted = []
    worker = SimpleNamespace(submit=lambda function, spec: submitted.append((function, spec)))
    pool = Processes(1)
    pool.free = [worker]
    pool.submit(NO_TEXTS, None)
    assert submitted == [(training.work, NO_TEXTS | dict(threads=torch.get_num_threads()))]


def test_one_worker_needs_no_process():
    assert isinstance(open_executor("local", 1), InProcess)
    assert isinstance(open_executor("local", 2), Processes)


@pytest.mark.parametrize(
    "name, count, ladder, message",
    [
        ("local", 0, "fresh", "`workers` must be a whole number from 1"),
        ("slurm", 1, "fresh", "`executor` must be one of local, ray"),
    ],
)
def test_what_cannot_make_runs_is_refused(name, count, ladder, message):
    with pytest.raises(ValueError, match=message):
        check_executor(name, count, ladder)


def test_ray_must_be_installed(monkeypatch):
    monkeypatch.setattr(workers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="which is not installed"):
        check_executor("ray", 1, "fresh")


def test_a_ladder_that_continues_stays_on_this_machine(monkeypatch):
    monkeypatch.setattr(workers, "find_spec", lambda name: True)
    with pytest.raises(ValueError, match="`executor` must be local for a ladder that continues"):
        check_executor("ray", 1, "continue")


def test_processes_that_share_a_run_make_the_same_run(places, write_sums, recipe, tmp_path):
    spec = NO_TEXTS | dict(
        model=str(places["t5"]),
        task=dict(task=str(write_sums(tmp_path / "sums.jsonl")), test=None, columns=None),
        train_size=50,
        recipe=asdict(replace(recipe, passes=2, least_steps=10)),
        checkpoint=str(tmp_path / "left"),
    )
    alone = training.work(spec)
    with Torchrun(2) as pool:
        shared = pool.result(pool.submit(spec, None))
    assert shared["test_loss"] == pytest.approx(alone["test_loss"], rel=1e-4)
    assert shared["tokens"] == alone["tokens"]
    assert not (tmp_path / "left").exists()


def test_what_goes_wrong_in_shared_runs_comes_back_as_a_reason():
    with Torchrun(2) as pool:
        assert "`task` must be" in pool.result(pool.submit(NO_TEXTS, None))["reason"]


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(workers=2, gpus_per_run=2), "must be 1 where several runs are made at once"),
        (dict(workers=1, gpus_per_run=64), "must be at most the GPUs that are here"),
        (dict(workers=1, gpus_per_run=2, ladder="continue"), "must be 1 for a ladder that contin"),
    ],
)
def test_runs_are_not_shared_by_what_is_not_there(options, message):
    with pytest.raises(ValueError, match=message):
        check_executor("local", **dict(ladder="fresh") | options)


def test_shared_runs_import_nothing_from_the_current_folder(tmp_path, monkeypatch):
    for name in ("torch.py", "lensllm.py"):
        (tmp_path / name).write_text("raise SystemExit('run by mistake')")
    monkeypatch.chdir(tmp_path)
    with Torchrun(2) as pool:
        assert "`task` must be" in pool.result(pool.submit(NO_TEXTS, None))["reason"]


def test_processes_that_die_say_why(monkeypatch):
    monkeypatch.setattr(workers, "_SHARE", "raise MemoryError('all is full')")
    with Torchrun(2) as pool:
        record = pool.result(pool.submit(NO_TEXTS, None))
    assert record["reason"].endswith("died: MemoryError: all is full")
    assert record["again"]


ONE_FAILS = """
import os, sys
from lensllm.tune import training, workers
usual = training.work
fallen = dict(reason="one has fallen", again=False)
training.work = lambda *at: fallen if os.environ["RANK"] == "1" else usual(*at)
workers.share(sys.argv[1])
"""


def test_one_process_that_fails_ends_a_shared_run_with_its_reason(
    places, write_sums, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "_SHARE", ONE_FAILS)
    spec = NO_TEXTS | dict(
        model=str(places["gpt2"]),
        task=dict(task=str(write_sums(tmp_path / "sums.jsonl")), test=None, columns=None),
        train_size=50,
        recipe=asdict(recipe),
    )
    with Torchrun(2) as pool:
        record = pool.result(pool.submit(spec, None))
    assert record == dict(reason="one has fallen", again=False)
