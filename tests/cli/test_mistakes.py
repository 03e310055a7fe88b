"A mistake costs one line and exit code 2, and leaves nothing behind."

import os
import shutil

import pytest


@pytest.fixture
def one_line(lensllm):
    "The line to which a mistake comes."

    def refused(args):
        done = lensllm(*args)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("lensllm: ")
        assert done.err.count("\n") == 1
        assert "Traceback" not in done.err
        return done.err

    return refused


def words(line):
    "A line of options, as a shell would split it."
    return line.split()


@pytest.mark.parametrize(
    "args, message",
    [
        ("select nowhere.csv", "`CURVES` must be a file, got nowhere.csv"),
        ("select flam", "is flan meant?"),
        ("select bad.csv", "row 1 (model a, train_size 200) has -1"),
        ("select wide.csv", "must be a number; model a, train_size 800 has n/k"),
        ("select nameless.csv", "the table has name, 200, 400; rename"),
        ("select flan --method magic", "`--method` must be one of zeroshot"),
        ("select flan --method lensllm", "'lensllm' is now called ntkfit: write ntkfit"),
        ("select flan --seen 2000000", "`--target` must be larger than what is seen"),
        ("select flan --seen many", "must be a whole number of examples >= 1, got 'many'"),
        ("select flan --seen 1,5k", "got '1,5k'"),
        ("select flan --seen 12,80", "got '12,80'"),
        ("select flan --budget 12800", "write --seen 12800"),
        ("select flan -b 12800", "write --seen 12800"),
        ("select flan --budget 20%", "lensllm plan CURVES --budget 20% says which runs"),
        ("select flan --target 0", "must be a whole number of examples >= 1, got '0'"),
        ("select flan --json --csv", "exclude each other"),
        ("select flan --plot x.bmp", "`--plot` must end in"),
        ("select flan --prior bad.csv", "`--prior` must be transfer, generic or a file"),
        ("select flan --prior generic --method ats", "`--prior` is for posterior"),
        ("select flan --method ats --within -1", "`--within` must be >= 0"),
        ("fit flan --law foo", "lensllm: `--law` must be one of vanilla"),
        ("fit flan --law lensllm", "'lensllm' is now called ntk: write ntk"),
        ("fit flan --model gpt5", "`--model` must be in the table"),
        ("fit flan --budget 12800", "write --seen 12800"),
        ("compare flan --ratios a", "`--ratios` must be numbers"),
        ("compare flan flan", "must have different names"),
        ("compare flan --prior generic --method ats", "`--prior` is for posterior"),
        ("compare flan --method lensllm", "'lensllm' is now called ntkfit: write ntkfit"),
        ("compare holes.csv --ratios 2", "no run at 800 of b; take"),
        ("learn flan", "Missing option '--out'"),
        ("learn flan --out prior.txt", "`--out` must end in .json"),
        ("data nameless.csv", "the table has name, 200, 400; rename"),
        ("simulate holes.csv --budget 50%", "a has no run at 400; b has no run at 400, 800; take"),
        ("simulate flan --budget -1%", "`--budget` must be a share"),
        ("simulate flan --costs hours", "`--costs` must be one of the table's"),
        ("plan nowhere", "must be a file, got nowhere"),
        ("plan flan", "`--budget` must be given"),
        ("plan flan --budget 2", "write 2% for that many hundredths"),
        ("plan flan --budget lots", "`--budget` must be a share such as 2%"),
        ("plan flan --budget 2% --policy luck", "`--policy` must be one of race"),
        ("plan flan --budget 2% --unit byte", "`--unit` has no meaning without --candidate"),
        ("plan flan --budget 2% --failed gpt5", "`--failed` must name a candidate, got 'gpt5'"),
        ("plan flan --budget 2% --target 100", "--up-to` leaves larger runs out"),
        ("predict", "No such command 'predict'; see lensllm --help"),
    ],
)
def test_mistake_is_one_line(one_line, in_tables, args, message):
    assert message in one_line(words(args))


