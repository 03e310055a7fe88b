"A study's folder from somebody else runs no code, writes nowhere else, and is one line if damaged."

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from lensllm.report.page import study_report
from lensllm.tune.recipe import Recipe
from lensllm.tune.store import MIGRATIONS
from lensllm.tune import store
from lensllm.tune.store import Store
from lensllm.tune.study import _reaching_out, Study, new_study

RECIPE = Recipe(rate=1e-2, passes=1, least_steps=2, checks=1)
OWN_CODE = """
import transformers

class Config(transformers.GPT2Config):
    model_type = "own"

class Own(transformers.GPT2LMHeadModel):
    config_class = Config

    def __init__(self, *args, **options):
        open({mark!r}, "w").close()
        super().__init__(*args, **options)
"""


@pytest.fixture
def texts(write_sums, tmp_path):
    (tmp_path / "texts").mkdir()
    return write_sums(tmp_path / "texts" / "sums.jsonl")


@pytest.fixture
def sender(tmp_path, save_candidate, texts):
    "A function that makes a study of candidates with code of their own; it leaves a mark when run."
    mark = tmp_path / "it_ran"

    def make(folder=tmp_path / "received"):
        candidates = []
        for name in ("a", "b"):
            place = save_candidate(tmp_path, name, "gpt2", width=8, layers=1)
            (place / "own.py").write_text(OWN_CODE.format(mark=str(mark)))
            config = json.loads((place / "config.json").read_text())
            config |= dict(model_type="own", architectures=["OwnLMHeadModel"])
            config |= dict(auto_map=dict(AutoConfig="own.Config", AutoModelForCausalLM="own.Own"))
            (place / "config.json").write_text(json.dumps(config))
            candidates.append(place)
        options = dict(task=texts, candidates=candidates, recipe=RECIPE, trust=["code"])
        new_study(folder, sizes=[20], target=20, budget_size=20, **options)
        assert mark.exists()  # looking at the candidates has built them
        mark.unlink()
        return folder

    make.mark, make.candidates, make.texts = mark, [tmp_path / "a", tmp_path / "b"], texts
    return make


def test_a_received_study_runs_no_code(sender):
    "The folder says that its maker trusted code. That is no word of yours."
    with pytest.raises(ValueError, match="--trust sources"):
        Study(sender()).run(device="cpu")
    assert not sender.mark.exists()


def test_what_is_to_be_read_is_shown(sender):
    with pytest.raises(ValueError) as refused:
        Study(sender()).run(device="cpu")
    assert all(str(path) in str(refused.value) for path in (*sender.candidates, sender.texts))


def test_trusted_sources_are_not_trusted_code(sender):
    study = Study(sender())
    with pytest.raises(ValueError):  # every run fails, so there is nothing to rank
        study.run(device="cpu", trust=["sources"])
    assert not sender.mark.exists()
    assert set(study.store.runs().state) == {"failed"}
    assert study.store.runs().reason.str.contains("code of its own").all()


def test_both_words_together_run_it(sender):
    Study(sender()).run(device="cpu", trust=["sources", "code"])
    assert sender.mark.exists()


def test_no_word_is_kept_in_the_folder(sender):
    folder = sender()
    assert "code" not in (Store(folder, look=True).fact("trust") or [])


@pytest.fixture
def own(save_candidate, texts, tmp_path):
    "The settings of a study of two plain candidates."
    candidates = [save_candidate(tmp_path / "c", n, "gpt2", width=8, layers=1) for n in ("a", "b")]
    options = dict(task=texts, candidates=candidates, recipe=RECIPE)
    return options | dict(sizes=[20, 30], target=30, budget_size=20)


def test_naming_everything_again_needs_no_further_word(own, tmp_path):
    new_study(tmp_path / "s", **own)
    again = new_study(tmp_path / "s", **own)
    assert len(again.run(device="cpu").frame) == 2


def test_what_lies_in_the_folder_needs_no_word(own, tmp_path, save_candidate, write_sums):
    home = tmp_path / "s"
    study = new_study(home, **own)
    for name in "ab":
        place = save_candidate(home / "models", name, "gpt2", width=8, layers=1)
        study.store.db.execute(
            "UPDATE candidates SET source = ? WHERE name = ?", (str(place), name)
        )
    source = study.facts["source"] | dict(task=str(write_sums(home / "sums.jsonl")))
    study.store.set_fact("source", source, anew=True)
    study.store.close()
    assert Study(home).unnamed_sources() == []


