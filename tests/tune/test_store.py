"The store keeps what was done: through second opinions, crowds of writers and broken files."

import threading

import numpy as np
import pytest
from lensllm.tune.store import Store


@pytest.fixture
def store(tmp_path):
    "Two candidates, three planned runs, the first of them done."
    store = Store(tmp_path / "study")
    store.add_candidate("small", 1000)
    store.add_candidate("large", 1000, family="large ones")
    store.set_fact("task", "counting")
    runs = [("small", 100, 0), ("small", 200, 0), ("large", 100, 0)]
    store.plan(runs, prices=[1.0, 2.0, 1.0], why="a first look")
    store.done(store.claim(), 2.5, test_loss_se=0.1, result=dict(step=7))
    yield store
    store.close()


def test_a_planned_run_is_not_planned_again(store):
    assert store.plan([("small", 100, 0)]) == 0


def test_runs_are_claimed_in_the_order_of_the_plan(store):
    runs = store.runs()
    assert (runs.model[0], runs.train_size[0], runs.seed[0]) == ("small", 100, 0)
    assert runs.state.tolist() == ["done", "planned", "planned"]
    assert runs.result[0] == dict(step=7)


def test_the_first_result_stays_until_it_is_corrected(store):
    run = ("small", 100, 0)
    store.done(run, 9.0)
    assert store.runs().test_loss[0] == 2.5
    store.done(run, 9.0, correct=True)
    assert store.runs().test_loss[0] == 9.0
    assert store.runs().result[0] is None


def test_a_result_corrected_to_a_failure_and_back(store):
    run = ("small", 100, 0)
    store.failed(run, "mixed up", correct=True)
    kept = store.runs().iloc[0]
    assert kept.state == "failed"
    assert kept.reason == "mixed up"
    assert kept.isna().test_loss
    store.done(run, 2.5, correct=True)
    assert store.runs().reason[0] is None


def test_a_run_made_here_is_not_forgotten(store):
    with pytest.raises(ValueError, match="must be that of a run that was told"):
        store.forget(("small", 100, 0))


def test_a_run_made_elsewhere_has_a_price_and_can_be_forgotten(store):
    store.done(("small", 7, 0), 4.0, price=3.0)
    assert store.runs().price.iloc[-1] == 3.0
    store.forget(("small", 7, 0))
    assert len(store.runs()) == 3


def test_curves_hold_runs_that_are_done_and_known_families(store):
    store.done(("large", 50, 3), 3.0)
    curves = store.curves().frame
    assert curves.train_size.tolist() == [100, 50]
    families = dict(curves[["model", "family"]].values)
    assert families == dict(small="", large="large ones")  # old studies know no family


def test_a_fact_once_set_stays(store):
    assert store.set_fact("task", "other") == "counting"


def test_a_run_is_retried_once(store):
    run = store.claim()
    store.failed(run, "out of memory", again=True)
    assert store.runs().state[1] == "planned"
    assert store.claim() == run
    store.failed(run, "out of memory", again=True)
    kept = store.runs().iloc[1]
    assert kept.state == "failed"
    assert kept.reason == "out of memory"
    assert kept.attempts == 2


@pytest.fixture
def queue(tmp_path):
    "Two models with two sizes each, all of them planned."
    queue = Store(tmp_path / "queue")
    for name in ("small", "large"):
        queue.add_candidate(name, 1000)
    queue.plan([("small", 100, 0), ("large", 100, 0), ("large", 200, 0), ("small", 200, 0)])
    yield queue
    queue.close()


BOTH = ("small", "large")


def test_runs_of_one_model_wait_for_each_other(queue):
    claimed = [queue.claim(in_turn=BOTH) for _ in range(3)]
    assert claimed == [("small", 100, 0), ("large", 100, 0), None]
    queue.done(("large", 100, 0), 1.0)
    assert queue.claim(in_turn=BOTH) == ("large", 200, 0)
    assert queue.claim() == ("small", 200, 0)  # asked without waiting


def test_released_runs_wait_as_if_untouched(queue):
    for _ in range(3):
        queue.claim(in_turn=BOTH)
    queue.done(("large", 100, 0), 1.0)
    queue.claim()
    queue.release()
    assert set(queue.runs().state) == {"done", "planned"}
    assert queue.runs().attempts.tolist() == [0, 1, 0, 0]


