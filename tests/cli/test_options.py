"Numbers as people write them, and what several options share."

import pytest
import typer
from lensllm.cli.options import all_tasks, as_bytes, as_examples, as_loss, as_train_size, one_task


@pytest.mark.parametrize(
    "text, examples",
    [
        ("12800", 12_800),
        ("12,800", 12_800),
        ("1e6", 1_000_000),
        ("200k", 200_000),
        ("1.5M", 1_500_000),
        ("1_000", 1_000),
    ],
)
def test_examples_are_read_as_people_write_them(text, examples):
    assert as_examples(text) == examples


@pytest.mark.parametrize("text", ["many", "1,5k", "12,80", "0", "-3", "1.5", "", "k"])
def test_what_is_no_number_of_examples_is_refused(text):
    with pytest.raises(typer.BadParameter, match="must be a whole number of examples >= 1, got"):
        as_examples(text)


def test_a_train_size_may_be_zero():
    assert as_train_size("0") == 0
    with pytest.raises(typer.BadParameter, match="examples >= 0, got '-3'"):
        as_train_size("-3")


@pytest.mark.parametrize(
    "text, size",
    [
        ("4GB", 4 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("500MB", 500 * 10**6),
        ("2kB", 2000),
        ("100B", 100),
        ("7", 7),
    ],
)
def test_memory_is_read_in_thousands_or_1024s(text, size):
    assert as_bytes(text) == size


@pytest.mark.parametrize("text", ["much", "0GB", "4 TB", "GB", ""])
def test_what_is_no_amount_of_memory_is_refused(text):
    with pytest.raises(typer.BadParameter, match="must be an amount of memory such as 500MB"):
        as_bytes(text)


def test_a_mistyped_option_is_told_from_a_loss():
    assert as_loss("-1.5") == -1.5
    with pytest.raises(typer.BadParameter, match="got '--faild'; no option has this name"):
        as_loss("--faild")
    with pytest.raises(typer.BadParameter, match="got 'low'; a run that gave no loss"):
        as_loss("low")


def test_a_table_is_read_as_one_task_or_as_all():
    assert one_task("flan", None).tasks == ["flan"]
    assert one_task("flan", "flan").tasks == ["flan"]
    assert [task.one_task() for task in all_tasks(["flan", "gigaword"])] == ["flan", "gigaword"]
