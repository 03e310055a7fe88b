"Event files of TensorBoard: written by its own writer, read by its own reader."

import subprocess
import sys

import pytest
from lensllm.cli.app import exit_code
from lensllm.curves.events import event_entries, event_keys
from lensllm.curves.table import load_curves

pytest.importorskip("tensorboard")
from tensorboard.compat.proto.event_pb2 import Event  # noqa: E402  # where it is installed
from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: E402
from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: E402

GOOD = [("eval/loss", 10, 3.25), ("eval/loss", 20, 3.5), ("train/loss", 20, 1.0)]


@pytest.fixture
def write(tmp_path):
    "Write an event file into a folder below runs."

    def written(folder, points, suffix=""):
        place = tmp_path / "runs" / folder
        writer = EventFileWriter(str(place), filename_suffix=suffix)
        for tag, step, value in points:
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, summary=summary, wall_time=1.0))
        writer.close()
        (path,) = place.glob(f"*{suffix}") if suffix else place.iterdir()
        return path

    return written


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def test_best_value_after_step_0(write, runs):
    write("a/200", [("eval/loss", 0, 5.0), *GOOD])
    assert load_curves(runs).wide().to_dict("list") == {0: [5.0], 200: [3.25]}
    assert "smallest eval_loss after training, from 1 × events.out" in load_curves(runs).source


def test_digits_are_those_that_were_written(write, runs):
    write("a/200", [("eval/loss", 10, 4.39)])
    assert load_curves(runs).at(200)["a"] == 4.39


def test_scalars_of_the_second_version(runs):
    from tensorboard.plugins.scalar.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    writer = EventFileWriter(str(runs / "a" / "200"))
    for step, metadata in ((10, create_summary_metadata("", "")), (20, None)):
        tensor = make_tensor_proto(3.0 + step)
        value = Summary.Value(tag="eval_loss", tensor=tensor, metadata=metadata)
        writer.add_event(Event(step=step, summary=Summary(value=[value]), wall_time=1.0))
    writer.close()
    assert load_curves(runs).at(200)["a"] == 13.0


def test_a_trainers_own_folder_is_found(write, runs):
    write("a/200/runs/Jan02_03-04-05_host", GOOD)
    assert load_curves(runs).at(200)["a"] == 3.25


def test_a_resumed_training_is_one(write, runs):
    write("a/200/runs/Jan02_03-04-05_host", GOOD, ".0")
    write("a/200/runs/Jan02_04-04-05_host", [("eval/loss", 20, 3.0), ("eval/loss", 30, 2.5)], ".1")
    assert load_curves(runs).at(200)["a"] == 2.5


def test_two_trainings_in_one_folder_are_refused(write, runs):
    write("a/200/runs/Jan02_03-04-05_host", GOOD, ".0")
    write("a/200/runs/Jan02_04-04-05_host", [("eval/loss", 10, 2.0)], ".1")
    with pytest.raises(ValueError, match="one folder must hold one training"):
        load_curves(runs)


def test_a_trainers_state_speaks_first(write, runs, monkeypatch):
    write("a/200/runs/Jan02_03-04-05_host", GOOD)
    state = '{"log_history": [{"eval_loss": 2.0, "step": 5}]}'
    (runs / "a" / "200" / "trainer_state.json").write_text(state)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert load_curves(runs).at(200)["a"] == 2.0


def test_event_files_elsewhere_are_passed_over_beside_a_trainers_state(write, runs):
    write("tb", GOOD)
    (runs / "a" / "200").mkdir(parents=True)
    state = '{"log_history": [{"eval_loss": 2.0, "step": 5}]}'
    (runs / "a" / "200" / "trainer_state.json").write_text(state)
    assert len(load_curves(runs)) == 1


def test_event_files_alone_must_match_the_pattern(write, runs):
    write("a/200", GOOD)
    write("tb", GOOD)
    with pytest.raises(ValueError, match="does not lie where"):
        load_curves(runs)


