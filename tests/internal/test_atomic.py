"A file is written whole or not at all."

import os

import pytest
from lensllm._internal.atomic import atomic_path, open_to_append

TEXT = "model,loss\ngpt2,1.79\n"


@pytest.fixture
def table(tmp_path):
    "A file that was written into a new folder."
    path = tmp_path / "deep" / "table.csv"
    with atomic_path(path) as unfinished:
        unfinished.write_text(TEXT)
    return path


def test_a_new_file_appears_complete(table):
    assert table.read_text() == TEXT


def test_nothing_else_stays_in_the_folder(table):
    assert [path.name for path in table.parent.iterdir()] == ["table.csv"]


def test_a_body_that_fails_leaves_the_old_file(table):
    with pytest.raises(RuntimeError, match="disk full"):
        with atomic_path(table) as unfinished:
            unfinished.write_text("model,lo")
            raise RuntimeError("disk full")
    assert table.read_text() == TEXT
    assert [path.name for path in table.parent.iterdir()] == ["table.csv"]


def test_a_file_has_the_permissions_of_other_files(table):
    other = table.with_name("other.csv")
    other.write_text(TEXT)
    assert os.stat(table).st_mode == os.stat(other).st_mode


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(ValueError, match="must name a file"):
        with atomic_path(tmp_path):
            pass


def leave_behind(path, process):
    "A temporary file as a killed process leaves it."
    with atomic_path(path) as unfinished:
        unfinished.write_text(TEXT)
        name = unfinished.name.replace(f"-{os.getpid()}-", f"-{process}-")
    (path.parent / name).write_text("model,lo")
    return path.parent / name


def test_what_a_killed_process_left_is_cleared(table):
    left = leave_behind(table, 999_999_999)
    other = leave_behind(table.with_name("other.csv"), 999_999_999)
    with atomic_path(table) as unfinished:
        unfinished.write_text(TEXT)
    assert not left.exists()
    assert other.exists()  # until that file is written again


def test_what_is_being_written_stays(table):
    with atomic_path(table) as first:
        first.write_text("first")
        with atomic_path(table) as second:
            second.write_text("second")
        assert first.exists()


def test_what_another_machine_left_is_cleared_after_a_day(table, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("platform.node", lambda: "elsewhere")
        left = leave_behind(table, 999_999_999)
    with atomic_path(table) as unfinished:
        unfinished.write_text(TEXT)
    assert left.exists()
    os.utime(left, (0, 0))
    with atomic_path(table) as unfinished:
        unfinished.write_text(TEXT)
    assert not left.exists()


@pytest.mark.parametrize("name", ["n" * 250 + ".csv", "a b.csv", "-x.csv"])
def test_odd_names_are_written(tmp_path, name):
    with atomic_path(tmp_path / name) as unfinished:
        unfinished.write_text(TEXT)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_is_replaced_and_its_aim_stays(tmp_path, table, link):
    link(table, tmp_path / "link.csv")
    with atomic_path(tmp_path / "link.csv") as unfinished:
        unfinished.write_text("other")
    assert table.read_text() == TEXT


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_lines_are_not_added_to_what_a_link_points_to(tmp_path, table, link):
    link(table, tmp_path / "study.log")
    with pytest.raises(ValueError, match="files of its own"):
        open_to_append(tmp_path / "study.log")
    assert table.read_text() == TEXT


def test_lines_are_added(tmp_path):
    for line in "ab":
        with open_to_append(tmp_path / "study.log") as log:
            print(line, file=log)
    assert (tmp_path / "study.log").read_text() == "a\nb\n"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "study.log")
    with pytest.raises(ValueError, match="no plain file"):
        open_to_append(tmp_path / "study.log")


def test_a_stray_file_stops_no_write(table):
    from lensllm._internal.atomic import _temporary_prefix

    (table.parent / f"{_temporary_prefix(table)}x").touch()
    with atomic_path(table) as unfinished:
        unfinished.write_text("other")
    assert table.read_text() == "other"
