"What a call must not do: write over your files, move your cursor, or change what it looks at."

import io
import json
import os
import re
import sqlite3
import subprocess
import sys

import pandas as pd
import pytest
from lensllm.cli.output import HarmlessStream, Output, as_command, check_files, csv_text
from lensllm.curves.table import CurveSet, load_curves

TABLE = "model,n_params,200,400,800\nsmall,6e7,3.1,3.0,2.9\nbig,3e9,3.0,2.9,2.79\n"
TIDY = "model,train_size,test_loss\n" + "".join(
    f"{model},{size},{level - size / 1000}\n"
    for model, level in (("small", 3.1), ("big", 3.0))
    for size in (200, 400, 800)
)
HOSTILE = "a\x1b[2Jb\x07\u202ec"
ESCAPED = r"a\x1b[2Jb\x07\u202ec"


@pytest.fixture
def here(tmp_path, monkeypatch):
    "An empty working directory with one table."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text(TABLE)
    return tmp_path


# files that exist


@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize(
    "args",
    [
        "select mine.csv --out mine.csv",
        "select mine.csv --out ./mine.csv",
        "select mine.csv --out same.csv",  # a link to it
        "select mine.csv --out twin.csv",  # a second name of it
        "plan mine.csv --budget 50% --out mine.csv",
        "simulate mine.csv --out mine.csv",
        "fit mine.csv --out mine.csv",
        "compare mine.csv --out mine.csv",
        "data mine.csv --out mine.csv",
        "data mine.csv --save mine.csv",
        "select flan --prior prior.json --out prior.json",
        "learn mine.csv --out ../here/mine.csv",
    ],
)
def test_a_table_that_is_read_is_not_overwritten(lensllm, here, args, force):
    (here / "same.csv").symlink_to("mine.csv")
    os.link("mine.csv", "twin.csv")
    (here / "prior.json").write_text("{}")
    args = args.replace("../here/", f"../{here.name}/").split()
    done = lensllm(*args, *force)
    option = "--save" if "--save" in args else "--out"
    assert done.code == 2
    assert done.err.startswith(f"lensllm: `{option}` must not name what this command reads")
    assert (here / "mine.csv").read_text() == TABLE
    assert (here / "prior.json").read_text() == "{}"


@pytest.mark.parametrize(
    "args, path",
    [
        ("select mine.csv --out other.csv", "other.csv"),
        ("select mine.csv --plot other.png", "other.png"),
        ("data mine.csv --save other.csv", "other.csv"),
        ("learn flan --out other.json", "other.json"),
        ("ntk mine.csv mine.csv --out other.npz", "other.npz"),
        ("ntk mine.csv mine.csv --out new.npz --plot", "new.png"),
        ("report STUDY --out other.html", "other.html"),
    ],
)
def test_a_file_that_exists_is_not_overwritten_unasked(lensllm, here, begun_study, args, path):
    (here / path).write_text("work of months")
    done = lensllm(*args.replace("STUDY", str(begun_study)).split())
    assert done.code == 2
    assert f"must name a new file, {path} exists" in done.err
    assert "--force" in done.err
    assert (here / path).read_text() == "work of months"


def test_force_replaces_it(lensllm, here):
    (here / "other.csv").write_text("work of months")
    assert lensllm("select", "mine.csv", "--out", "other.csv", "--force").code == 0
    assert pd.read_csv(here / "other.csv").model.tolist()


def test_a_studys_own_report_is_written_again(lensllm, study):
    for args in ((), (), ("--out", study / "report.html")):
        done = lensllm("report", study, *args)
        assert (done.code, done.err) == (0, "")


def test_a_folder_of_logs_is_not_written_into(lensllm, here):
    state = here / "logs" / "m" / "100" / "trainer_state.json"
    state.parent.mkdir(parents=True)
    state.write_text("{}")
    done = lensllm("data", "logs", "--out", state, "--force")
    assert "must not name what this command reads" in done.err
    assert state.read_text() == "{}"


@pytest.mark.parametrize(
    "path, message",
    [
        ("", "must name a file, got the folder"),
        ("mine.csv/x.csv", "must be in a folder that can be written to"),
        ("n" * 300 + ".csv", "must be a name that a file can have"),
        ("a\0b.csv", "must be a name that a file can have"),
    ],
)
def test_a_place_where_no_file_can_be(here, path, message):
    with pytest.raises(ValueError, match=message):
        check_files({"--out": here / path}, [])