def test_a_score(write, runs):
    write("a/200", [("eval/accuracy", 10, 0.75), ("eval/accuracy", 20, 0.5)])
    curves = load_curves(runs, metric="accuracy")
    assert curves.metric.score_of(curves.at(200)["a"]) == 0.75


@pytest.mark.parametrize(
    "tags, eval_set, loss",
    [
        (["val_loss"], None, 1.0),
        (["Loss/test", "Loss/train"], None, 1.0),
        (["eval/loss", "test/loss"], None, 1.0),
        (["eval/loss", "test/loss"], "test", 2.0),
        (["eval/news_loss", "eval/mail_loss"], "mail", 2.0),
        (["val/loss", "test/loss"], "test", 2.0),
    ],
)
def test_names_of_evaluations(write, runs, tags, eval_set, loss):
    write("a/200", [(tag, 10, float(i + 1)) for i, tag in enumerate(tags)])
    assert load_curves(runs, eval_set=eval_set).at(200)["a"] == loss


def test_two_evaluation_sets_are_refused(write, runs):
    write("a/200", [("val/loss", 10, 1.0), ("test/loss", 10, 2.0)])
    with pytest.raises(ValueError, match="evaluation sets val, test; choose one by `eval_set`"):
        load_curves(runs)


def test_training_losses_are_not_used(write, runs):
    write("a/200", [("train/loss", 10, 1.0), ("loss", 10, 1.0)])
    with pytest.raises(ValueError, match="must hold an `eval_loss`"):
        load_curves(runs)


def test_a_name_that_looks_like_an_evaluation():
    assert event_keys(["evaluation_time"])["evaluation_time"] == "evaluation_time"


@pytest.mark.parametrize("lost", [1, 5, 20, 40])
def test_a_cut_file_is_read_as_far_as_it_is_whole(write, runs, lost):
    path = write("a/200", [("eval/loss", 10, 3.25), ("eval/loss", 20, 3.0)])
    path.write_bytes(path.read_bytes()[:-lost])
    curves = load_curves(runs)
    assert curves.at(200)["a"] == 3.25
    (flag,) = curves.flags[curves.flags.flag == "cut"].itertuples()
    assert str(path) in flag.detail and "ends at step 10" in flag.detail


def test_a_whole_file_has_no_flag(write, runs):
    write("a/200", GOOD)
    assert "cut" not in load_curves(runs).flags.flag.tolist()


def test_a_damaged_record_in_the_middle_is_said(write, runs):
    path = write("a/200", [("eval/loss", step, 3.0 + step) for step in (10, 20, 30)])
    raw = bytearray(path.read_bytes())
    raw[-60] ^= 0xFF
    path.write_bytes(raw)
    assert "cut" in load_curves(runs).flags.flag.tolist()


@pytest.mark.parametrize("raw", [b"no events", b"\0" * 64, b"{" * 1000])
def test_what_is_no_event_file_is_named(runs, raw):
    path = runs / "a" / "200" / "events.out.tfevents.1.host"
    path.parent.mkdir(parents=True)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="its first record is cut or damaged"):
        load_curves(runs)


def test_an_empty_file_holds_no_evaluation(runs):
    path = runs / "a" / "200" / "events.out.tfevents.1.host"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert event_entries(path) == ([], {"cut": False})
    with pytest.raises(ValueError, match="must hold an `eval_loss`"):
        load_curves(runs)


def test_without_the_package_one_line_says_what_to_install(write, runs, monkeypatch, capsys):
    write("a/200", GOOD)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert exit_code(["data", str(runs)]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "pip install 'lensllm[tensorboard]'" in shown


def test_names_in_a_file_stay_text(write, runs, capsys):
    write("a/200", [("eval/\x1b[31mloss", 10, 1.0), ("eval/x_loss", 10, 1.0)])
    assert exit_code(["data", str(runs)]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_the_package_is_not_imported_for_tables():
    code = "import sys, lensllm; lensllm.load_curves('flan'); print('tensorboard' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_data_prints_the_source(write, runs, capsys):
    write("a/200", GOOD)
    assert exit_code(["data", str(runs)]) == 0
    assert "1 × events.out.tfevents.*" in capsys.readouterr().out