@pytest.mark.parametrize(
    "args, message",
    [
        ("--candidate small", "`--candidate` must be NAME=PARAMETERS"),
        ("--candidate a=0", "must be NAME=PARAMETERS"),
        ("--candidate a=1.2.3", "must be NAME=PARAMETERS"),
        ("--candidate a=0.5", "must be NAME=PARAMETERS"),
        ("--candidate a=1e6 --candidate a=2e6", "got a twice"),
        ("--candidate a=1e6 --target 800 --budget 150", "write 150% for that many hundredths"),
        ("--candidate a=1e6 --costs hours", "`--costs` has no meaning with --candidate"),
        ("--candidate a=1e6 --unit word", "`--unit` must be one of byte, token"),
    ],
)
def test_a_study_that_cannot_begin_leaves_no_folder(one_line, tmp_path, args, message):
    assert message in one_line(["plan", tmp_path / "study", *words(args)])
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    "args, message",
    [
        ("tell STUDY tiny 100 3.", "`MODEL` must be a candidate"),
        ("tell STUDY small 100 -1", "must be finite and > 0"),
        ("tell STUDY small 100 3. --forget", "with --forget leave the loss out"),
        ("tell STUDY small 100 3. --forgett", "--forgett"),
        ("tell STUDY small 100 --faild memory", "got '--faild'; no option has this name"),
        ("tell STUDY small 100", "one of `LOSS`, `--failed WHY` and `--forget`"),
        ("tell STUDY small 100 3. --se -1", "`--se` must be finite and >= 0"),
        ("tell STUDY small -3 4.", "examples >= 0, got"),
        ("tell STUDY small 100 9.", "must be what is known already, 3.5, got 9"),
        ("tell nowhere small 100 9.", "holds none"),
        ("status nowhere", "`DIR` must hold a study"),
        ("report nowhere", "holds none"),
        ("plan STUDY --target 50 --out x.csv", "`--target` cannot be given"),
        ("run --out STUDY --resume --target 50", "`--target` cannot be given"),
        ("run --out STUDY --resume", "`--out` must hold a study whose runs are made here"),
    ],
)
def test_mistake_about_a_study_is_one_line(
    one_line, begun_study, tmp_path, monkeypatch, args, message
):
    monkeypatch.chdir(tmp_path)
    args = [begun_study if word == "STUDY" else word for word in words(args)]
    assert message in one_line(args)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args, message",
    [
        ("", "`--task` must be given"),
        ("--task headline", "`--candidate` must name at least one model"),
        ("--task task.jsonl -c lm --target 100k --dry-run", "`--target` must be at most"),
        (
            "--task task.jsonl -c lm --target 100 --size 50 --budget 0.01% --dry-run",
            "`--budget` must cover the first run of the only candidate",
        ),
        ("--task task.jsonl -c lm --test task.jsonl --dry-run", "`--test` must share no row"),
        ("--task task.jsonl -c nowhere/at/all", "is no folder"),
        ("--task task.jsonl -c lm --method some", "`--method` must be full, lora or last-K"),
        ("--task task.jsonl -c lm --device cuda:9 --dry-run", "`--device` must be one that torch"),
        (
            "--task task.jsonl -c lm --budget-size 10 --size 50 --dry-run",
            "`--budget-size` must lie between 50",
        ),
        ("--task task.jsonl -c lm --budget 2% --budget-size 50", "exclude each other"),
        ("--task task.jsonl -c lm --executor ray --ladder continue", "`--executor`"),
        ("--task named.csv -c lm", "other names are given by `--columns`"),
        ("--task task.jsonl -c opt-bibel", "did you mean opt-bible?"),
        ("--task task.jsonl -c lm --trust all", "`--trust` must hold code or pickle, got 'all'"),
        ("--task task.jsonl -c lm --budget 2", "write 2% for that many hundredths"),
    ],
)
def test_a_run_that_cannot_begin_leaves_no_folder(one_line, in_models, tmp_path, args, message):
    assert message in one_line(["run", "--out", tmp_path / "study", *words(args)])
    assert not (tmp_path / "study").exists()