def test_what_is_shipped_needs_no_word(own, tmp_path):
    study = new_study(tmp_path / "s", **own | dict(task="headline", candidates=["gpt2-manuals"]))
    assert study.words_of_trust() == []
    study.store.close()
    assert Study(tmp_path / "s").unnamed_sources() == []


def test_the_words_of_trust_are_those_that_the_folder_alone_needs(own, tmp_path):
    study = new_study(tmp_path / "s", **own)
    assert study.unnamed_sources() == []  # they were named in this process
    assert study.words_of_trust() == ["sources"]
    study.store.close()
    with pytest.raises(ValueError, match="`trust` must hold sources"):
        Study(tmp_path / "s").run()


def test_a_candidate_that_points_elsewhere_is_refused(own, tmp_path):
    study = new_study(tmp_path / "s", **own)
    study.store.db.execute("UPDATE candidates SET source = '/elsewhere' WHERE name = 'a'")
    study.store.close()
    with pytest.raises(ValueError, match="source of a is /elsewhere, not "):
        new_study(tmp_path / "s", **own)


def test_a_candidate_that_was_slipped_in_is_refused(own, tmp_path):
    study = new_study(tmp_path / "s", **own)
    study.store.add_candidate("evil", 100, source="/elsewhere")
    study.store.close()
    with pytest.raises(ValueError, match="candidates"):
        new_study(tmp_path / "s", **own)


def test_code_in_the_folder_is_not_trusted_for_that_of_others(own, tmp_path, save_candidate):
    home = tmp_path / "s"
    study = new_study(home, **own)
    packed = save_candidate(home / "models", "a", "gpt2", width=8, layers=1)
    study.store.db.execute("UPDATE candidates SET source = ? WHERE name = 'a'", (str(packed),))
    study.store.close()
    received = Study(home)
    received.trust = ("code",)
    assert str(packed) in received.unnamed_sources()


@pytest.mark.parametrize("trust", [["all"], "code", ["sources", "all"]])
def test_another_word_is_refused(own, tmp_path, trust):
    study = new_study(tmp_path / "s", **own)
    with pytest.raises(ValueError, match="`trust` must hold code or pickle"):
        study.run(device="cpu", trust=trust)


# links in the folder

SECRET = "what must stay as it is\n"


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "elsewhere" / "victim.txt"
    path.parent.mkdir()
    path.write_text(SECRET)
    return path


def queue(folder):
    "A store with one planned run."
    store = Store(folder)
    store.add_candidate("a", 10)
    store.plan([("a", 100, 0)])
    return store


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_that_is_a_link_is_not_opened(tmp_path, victim, link):
    store = queue(tmp_path / "s")
    link(victim, store.folder / "locks" / store.artefact(("a", 100, 0), "lock").name)
    with pytest.raises(ValueError, match="files of its own"):
        store.claim()
    assert victim.read_text() == SECRET


def test_a_lock_is_not_emptied(tmp_path):
    store = queue(tmp_path / "s")
    lock = store.artefact(("a", 100, 0), "lock")
    lock.write_text(SECRET)
    assert store.claim()
    assert lock.read_text() == SECRET


def test_a_folder_of_locks_that_is_a_link_is_not_entered(tmp_path, victim):
    store = queue(tmp_path / "s")
    store.close()
    shutil.rmtree(tmp_path / "s" / "locks")
    (tmp_path / "s" / "locks").symlink_to(victim.parent)
    with pytest.raises(ValueError, match="folders of its own"):
        Store(tmp_path / "s").claim()
    assert [path.name for path in victim.parent.iterdir()] == [victim.name]


@pytest.mark.parametrize("name", ["study.db", "study.db-wal", "study.db-shm", "study.db-journal"])
def test_a_database_that_is_a_link_is_not_opened(tmp_path, victim, name):
    queue(tmp_path / "s").close()
    (tmp_path / "s" / name).unlink(missing_ok=True)
    (tmp_path / "s" / name).symlink_to(victim)
    with pytest.raises(ValueError, match="files of its own"):
        Store(tmp_path / "s")
    assert victim.read_text() == SECRET


def test_a_checkpoint_that_is_a_link_is_refused(tmp_path, victim):
    store = queue(tmp_path / "s")
    (store.folder / "locks" / store.artefact(("a", 100, 0), "checkpoint").name).symlink_to(victim)
    with pytest.raises(ValueError, match="files of its own"):
        store.artefact(("a", 100, 0), "checkpoint")