def test_two_options_may_not_name_one_file(here):
    with pytest.raises(ValueError, match="`--save` must name another file than `--out`"):
        check_files({"--out": here / "a.csv", "--save": here / "." / "a.csv"}, [])


def test_force_is_offered_where_files_are_written(lensllm):
    assert "--force" in lensllm("select", "--help").out
    assert "--force" not in lensllm("zoo", "--help").out


def test_a_command_that_writes_nothing_stays_as_it_is():
    assert as_command(lambda: 7)() == 7


# names that would move the cursor


@pytest.fixture
def hostile(here):
    "A table whose models have names that do harm."
    frame = pd.read_csv(io.StringIO(TIDY))
    frame["model"] = frame.model.map(dict(small=HOSTILE, big="=cmd()"))
    frame.to_csv("hostile.csv", index=False)
    return here / "hostile.csv"


CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]")


@pytest.mark.parametrize(
    "form", [(), ("--csv",), ("--json",), ("--plot", "f.svg", "--out", "t.csv")]
)
@pytest.mark.parametrize("command", ["select", "plan", "fit", "data", "compare"])
def test_no_control_character_is_printed_or_written(lensllm, hostile, command, form):
    if command in ("plan", "data") and "--plot" in form:
        form = form[2:]
    if command == "fit" and "--plot" in form:
        form = (*form, "--model", HOSTILE)
    budget = ("--budget", "90%") if command == "plan" else ()
    done = lensllm(command, hostile, *budget, *form)
    assert not CONTROL.search(done.out + done.err)
    for path in hostile.parent.glob("[ft].*"):
        assert not CONTROL.search(path.read_text())


@pytest.mark.parametrize(
    "args", [("select", HOSTILE), ("fit", "flan", "--model", HOSTILE), (HOSTILE,)]
)
def test_arguments_are_echoed_without_control_characters(lensllm, here, args):
    done = lensllm(*args)
    assert done.code == 2
    assert ESCAPED.split("[")[0] in done.err
    assert not CONTROL.search(done.err)


@pytest.mark.parametrize("args", [["select"], ["select", "flan", "--method"], ["run", "--out"]])
def test_long_arguments_are_echoed_shortened(lensllm, here, args):
    done = lensllm(*args, "x" * 50_000)
    assert done.code == 2
    assert len(done.err) < 1_000


def test_json_stays_json_with_every_character(capsys):
    name = "".join(map(chr, range(0x20))) + "\x7f\x9b"
    frame = pd.DataFrame(dict(model=[name]))
    Output(as_json=True).write(frame, [dict(model=name)])
    text = capsys.readouterr().out
    assert json.loads(text) == [dict(model=name)]
    assert not CONTROL.search(text)


def test_csv_begins_no_formula():
    text = csv_text(pd.DataFrame({"model": ["=1+1", "-x", "@a", "+b", "ok"], "loss": [-1.0] * 5}))
    assert text.splitlines()[1:4] == ["'=1+1,-1.0", "'-x,-1.0", "'@a,-1.0"]


@pytest.mark.parametrize("name", ["=cmd()", "'=quoted", "+1", "-1", "@a", "''-x", "plain"])
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_saved_table_begins_no_formula_and_is_read_back(tmp_path, name, ending):
    frame = pd.read_csv(io.StringIO(TIDY)).replace(dict(model=dict(small=name)))
    place = CurveSet(frame).save(tmp_path / f"t{ending}")
    assert not re.search(r"(^|[,\t])[=+@]", place.read_text(), re.M)
    assert set(load_curves(place).models) == {name, "big"}


def test_a_terminal_keeps_bars_and_gets_no_other_control():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    stream = HarmlessStream(screen)
    print("\rloading 10%", file=stream)
    print(HOSTILE, file=stream)
    assert screen.getvalue() == f"\rloading 10%\n{ESCAPED}\n"


def test_the_log_and_the_report_hold_no_control_character(lensllm, tmp_path):
    folder = tmp_path / "s"
    lensllm("plan", folder, "--candidate", f"{HOSTILE}=1e8", "--candidate", "b=1e8", "-b", "60%")
    for model in (HOSTILE, "b"):
        lensllm("tell", folder, model, 100, 3.0)
        lensllm("tell", folder, model, 200, 2.9)
    assert lensllm("report", folder).code == 0
    assert not CONTROL.search((folder / "report.html").read_text())
    for form in ((), ("--csv",), ("--json",)):
        assert not CONTROL.search(lensllm("status", folder, *form).out)


