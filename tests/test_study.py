"Studies that are killed, run twice at once, or lose a machine end as if nothing had happened; their report is inert."

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import study_of_sums as sums
from lensllm.report.page import study_report
from lensllm.tune.study import Study, new_study
from test_site import browser  # noqa: F401  (a fixture)

ENV = os.environ | {"OMP_NUM_THREADS": "1"}  # the same sums in the same order


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Texts, candidates, and a study that nothing has disturbed."
    place = tmp_path_factory.mktemp("studies")
    sums.prepare(place)
    subprocess.run(command(place, "whole"), check=True, env=ENV)
    return place


def command(folder, name):
    return [sys.executable, sums.__file__, str(folder), name]


def same_as_whole(folder, name):
    "The table is that of the study that nothing disturbed, and no run that was done was made again."
    study = Study(folder / name)
    pd.testing.assert_frame_equal(sums.table(study), sums.table(Study(folder / "whole")))
    assert len(sums.table(study)) == 2 * len(sums.SIZES)
    return study.store.runs()


def test_killed_at_random_moments(folder):
    moments, known, kills = random.Random(0), {}, 0
    for i in range(20):
        name = f"killed{i // 5}"  # five times each, so that the kills meet studies at all ages
        count = (
            attempts if i % 5 < 3 else lambda f: len(done_runs(f))
        )  # one in five is killed while it starts, two while a run is made, two after one is done, however slow the machine
        before, process = count(folder / name), subprocess.Popen(command(folder, name), env=ENV)
        while i % 5 and process.poll() is None and count(folder / name) == before:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.6 if i % 5 else 4))
        kills += process.poll() is None
        process.kill()
        process.wait()
        now = done_runs(folder / name)
        assert known.get(name, set()) <= now  # what was done stays done
        known[name] = now
    for i in range(4):
        subprocess.run(command(folder, f"killed{i}"), check=True, env=ENV)
        same_as_whole(folder, f"killed{i}")
        assert known[f"killed{i}"] <= done_runs(folder / f"killed{i}")
    assert kills >= 10 and any(0 < len(k) < 2 * len(sums.SIZES) for k in known.values())


def attempts(folder):
    "How many runs were begun so far."
    return sum(r[0] for r in rows(folder, "SELECT attempts FROM runs"))


def rows(folder, query):
    "What a study's database holds, looked at from outside."
    if not (folder / "study.db").is_file():
        return []
    db = sqlite3.connect(folder / "study.db", timeout=60)
    try:
        return db.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []  # killed before its tables were made
    finally:
        db.close()


def done_runs(folder):
    return set(
        rows(folder, "SELECT model, train_size, test_loss, ended FROM runs WHERE state = 'done'")
    )


def test_two_at_once(folder):
    sums.begin(folder, "shared")
    for process in [subprocess.Popen(command(folder, "shared"), env=ENV) for _ in range(2)]:
        assert process.wait() == 0
    assert (same_as_whole(folder, "shared").attempts == 1).all()  # each run made once


def test_a_worker_that_is_killed(folder, monkeypatch):
    "A process beside the study dies at its run: that run is made again, the one next to it goes on."
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    study, killed = sums.begin(folder, "beside"), []
    killer = threading.Thread(target=kill_a_worker, args=(killed,), daemon=True)
    killer.start()
    study.run(workers=2, device="cpu")
    killer.join()
    assert killed and sorted(same_as_whole(folder, "beside").attempts) == [1] * 7 + [2]


def kill_a_worker(killed):
    "The first of two, as soon as both are there: a worker is started for a run."
    workers = []
    while len(workers) < 2:
        workers = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
    workers[0].kill()
    killed.append(workers[0].pid)


def test_a_full_disk(folder, tmp_path):
    "A small disk of its own fills while the study runs: it stops with a reason, and goes on when there is room."
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk], capture_output=True
        ).returncode
    ):
        pytest.skip("needs the right to mount")
    try:
        for part in ("sums.jsonl",):
            shutil.copy(folder / part, tmp_path)
        for part in ("thin", "wide"):
            shutil.copytree(folder / part, tmp_path / part)
        new_study(
            disk / "s",
            task=tmp_path / "sums.jsonl",
            candidates=[tmp_path / "thin", tmp_path / "wide"],
            sizes=sums.SIZES,
            target=300,
            budget_size=300,
            recipe=sums.RECIPE,
        ).store.close()
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"0" * 4096)
            except OSError:
                pass
        code = f"from lensllm.tune.study import Study; Study({str(disk / 's')!r}).run(device='cpu')"
        failed = subprocess.run(
            [sys.executable, "-c", code], env=ENV, capture_output=True, text=True
        )
        assert failed.returncode and (
            "no space left" in failed.stderr.lower() or "full" in failed.stderr
        )
        filler.unlink()
        subprocess.run([sys.executable, "-c", code], env=ENV, check=True)
        got, wanted = sums.table(Study(disk / "s")), sums.table(Study(folder / "whole"))
        pd.testing.assert_frame_equal(got, wanted)
    finally:
        subprocess.run(["umount", "-l", disk])


def test_a_cluster_that_loses_a_machine(folder, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1))
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        study, lost = sums.begin(folder, "cluster"), []

        def lose(study, run=None, *_):
            "The second machine is gone while both make a run."
            if not lost and (study.store.runs().state == "running").sum() == 2:
                lost.append(cluster.remove_node(second, allow_graceful=False))

        study.run(executor="ray", workers=2, device="cpu", progress=lose)
        assert lost and len(ray.nodes()) == 2 and sum(n["Alive"] for n in ray.nodes()) == 1
        same_as_whole(folder, "cluster")
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_report_is_inert(browser, tmp_path):  # noqa: F811
    hostile = (
        "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">"
    )
    study = new_study(
        tmp_path / "s",
        task="</title><script>document.title='caught'</script>",
        candidates={"small": 1e8, "large": 1e9, hostile: 3e8},
        budget=0.3,
        target=12800,
    )
    while plan := study.ask():
        for k, (model, size) in enumerate(plan):
            study.tell(model, size, 2 + k / 10 + 20 * size**-0.5)
    path, faults = study_report(study, tmp_path / "report.html"), []
    page = browser.new_page()
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.goto(Path(path).as_uri())
    drawn = page.evaluate("() => [...document.images].map(i => i.naturalWidth)")
    assert not faults and len(drawn) == 2 and min(drawn) > 300
    assert (
        "caught" not in page.title().replace("document.title='caught'", "")
        and page.evaluate("() => document.scripts.length") == 0
    )
    assert (
        page.evaluate("() => document.body.innerText").count("onerror") > 1
    )  # the name is there, as text
    assert len(page.pdf()) > 20_000
    page.close()