# a file of another program


def contents(folder):
    "All files of a folder with their bytes."
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def optuna_like(path, journal="delete"):
    "A `study.db` as Optuna makes it."
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA journal_mode={journal}")
    db.executescript(
        "CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name VARCHAR(512));"
        "CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, study_id INTEGER);"
        "INSERT INTO studies VALUES (1, 'mine'); INSERT INTO trials VALUES (1, 1);"
    )
    db.close()


LOOKS = {
    "open": Study,
    "store": lambda folder: Store(folder, look=True),
    "write": Store,
    "new": lambda folder: new_study(folder, task="t", candidates=dict(a=1e6), budget=5.0),
}


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("look", LOOKS)
def test_a_foreign_database_is_not_touched(tmp_path, look, journal):
    optuna_like(tmp_path / "study.db", journal)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="another program has made or changed"):
        LOOKS[look](tmp_path)
    assert contents(tmp_path) == before


@pytest.fixture
def told(tmp_path):
    "The folder of a study with losses of two candidates."
    study = new_study(
        tmp_path / "told", task="sums", candidates=dict(a=1e8, b=2e8), budget=0.5, target=800
    )
    for model, lead in (("a", 0.0), ("b", 0.2)):
        for size in (100, 200):
            study.tell(model, size, 3 + lead - size / 1000)
    study.store.close()
    return tmp_path / "told"


def test_a_look_changes_nothing(told):
    before = contents(told)
    study = Study(told)
    study.ask()
    study.ranking()
    assert repr(study)
    assert contents(told) == before


def test_a_study_is_looked_through_once_when_it_opens(told, monkeypatch):
    looks, look = [], store._look
    monkeypatch.setattr(store, "_look", lambda folder: looks.append(folder) or look(folder))
    Study(told)
    assert len(looks) <= 3  # is it a study, was it set up, and all the rest