def test_a_run_needs_a_place_where_it_can_write(one_line):
    args = ["run", "--out", "/proc/r", "--task", "headline", "-c", "opt-bible"]
    assert "`--out` must be" in one_line(args)


@pytest.mark.parametrize(
    "args, message",
    [
        ("--task headline", "holds a study; --resume goes on"),
        ("--resume --task task.jsonl -c lm", "`--out` must be the folder of this very study"),
    ],
)
def test_an_old_folder_takes_no_other_study(
    one_line, begun_study, in_models, tmp_path, args, message
):
    folder = shutil.copytree(begun_study, tmp_path / "study")
    assert message in one_line(["run", "--out", folder, *words(args)])


@pytest.mark.parametrize(
    "args, message",
    [
        ("nowhere/at/all lines.txt", "`MODEL` must be a folder or a name on the hub"),
        (". lines.txt", "holds no config.json"),
        ("lm no.txt", "`DATA` must be a file"),
        ("lm lines.txt --plot", "say where with --out"),
        ("lm lines.txt --memory much", "must be an amount of memory"),
        ("lm lines.txt --memory 1MB", "`--memory` must be more than the workspace"),
        ("lm lines.txt --params lora", "`--params` must match at least one"),
        ("lm lines.txt --max-tokens 200", "`--max-tokens` must be <= 64"),
        ("lm lines.txt --output accuracy", "`--output` must be one of"),
        ("lm lines.txt --dtype int8", "`--dtype` must be float32 or float64"),
        ("lm lines.txt --device tpu9", "`--device` must be one that torch has"),
        ("lm lines.txt --out K.csv", "`--out` must end in .npz"),
        ("lm lines.txt --out no/K.npz", "`--out` must be a file in a folder that can be written"),
        ("lm named.csv", "other names are given by `--columns`"),
        ("lm named.csv --columns question,reply", "must have columns question and reply"),
    ],
)
def test_mistake_about_a_kernel_is_one_line(one_line, in_models, args, message):
    assert message in one_line(["ntk", *words(args)])


@pytest.fixture
def spaced(in_models, lines):
    "Two texts of `seen.txt`, with other spaces and with the prompt apart."
    import pandas as pd

    first, _, rest = lines[0].partition(" ")
    rows = dict(prompt=["", first], target=[f" {lines[1]} ", rest])
    pd.DataFrame(rows).to_csv(in_models / "spaced.csv", index=False)


@pytest.mark.parametrize(
    "args, message",
    [
        ("lm t5 seen.txt", "must be of one architecture"),
        ("none/at/all lm seen.txt", "`START` must be a folder"),
        ("lm none/at/all seen.txt", "`END` must be a folder"),
        ("lm half seen.txt --delta 1.5", "`--delta` must lie in (0, 1), got 1.5"),
        (
            "lm half seen.txt --held-out seen.txt",
            "`--held-out` must share no text with DATA, on which END was trained, "
            "got 400 that do, the first being '",
        ),
        ("lm half seen.txt --held-out spaced.csv", "on which END was trained, got 2"),
        ("lm half seen.txt --held-out no.txt", "`--held-out` must be a file"),
        ("lm half seen.txt --unit byte --max-tokens 20", "`--unit byte` needs whole texts"),
        ("lm half seen.txt --unit word", "`--unit` must be token or byte"),
        ("lm half seen.txt --way held-out", "give them by --held-out FILE"),
        ("lm half seen.txt --way luck", "`--way` must be held-out or"),
        ("lm half seen.txt --over sum", "`--over` must be max or mean"),
        ("lm half seen.txt --tokens-per-byte 0", "`--tokens-per-byte` must be > 0"),
    ],
)
def test_mistake_about_a_bound_is_one_line(one_line, in_models, spaced, args, message):
    assert message in one_line(["bound", *words(args)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_a_mistake_of_the_call(one_line, tmp_path):
    tmp_path.chmod(0o500)
    one_line(["select", "flan", "--plot", tmp_path / "f.png"])
