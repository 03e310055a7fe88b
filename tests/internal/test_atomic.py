"A file is written whole or not at all."

import os

import pytest
from lensllm._internal.atomic import atomic_path

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