def test_a_killed_writers_changes_are_seen_and_stay(told):
    code = (
        "import os, sys; from lensllm.tune.study import Study\n"
        "Study(sys.argv[1]).tell('a', 400, 2.5); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, told])
    before = contents(told)
    assert "study.db-wal" in before
    assert len(Study(told).store.runs()) == 5
    (told / "study.db-shm").unlink()  # a copy may have lost it
    assert len(Study(told).store.runs()) == 5
    assert contents(told) == {k: v for k, v in before.items() if k != "study.db-shm"}


def test_a_look_sees_a_living_writer(told):
    study = Study(told)
    other = Study(told)
    other.tell("a", 400, 2.5)
    assert len(study.store.runs()) == 5


@pytest.fixture
def read_only(told):
    "That folder where this process may not write."
    if os.geteuid():
        pytest.skip("needs the right to become somebody else")
    place = Path(tempfile.mkdtemp())
    os.chmod(place, 0o755)
    folder = Path(shutil.copytree(told, place / "study"))
    os.seteuid(65534)
    yield folder
    os.seteuid(0)
    shutil.rmtree(place)


def test_looking_needs_no_right_to_write(read_only):
    study = Study(read_only)
    assert len(study.store.runs()) == 4
    study.ask()
    with pytest.raises(ValueError, match="can be written to.*copy it to a place of your own"):
        study.tell("a", 400, 2.5)
    with pytest.raises(ValueError, match="name a file in another folder"):
        study_report(study, read_only / "report.html")


# a file that is damaged, or made to do harm


def sql(*statements):
    def damage(path):
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("PRAGMA ignore_check_constraints=ON")
        db.execute("PRAGMA writable_schema=ON")
        for statement in statements:
            db.execute(statement)
        db.close()

    return damage


def fact(key, value):
    text = value if isinstance(value, str) else json.dumps(value)
    return sql(f"UPDATE facts SET value = '{text}' WHERE key = '{key}'")


def candidate_facts(**changes):
    def damage(path):
        db = sqlite3.connect(path, isolation_level=None)
        known = json.loads(db.execute("SELECT facts FROM candidates").fetchone()[0]) | changes
        db.execute("UPDATE candidates SET facts = ?", (json.dumps(known),))
        db.close()

    return damage


def truncated(size):
    return lambda path: os.truncate(path, size)


def garbage_page(path):
    size = path.stat().st_size
    with open(path, "r+b") as file:
        for place in range(4096, size, 4096):
            file.seek(place)
            file.write(os.urandom(4096))


def random_bytes(path):
    path.write_bytes(os.urandom(20_000))


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def a_link(path):
    path.rename(path.with_name("real.db"))
    path.symlink_to("real.db")


def a_link_to_itself(path):
    path.unlink()
    path.symlink_to("study.db")


def a_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


VIEW = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT i AS key, i AS value FROM n"
)
DEEP = "[" * 100_000
DAMAGES = dict(
    empty=truncated(0),
    header_only=truncated(100),
    half=truncated(6000),
    garbage=garbage_page,
    random=random_bytes,
    text=lambda path: path.write_text("no database, but as long as the header of one" * 10),
    folder=a_folder,
    pipe=a_pipe,
    link=a_link,
    loop=a_link_to_itself,
    device=a_device,
    no_runs=sql("DROP TABLE runs"),
    no_facts=sql("DROP TABLE facts"),
    no_rows=sql("DELETE FROM facts"),
    no_candidates=sql("DELETE FROM candidates"),
    another_column=sql("ALTER TABLE runs ADD COLUMN more TEXT"),
    no_column=sql("ALTER TABLE runs DROP COLUMN reason"),
    renamed=sql("ALTER TABLE runs RENAME TO walks"),
    view=sql("DROP TABLE facts", f"CREATE VIEW facts AS {VIEW}"),
    trigger=sql("CREATE TRIGGER t AFTER UPDATE ON runs BEGIN DELETE FROM runs; END"),
    more_tables=sql("CREATE TABLE more (a)"),
    schema=sql("UPDATE sqlite_master SET sql = 'CREATE TABLE runs (' WHERE name = 'runs'"),
    newer=sql("PRAGMA user_version = 99"),
    older=sql("PRAGMA user_version = 0"),
    negative=sql("PRAGMA user_version = -1"),
    another_program=sql("PRAGMA application_id = 7"),
    text_loss=sql("UPDATE runs SET test_loss = 'low'"),
    blob_loss=sql("UPDATE runs SET test_loss = x'00'"),
    infinite_loss=sql("UPDATE runs SET test_loss = 9e999"),
    huge_loss=sql("UPDATE runs SET test_loss = 1e300"),
    negative_loss=sql("UPDATE runs SET test_loss = -1"),
    negative_size=sql("UPDATE runs SET train_size = train_size - 1000"),
    huge_size=sql("UPDATE runs SET train_size = train_size + 9000000000000000000"),
    text_size=sql("UPDATE runs SET train_size = 'many' || train_size"),
    blob_model=sql("UPDATE runs SET model = CAST(model || 'x' AS BLOB)"),
    done_without_loss=sql("UPDATE runs SET test_loss = NULL"),
    broken_utf8=sql("UPDATE runs SET why = CAST(x'ff80' AS TEXT)"),
    unknown_state=sql("UPDATE runs SET state = 'lost'"),
    unknown_model=sql("UPDATE runs SET model = 'nobody' WHERE model = 'a'"),
    result_list=sql("UPDATE runs SET result = '[]'"),
    result_no_json=sql("UPDATE runs SET result = '{'"),
    result_deep=sql(f"UPDATE runs SET result = '{DEEP}'"),
    result_step=sql("""UPDATE runs SET result = '{"step": []}'"""),
    result_findings=sql("""UPDATE runs SET result = '{"findings": {"drift": "far"}}'"""),
    result_checks=sql("""UPDATE runs SET result = '{"losses": [[0, null, "high"]]}'"""),
    result_many_checks=sql("""UPDATE runs SET result = '{"losses": 7}'"""),
    result_versions=sql("""UPDATE runs SET result = '{"made_with": 1}'"""),
    no_params=sql("UPDATE candidates SET n_params = 0"),
    huge_params=sql("UPDATE candidates SET n_params = 9000000000000000000"),
    text_params=sql("UPDATE candidates SET n_params = 'many'"),
    list_facts=sql("UPDATE candidates SET facts = '[]'"),
    no_prices=sql("UPDATE candidates SET facts = '{}'"),
    text_prices=candidate_facts(prices=["x"] * 4),
    few_prices=candidate_facts(prices=[1.0]),
    infinite_prices=candidate_facts(prices=[float("inf")] * 4),
    no_price=candidate_facts(prices=[0.0] * 4),
    deep_fact=fact("sizes", DEEP),
    number_of_digits=fact("sizes", "[" + "1" * 10_000 + "]"),
    sizes_text=fact("sizes", "many"),
    sizes_empty=fact("sizes", []),
    sizes_mixed=fact("sizes", [800, 100]),
    target_text=fact("target", '"many"'),
    target_elsewhere=fact("target", 801),
    target_null=fact("target", None),
    budget_list=fact("budget", []),
    budget_nan=fact("budget", '{"share": NaN, "size": null}'),
    budget_both=fact("budget", dict(share=0.1, size=100)),
    seed_text=fact("seed", '"x"'),
    unit_text=fact("unit", '"metre"'),
    recipe_list=fact("recipe", []),
    recipe_unknown=fact("recipe", dict(speed=7)),
    source_list=fact("source", []),
    task_number=fact("task", 7),
    policy_list=fact("policy", []),
    set_up_text=fact("set_up", '"yes"'),
    funded=sql("INSERT INTO facts VALUES ('funded', '[1]')"),
    command=sql("INSERT INTO facts VALUES ('command', '7')"),
    rate=sql("INSERT INTO facts VALUES ('rate of a', '\"fast\"')"),
)