# a look


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


LOOKS = {
    "status": (),
    "plan": (),
    "report": (),
    "tell": ("a", 100, 3.0),
}


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("command", LOOKS)
def test_a_foreign_database_is_left_alone(lensllm, tmp_path, command, journal):
    db = sqlite3.connect(tmp_path / "study.db")
    db.execute(f"PRAGMA journal_mode={journal}")
    db.executescript("CREATE TABLE trials (trial_id INTEGER); INSERT INTO trials VALUES (1);")
    db.close()
    before = contents(tmp_path)
    done = lensllm(command, tmp_path, *LOOKS[command])
    assert done.code == 2
    assert "which" in done.err or "whose study.db another program has made" in done.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("command", ["status", "plan"])
def test_a_look_leaves_a_study_as_it_is(lensllm, study, command):
    before = contents(study)
    assert lensllm(command, study).code == 0
    assert contents(study) == before


def test_a_dry_run_leaves_a_study_as_it_is(lensllm, models, tmp_path):
    args = ("--task", models / "task.jsonl", "-c", models / "lm", "-c", models / "t5")
    args += ("--size", 25, "--budget-size", 25, "--rate", "1e-2", "--device", "cpu")
    folder = tmp_path / "s"
    lensllm("run", "--out", folder, *args)
    before = contents(folder)
    for again in (args, ()):
        done = lensllm("run", "--out", folder, *again, "--dry-run")
        assert (done.code, done.err) == (0, "")
    assert contents(folder) == before


# a received study


@pytest.fixture(scope="module")
def made(lensllm, models, tmp_path_factory):
    "A study of models and texts outside its folder, set up and not run."
    from lensllm.tune.recipe import Recipe
    from lensllm.tune.study import new_study

    folder = tmp_path_factory.mktemp("made") / "s"
    options = dict(recipe=Recipe(rate=1e-2, least_steps=2, checks=1), sizes=[25], target=25)
    candidates = [models / "lm", models / "t5"]
    study = new_study(
        folder, task=models / "task.jsonl", candidates=candidates, budget_size=25, **options
    )
    study.store.set_fact("trust", ["code", "pickle"])  # as older versions kept it
    study.store.close()
    return folder


def test_a_received_study_is_run_only_when_its_sources_are_trusted(lensllm, made, models):
    refused = lensllm("run", "--resume", "--out", made, "--device", "cpu")
    assert refused.code == 2
    assert refused.err.startswith("lensllm: `--trust` must hold sources")
    assert str(models / "lm") in refused.err and str(models / "task.jsonl") in refused.err
    assert not (made / "study.log").exists()
    words = ("--trust", "sources", "--device", "cpu")
    assert lensllm("run", "--resume", "--out", made, *words).code == 0


def test_a_dry_run_of_a_received_study_reads_none_of_its_sources(lensllm, made, monkeypatch):
    def read(*args):
        raise AssertionError("a source was read")

    monkeypatch.setattr("lensllm.tune.tasks.task_of", read)
    assert lensllm("run", "--dry-run", "--out", made).code == 0


def test_the_log_of_a_received_study_is_not_followed(lensllm, made, tmp_path):
    import shutil

    folder = shutil.copytree(made, tmp_path / "s")
    victim = tmp_path / "victim.txt"
    victim.write_text("as it is")
    (folder / "study.log").unlink(missing_ok=True)
    (folder / "study.log").symlink_to(victim)
    done = lensllm("run", "--resume", "--out", folder, "--trust", "sources", "--device", "cpu")
    assert done.code == 2 and "must hold files of its own" in done.err
    assert victim.read_text() == "as it is"


def test_stopping_says_how_to_go_on(models, tmp_path, lensllm, monkeypatch):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("lensllm.tune.study.Study.run", stopped)
    args = ("--task", models / "task.jsonl", "-c", models / "lm", "-c", models / "t5")
    args += ("--size", 25, "--budget-size", 25, "--rate", "1e-2", "--device", "cpu")
    done = lensllm("run", "--out", tmp_path / "s", *args)
    assert done.code == 130
    assert "--device cpu --trust sources" in done.err


def test_the_streams_are_given_back(lensllm):
    code = "import sys; from lensllm.cli.app import exit_code; a = sys.stdout\n"
    code += "exit_code(['data']); exit_code(['status', 'nowhere']); assert sys.stdout is a"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
