"The command that looks at many candidates before any is fine-tuned."

import pytest
from lensllm.tune import looks

THREE = ("opt-bible", "neox-books", "t5-german")


@pytest.fixture(scope="module")
def done(lensllm, tmp_path_factory):
    "A screen of three shipped candidates, with the table that it wrote."
    table = tmp_path_factory.mktemp("screen") / "looks.csv"
    options = ("--task", "define", "--keep", 2, "--rows", 8, "--out", table)
    return lensllm("screen", *THREE, *options), table


def test_it_keeps_some_and_says_what_to_type_next(done):
    call, _ = done
    assert call.code == 0, call.err
    lines = call.out.splitlines()
    assert lines[0].startswith("screen on define: 3 candidates; zero-shot loss on 8 rows")
    assert sum(line.endswith("yes") for line in lines) == 2
    assert "kept 2 of 3: the best is among them with probability " in call.out
    assert lines[-1].startswith("next: lensllm run --task define --candidate ")
    assert lines[-1].count("--candidate") == 2


def test_it_says_what_such_screens_were_worth_elsewhere(done):
    call, _ = done
    worth = next(line for line in call.out.splitlines() if line.startswith("worth elsewhere"))
    assert "models known by name, 2 of 3 kept" in worth and "by chance 67%" in worth
    assert all(source in worth for source in ("flan", "gigaword", "wmt19", "mini"))


def test_the_table_holds_every_look(done):
    import pandas as pd

    table = pd.read_csv(done[1])
    assert set(table.model) == set(THREE)
    assert (table.known_from == 2).all()  # define itself is left out
    assert table[["zero_shot", "se", "seconds", "p_best"]].gt(0).all(axis=None)


def test_models_that_no_table_knows_are_said_to_be_a_guess(lensllm, in_models):
    call = lensllm("screen", "lm", "t5", "--task", "task.jsonl", "--keep", 1, "--rows", 8, "--json")
    found = call.json
    assert [len(found["candidates"]), len(found["survivors"])] == [2, 1]
    assert "are in no table that this screen learned from" in found["doubts"][-1]
    assert found["next"].startswith("lensllm run --task task.jsonl --candidate ")
    assert found["worth"]["best_kept"]["chance"] == pytest.approx(
        dict(flan=0.5, gigaword=0.5, wmt19=0.5, mini=0.5)
    )


def test_a_model_that_does_not_load_ends_the_screen_or_is_named(lensllm, in_models):
    options = ("--task", "task.jsonl", "--keep", 1, "--rows", 8)
    refused = lensllm("screen", "lm", "t5", "nowhere", *options)
    assert (refused.code, refused.out) == (2, "")
    assert "nowhere" in refused.err and refused.err.count("\n") == 1
    named = lensllm("screen", "lm", "t5", "nowhere", *options, "--skip-failing")
    assert named.code == 0
    assert "failed: nowhere is left out: " in named.out
    alone = lensllm("screen", "lm", "nowhere", *options, "--skip-failing")
    assert alone.code == 2
    assert "number of candidates that load, 1, got 1; nowhere is left out" in alone.err


def test_a_model_that_runs_out_of_memory_can_be_left_out(lensllm, monkeypatch):
    look_at = looks.zero_shot_look

    def look(source, *args, **options):
        if "t5" in str(source):
            raise RuntimeError("CUDA out of memory")
        return look_at(source, *args, **options)

    monkeypatch.setattr(looks, "zero_shot_look", look)
    options = ("--task", "define", "--keep", 1, "--rows", 8, "--skip-failing")
    done = lensllm("screen", *THREE, *options)
    assert done.code == 0 and "failed: t5-german is left out: CUDA out of memory" in done.out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["opt-bible"], "`CANDIDATES` must be at least 2, got opt-bible alone"),
        ([*THREE], "`--keep` must be below the number of candidates, 3, got 8"),
        ([*THREE, "--keep", "3"], "`--keep` must be below the number of candidates, 3, got 3"),
        (["opt-bible", "opt-bible", "-k", "1"], "must differ in name, got opt-bible twice"),
        (["zoo", "opt-bible"], "must differ in name, got opt-bible twice"),
        (["zoo", "./elsewhere@lora"], "without a recipe, got ./elsewhere@lora"),
        (["opt-bible", "neox-books@lora", "-k", "1"], "without a recipe, got neox-books@lora"),
        ([*THREE, "-k", "1", "--rows", "1"], "`--rows` must be"),
        ([*THREE, "-k", "1", "--rows", "some"], "'--rows'"),
    ],
)
def test_what_cannot_be_meant_is_one_line(lensllm, arguments, said):
    call = lensllm("screen", *arguments, "--task", "define")
    assert (call.code, call.out) == (2, "")
    assert said in call.err and call.err.count("\n") == 1