def open_all(folder):
    "All that is read of a study."
    study = Study(folder)
    study.ask()
    study.ranking()
    study_report(study, folder.parent / "page.html")


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_study_is_one_line(told, name):
    DAMAGES[name](told / "study.db")
    with pytest.raises(ValueError) as refused:
        open_all(told)
    message = str(refused.value)
    assert message.startswith("`folder` must ")
    assert str(told) in message
    assert "\n" not in message and len(message) < 700


@pytest.mark.parametrize("name", [n for n in DAMAGES if n not in ("folder", "pipe", "device")])
def test_a_damaged_study_is_not_written_to(told, name):
    DAMAGES[name](told / "study.db")
    before = contents(told)
    with pytest.raises(ValueError):
        Study(told).tell("a", 400, 2.5)
    assert contents(told) == before


def test_a_locked_study_says_so(told, monkeypatch):
    monkeypatch.setattr("lensllm.tune.store._PATIENCE", 0.2)
    holder = sqlite3.connect(told / "study.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ValueError, match="another process keeps locked; try again"):
        Study(told).tell("a", 400, 2.5)
    holder.close()


def test_a_store_of_the_first_version_is_read_and_brought_up_to_date(told):
    "It has no mark of lensllm, and counts how often a run was begun."
    sql(
        "PRAGMA user_version = 1",
        "PRAGMA application_id = 0",
        "ALTER TABLE runs DROP COLUMN lease",
        "UPDATE runs SET state = 'running', attempts = 1, test_loss = NULL WHERE model = 'b'",
    )(told / "study.db")
    before = contents(told)
    assert len(Study(told).store.runs()) == 4
    assert contents(told) == before
    store = Store(told)
    assert store.runs().attempts.tolist() == [0, 0, 0, 0]
    assert store.db.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)


# a second try


def claimed_and_killed(folder):
    code = (
        "import os, sys; from lensllm.tune.store import Store\n"
        "print(Store(sys.argv[1]).claim(), flush=True); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=False, stdout=subprocess.DEVNULL)


def test_kills_do_not_cost_the_second_try(tmp_path):
    "Two processes were killed while they made the run. It has not failed once."
    queue(tmp_path / "s").close()
    for _ in range(2):
        claimed_and_killed(tmp_path / "s")
    store = Store(tmp_path / "s")
    run = store.claim()
    store.failed(run, "out of memory", again=True)
    assert store.runs().state[0] == "planned"
    store.claim()
    store.failed(run, "out of memory", again=True)
    assert store.runs().state[0] == "failed"
    assert store.runs().attempts[0] == 2


@pytest.mark.parametrize(
    "settings, named",
    [
        (dict(arguments=dict(optim="sgd", bf16=True, logging_steps=3)), []),
        (dict(arguments=dict(report_to="wandb")), ['--set report_to="wandb"']),
        (dict(attention="somebody/kernel"), ['--set attention="somebody/kernel"']),
        (dict(attention="eager"), []),
    ],
)
def test_settings_that_reach_out_are_named_again_in_every_call(settings, named):
    assert _reaching_out(Recipe(**settings)) == named