def in_threads(work, count):
    "Do the same work in several threads at once; whatever one of them raises is raised here."
    faults = []

    def guarded(i):
        try:
            work(i)
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_many_writers_at_once_lose_nothing(store):
    def report(i):
        mine = Store(store.folder)
        for n in range(20):
            mine.done(("small", 1000 + n, 0), 1.0 + i / 100)  # all of them report these
        for n in range(5):
            mine.done(("large", 2000 + n, i), 2.0)  # each reports its own
        mine.close()

    in_threads(report, 4)
    sizes = store.runs().train_size
    assert sizes.between(1000, 1019).sum() == 20
    assert (sizes >= 2000).sum() == 20


@pytest.mark.parametrize("attempt", range(5))
def test_many_may_begin_one_study_at_once(tmp_path, attempt):
    opened = []
    in_threads(lambda _: opened.append(Store(tmp_path / "new")), 6)
    assert len(opened) == 6


def test_a_full_disk_loses_nothing(store):
    known = store.runs()
    pages = store.db.execute("PRAGMA page_count").fetchone()[0]
    store.db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError, match="nothing that was done is lost"):
        for n in range(2000):
            store.done(("small", 10_000 + n, 0), 1.0, result=dict(note="x" * 500))
    kept = store.runs()
    assert kept.iloc[: len(known)].equals(known)
    store.db.execute("PRAGMA max_page_count = 1000000")
    store.done(("small", 99_999, 0), 1.0)
    assert len(store.runs()) == len(kept) + 1


@pytest.mark.parametrize(
    "run, loss, error, message",
    [
        (("nobody", 1, 0), 1.0, None, "`model` must be a candidate"),
        (("small", 1, 0), 1.0, -1.0, "`test_loss_se` must be"),
        (("small", 1, 0), 1.0, float("nan"), "`test_loss_se` must be"),
        (("small", 1, 0), float("nan"), None, "tell a run that diverged as failed"),
        (("small", 5, 0), -1.0, None, "`test_loss` must be"),
        (("small", 5, 0), 0.0, None, "`test_loss` must be"),
        (("small", -1, 0), 1.0, None, "`train_size` must be"),
        (("small", 10**19, 0), 1.0, None, "`train_size` must be"),
    ],
)
def test_a_refused_result_leaves_nothing(store, run, loss, error, message):
    before = store.runs()
    with pytest.raises(ValueError, match=message):
        store.done(run, loss, test_loss_se=error)
    assert store.runs().equals(before)


def test_a_candidate_needs_parameters(store):
    with pytest.raises(ValueError, match="`n_params` must be a whole number from 1"):
        store.add_candidate("x", 0)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    text = "no database, but as long as a header of one, so that it is read"
    (tmp_path / "study.db").write_text(text)
    with pytest.raises(ValueError, match="must hold a study of lensllm"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match="can be written to"):
        Store(tmp_path / "file" / "study")


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    newer = Store(tmp_path)
    newer.db.execute("PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="update lensllm"):
        Store(tmp_path)


def test_a_run_of_numpys_numbers_is_the_same_run(store):
    run = ("small", np.int64(300), np.int64(0))
    store.plan([run])
    store.done(run, np.float32(2.5))
    kept = store.runs().set_index(["model", "train_size", "seed"]).loc[("small", 300, 0)]
    assert (kept.state, kept.test_loss) == ("done", 2.5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda store: store.plan([("small", 1, 0)], prices=[]), "`prices` must hold one per run"),
        (lambda store: store.plan([("small", 1)]), r"`runs` must be \(model, train_size, seed\)"),
        (lambda store: store.plan([("small", 1.5, 0)]), "`train_size` must be a whole number"),
        (lambda store: store.set_fact("x", object()), "`value` must be what JSON can hold"),
        (lambda store: store.failed(("small", 1, 0), "r", again=1), "`again` must be True or"),
    ],
    ids=["prices", "no seed", "a fraction", "an object", "a flag"],
)
def test_what_the_store_cannot_keep_is_named(store, call, message):
    before = store.runs()
    with pytest.raises((TypeError, ValueError), match=message):
        call(store)
    assert store.runs().equals(before)
