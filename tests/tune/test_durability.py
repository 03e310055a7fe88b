"Studies that are killed, run twice at once, or lose a machine end as if nothing had happened."

import multiprocessing
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import _study_of_sums as sums
import pandas as pd
import psutil
import pytest
from lensllm.tune.study import Study

ENV = os.environ | {"OMP_NUM_THREADS": "1"}  # the same sums in the same order
RUNS = 2 * len(sums.SIZES)
# Processes of their own that may be killed, from a server that has imported torch once for all.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["lensllm.tune.study", "lensllm.tune.training"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Texts, candidates, and a study that nothing has disturbed."
    place = tmp_path_factory.mktemp("studies")
    sums.prepare(place)
    assert exit_code_of(started(place, "whole")) == 0
    return place


def started(folder, name):
    "A process that begins a study, or goes on with it."
    process = FORKS.Process(target=sums.run, args=(folder, name))
    process.start()
    return process


def exit_code_of(process):
    process.join()
    return process.exitcode


@pytest.fixture
def undisturbed_runs(folder, result_table):
    "A function that checks a study against the one that nothing disturbed, and returns its runs."

    def check(study):
        table, whole = result_table(study), result_table(Study(folder / "whole"))
        pd.testing.assert_frame_equal(table, whole, rtol=1e-4)
        assert len(table) == RUNS
        return study.store.runs()

    return check


def rows(folder, query):
    "What a study's database holds, read from outside."
    if not (folder / "study.db").is_file():
        return []
    db = sqlite3.connect(folder / "study.db", timeout=60)
    try:
        return db.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []  # killed before its tables were made
    finally:
        db.close()


def begun_runs(folder):
    "How many runs were begun so far."
    return len(rows(folder, "SELECT model FROM runs WHERE started IS NOT NULL"))


def done_runs(folder):
    "Runs that are done, with their losses and when they ended."
    query = "SELECT model, train_size, test_loss, ended FROM runs WHERE state = 'done'"
    return set(rows(folder, query))


def kill_after(process, folder, count, delay):
    "Kill a study some time after a count has gone up; whether it was still running."
    before = count(folder)
    while process.is_alive() and count(folder) == before:
        time.sleep(0.01)
    time.sleep(delay)
    was_running = process.is_alive()
    process.kill()
    process.join()
    return was_running


@pytest.mark.parametrize("name", ["killed0", "killed1", "killed2", "killed3"])
def test_a_study_that_is_killed_loses_nothing_that_was_done(folder, undisturbed_runs, name):
    moments, known, kills = random.Random(name), set(), 0
    database = lambda folder: int((folder / "study.db").is_file())
    done = lambda folder: len(done_runs(folder))
    # while it starts, twice while a run is made, and twice after one is done
    for count in (database, begun_runs, begun_runs, done, done):
        process = started(folder, name)
        kills += kill_after(process, folder / name, count, delay=moments.uniform(0, 0.2))
        now = done_runs(folder / name)
        assert known <= now  # what was done stays done
        known = now
    assert exit_code_of(started(folder, name)) == 0
    undisturbed_runs(Study(folder / name))
    assert known <= done_runs(folder / name)
    assert kills
    assert known


def test_two_processes_at_once_make_each_run_once(folder, undisturbed_runs):
    sums.begin(folder, "shared")
    for process in [started(folder, "shared") for _ in range(2)]:
        assert exit_code_of(process) == 0
    assert (undisturbed_runs(Study(folder / "shared")).attempts == 1).all()


def test_the_run_of_a_worker_that_is_killed_is_made_again(folder, undisturbed_runs, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    study, killed = sums.begin(folder, "beside"), []
    killer = threading.Thread(target=kill_a_worker, args=(killed,), daemon=True)
    killer.start()
    study.run(workers=2, device="cpu")
    killer.join()
    assert killed
    assert sorted(undisturbed_runs(study).attempts) == [1] * (RUNS - 1) + [2]


def kill_a_worker(killed):
    "Kill the first of two as soon as both are there: a worker is started for a run."
    workers = []
    while len(workers) < 2:
        time.sleep(0.01)
        children = psutil.Process().children()
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    killed.append(workers[0].pid)


@pytest.fixture
def small_disk(tmp_path):
    "A disk of its own with little room; mounting it needs a right."
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", disk])


def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"0" * 4096)
        except OSError:
            pass


def test_a_full_disk_stops_a_study_with_a_reason(folder, undisturbed_runs, small_disk, tmp_path):
    shutil.copy(folder / "sums.jsonl", tmp_path)
    for name in ("thin", "wide"):
        shutil.copytree(folder / name, tmp_path / name)
    sums.set_up(small_disk / "s", tmp_path).store.close()
    fill(small_disk / "filler")
    place = str(small_disk / "s")
    run = f"Study({place!r}).run(device='cpu', trust=['sources'])"
    code = f"from lensllm.tune.study import Study; {run}"
    script = [sys.executable, "-c", code]
    failed = subprocess.run(script, env=ENV, capture_output=True, text=True)
    assert failed.returncode
    assert "no space left" in failed.stderr.lower() or "full" in failed.stderr
    (small_disk / "filler").unlink()  # with room again, it goes on
    subprocess.run(script, env=ENV, check=True)
    undisturbed_runs(Study(small_disk / "s"))


def small_cluster(tries=3):
    "Two machines of one core, and the second of them; Ray waits 30 s for each to come up."
    from ray.cluster_utils import Cluster

    for _ in range(tries):
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=1)
            second = cluster.add_node(num_cpus=1)
            cluster.wait_for_nodes(timeout=300)
            return cluster, second
        except Exception as error:
            cluster.shutdown()
            if "timed out" not in str(error).lower():
                raise
    pytest.skip("the machine is too busy to start a cluster")


def test_a_cluster_that_loses_a_machine(folder, undisturbed_runs, monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster, second = small_cluster()
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        study, lost = sums.begin(folder, "cluster"), []

        def lose(study, run=None, *_):
            "The second machine is gone while both make a run."
            if not lost and (study.store.runs().state == "running").sum() == 2:
                lost.append(cluster.remove_node(second, allow_graceful=False))

        study.run(executor="ray", workers=2, device="cpu", progress=lose)
        assert lost
        assert len(ray.nodes()) == 2
        assert sum(node["Alive"] for node in ray.nodes()) == 1
        undisturbed_runs(study)
    finally:
        ray.shutdown()
        cluster.shutdown()
