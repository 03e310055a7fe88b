"What others may rely on: light imports, the published tables, and what the command answers."

import contextlib
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import lensllm
import numpy as np
import pandas as pd
import pytest
from lensllm.curves.table import benchmark_names, load_benchmark, load_published
from lensllm.forecast.fit import fit_law

LENSLLM = Path(sys.executable).with_name("lensllm")
HEAVY = {"torch", "transformers", "matplotlib", "lmfit"}
RANKING = "model rank predicted_loss low high p_best".split()
SELECTION = "task method seen target ranking pearson relative_accuracy regret doubts".split()
TRACE = "step model train_size test_loss why cost_fraction choice p_best".split()
COMPARISON = [
    *"task method ratio seen_train_size target_train_size pearson relative_accuracy".split(),
    *"spearman kendall regret rmse_log coverage".split(),
]
QUICK = ["zeroshot", "modelsize", "subtuning", "ats"]
METHODS = [*QUICK, "vanillafit", "rectifiedfit", "ntkfit", "posterior"]
LIGHT = [
    "curves.table",
    "forecast.laws",
    "choose.selectors",
    "choose.policies",
    "choose.replay",
    "cli",
    "kernels.spectra",
    "kernels.dynamics",
    "kernels.lens",
]


def command(*args, cwd=None):
    "Run the command in this process, in a folder: exit code, standard output and error."
    from lensllm.cli.app import main

    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(cwd or before)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with pytest.raises(SystemExit) as left:
                main([str(arg) for arg in args])
    finally:
        os.chdir(before)
    return left.value.code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    "args", [["select", "flan", "--method", "ats", "--json"], ["select", "none.csv"]]
)
def test_the_installed_command_answers_as_it_does_in_this_process(args):
    done = subprocess.run([LENSLLM, *args], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == command(*args)


def answer(*args, cwd=None):
    "What a command that goes well prints with `--json`."
    code, out, err = command(*args, "--json", cwd=cwd)
    assert code == 0, err
    return json.loads(out)


def refusal(*args, cwd=None):
    "The one line that a command writes when it refuses."
    code, out, err = command(*args, cwd=cwd)
    assert code == 2
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("lensllm: ")
    return err


def modules_after(code):
    "The modules that a fresh process has loaded after some code."
    code = f"{code}\nimport sys; print('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, _, loaded = done.stdout.partition("LOADED")
    return text, set(loaded.split())


def options(name, values):
    "An option that may be repeated."
    return [word for value in values for word in (name, value)]


@pytest.mark.parametrize("module", LIGHT)
def test_imports_stay_light(module):
    _, loaded = modules_after(f"import lensllm.{module}")
    assert not loaded & HEAVY


def test_help_stays_light():
    text, loaded = modules_after("from lensllm.cli.app import exit_code; exit_code(['--help'])")
    assert "select" in text
    assert not loaded & {*HEAVY, "pandas"}


@pytest.fixture(scope="module")
def baselines():
    "The baselines, replayed by the command."
    found = answer("compare", "flan", "gigaword", *options("--method", QUICK))
    return pd.DataFrame(found["rows"])


def test_comparison_has_its_columns(baselines):
    assert list(baselines) == COMPARISON


def test_published_selection_is_reproduced(baselines):
    published = load_published("selection").assign(method=lambda f: f.method.str.lower())
    key = ["task", "method", "ratio"]
    ours = baselines.melt(key, ["pearson", "relative_accuracy"], "metric", "ours")
    both = ours.merge(published, on=[*key, "metric"], validate="one_to_one")
    assert len(both) == 2 * 4 * 7 * 2
    # published with the sign of a score where lower is better; larger models are the ones chosen
    sign = np.where((both.method == "modelsize") & (both.metric == "pearson"), -1, 1)
    assert (both.ours - sign * both.value_percent).abs().max() <= 0.1


@pytest.mark.parametrize("law", ["rectified", "vanilla"])
def test_published_law_fits_are_matched(law):
    rows = load_published("law_fits").query("law == @law")
    published = rows.set_index(["task", "model"]).rmsd_log_loss
    fits = {
        (task, model): fit_law(law, *load_benchmark(task).curve(model)).rmsd_log
        for task, model in published.index
    }
    ours = pd.Series(fits)
    assert (ours.round(4) <= published).sum() >= 58
    assert (ours.groupby(level=0).mean() < published.groupby(level=0).mean()).all()


@pytest.mark.parametrize("method", METHODS)
def test_select_json_contract(method):
    found = answer("select", "gigaword", "--seen", 25600, "--method", method)
    assert list(found) == SELECTION + ["beliefs"] * (method == "posterior")
    about = {key: found[key] for key in ("task", "method", "seen", "target")}
    assert about == dict(task="gigaword", method=method, seen=25600, target=1638400)
    assert [list(row) for row in found["ranking"]] == [RANKING] * 30
    assert [row["rank"] for row in found["ranking"]] == list(range(1, 31))
    predicts = method not in ("zeroshot", "modelsize", "subtuning")
    assert all((row["predicted_loss"] is not None) == predicts for row in found["ranking"])


def test_posterior_is_the_default():
    assert answer("select", "flan", "--seen", 3200)["method"] == "posterior"


@pytest.fixture(scope="module")
def posterior_and_ats():
    "The two methods on all 14 cells, by task and ratio."
    found = answer("compare", "flan", "gigaword", *options("--method", ["posterior", "ats"]))
    rows = pd.DataFrame(found["rows"])
    return [
        rows[rows.method == method].set_index(["task", "ratio"]) for method in ("posterior", "ats")
    ]


# Floors under the figures of the experiment, whose page says how they stand to the goals.


def test_posterior_correlates_better_than_ats(posterior_and_ats):
    ours, ats = posterior_and_ats
    assert len(ours) == 14
    assert ours.pearson.mean() > 83
    assert ours.pearson.mean() > ats.pearson.mean() + 4.5
    by_task, of_ats = (f.groupby("task").pearson.mean() for f in (ours, ats))
    assert (by_task > of_ats - 1).all()


def test_posterior_chooses_well(posterior_and_ats):
    ours, _ = posterior_and_ats
    assert ours.relative_accuracy.min() > 91
    assert ours.relative_accuracy.mean() > 94.5


def test_posterior_errs_less_and_its_intervals_hold(posterior_and_ats):
    ours, ats = posterior_and_ats
    assert ours.rmse_log.mean() < 0.6 * ats.rmse_log.mean()
    assert 0.82 <= ours.coverage.mean() <= 0.97


@pytest.fixture
def flan_files(tmp_path):
    "FLAN as seen; whole, poisoned beyond what is seen, and under another name."
    flan = load_benchmark("flan")
    flan.up_to(3200).save(tmp_path / "seen.csv")
    flan.save(tmp_path / "whole.csv")
    poisoned = flan.frame.test_loss.where(flan.frame.train_size <= 3200, 7.0)
    flan.frame.assign(test_loss=poisoned).to_csv(tmp_path / "poisoned.csv", index=False)
    flan.frame.assign(task="other").to_csv(tmp_path / "renamed.csv", index=False)
    return tmp_path


def ranked(folder, *more):
    "The ranking of what was seen of FLAN."
    return answer("select", "seen.csv", "--target", 1638400, *more, cwd=folder)["ranking"]


@pytest.fixture
def without_flan(flan_files):
    "The ranking with a prior that never met FLAN."
    assert command("learn", "gigaword", "--out", "prior.json", cwd=flan_files)[0] == 0
    return ranked(flan_files, "--prior", "prior.json")


@pytest.mark.parametrize("table", ["whole.csv", "poisoned.csv", "renamed.csv"])
def test_nothing_of_a_task_comes_back_through_the_prior(flan_files, without_flan, table):
    code, _, err = command("learn", "gigaword", table, "--out", "both.json", cwd=flan_files)
    assert code == 0, err
    assert ranked(flan_files, "--prior", "both.json") == without_flan


def test_shipped_prior_leaves_the_task_out(flan_files, without_flan):
    shipped = [row["predicted_loss"] for row in ranked(flan_files)]
    learned = [row["predicted_loss"] for row in without_flan]
    assert shipped == pytest.approx(learned, rel=1e-4)


def test_plan_follows_a_study_and_never_overspends(tmp_path):
    "Plan, run, add, ask again: the shipped losses stand in for real runs."
    gigaword = load_benchmark("gigaword")
    gigaword = gigaword.filter(model=gigaword.models[::3])
    have = gigaword.frame[gigaword.frame.train_size.isin([0, 200])]
    for _ in range(30):
        have.to_csv(tmp_path / "study.csv", index=False)
        found = answer("plan", "study.csv", "--budget", "2%", "--target", 1638400, cwd=tmp_path)
        planned = sum(run["cost_fraction"] for run in found["runs"])
        assert found["spent_fraction"] + planned <= 0.02 * (1 + 1e-9)
        if not found["runs"]:
            break
        asked = pd.DataFrame(found["runs"])[["model", "train_size"]]
        made = asked.merge(gigaword.frame, on=["model", "train_size"], validate="one_to_one")
        have = pd.concat([have, made])
    assert not found["runs"]
    assert found["choice"] in gigaword.models
    assert 0 < found["p_best"] <= 1
    assert found["spent_fraction"] > 0.005


def test_simulate_json_contract():
    found = answer("simulate", "gigaword", "--policy", "race", "--budget", "1%")
    wanted = {"choice", "relative_accuracy", "regret", "cost_fraction", "p_best", "trace"}
    assert wanted <= set(found)
    assert found["cost_fraction"] <= 0.01
    assert found["relative_accuracy"] > 85
    assert found["trace"][-1]["cost_fraction"] == pytest.approx(found["cost_fraction"])
    assert list(found["trace"][0]) == TRACE


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    "A folder with a model that transformers saved, with random weights, and rows of text."
    from lensllm._internal.tiny import tiny_model
    from lensllm.models.loading import character_tokenizer

    folder = tmp_path_factory.mktemp("ntk")
    tiny_model("llama", seed=0, vocab=99).save_pretrained(folder / "lm")
    character_tokenizer("".join(map(chr, range(32, 127)))).save_pretrained(folder / "lm")
    rows = [f"what is {a} and {b}?,{a + b}" for a in range(5) for b in range(4)]
    (folder / "rows.csv").write_text("\n".join(["prompt,target", *rows, ""]))
    return folder


def test_ntk_writes_a_kernel_and_its_picture(small_model):
    from lensllm.kernels.ntk import load_kernel

    wanted = ["--rows", 16, "--dtype", "float64", "--out", "K.npz", "--plot"]
    found = answer("ntk", "lm", "rows.csv", *wanted, cwd=small_model)
    kernel = load_kernel(small_model / "K.npz")
    eigvals = np.linalg.eigvalsh(kernel.K)[::-1]
    assert kernel.K.shape == (16, 16)
    assert kernel.K.dtype == np.float64
    assert found["error"] < 1e-12
    assert np.allclose(found["eigvals"], eigvals, atol=1e-9 * found["trace"])
    assert found["trace"] == pytest.approx(np.trace(kernel.K))
    assert (small_model / "K.png").read_bytes().startswith(b"\x89PNG")


def test_less_memory_takes_more_sweeps_to_the_same_kernel(small_model):
    tight, ample = (
        answer(
            *("ntk", "lm", "rows.csv", "--rows", 16, "--output", "sampled"),
            *("--memory", memory),
            cwd=small_model,
        )
        for memory in ("17.5MB", "4GB")
    )
    assert tight["sweeps"] > ample["sweeps"]
    assert tight["trace"] == pytest.approx(ample["trace"], rel=1e-4)


@pytest.mark.parametrize(
    "args",
    [
        ["lm", "none.csv"],
        ["none/of/this", "rows.csv"],
        ["lm", "rows.csv", "--plot"],
        ["lm", "rows.csv", "--params", "lora"],
        ["lm", "rows.csv", "--output", "x"],
        ["lm", "rows.csv", "--memory", "1kB"],
        ["lm", "rows.csv", "--max-tokens", "1000"],
        ["lm", "rows.csv", "--out", "K.csv"],
        ["lm", "rows.csv", "--rows", "0"],
        ["lm", "rows.csv", "--dtype", "int8"],
    ],
)
def test_mistake_of_ntk_is_one_line(small_model, args):
    refusal("ntk", *args, cwd=small_model)


def test_a_model_that_was_not_seen_is_not_forgotten(tmp_path):
    table = "model,200,400,800,3200\na,3,2.9,2.8,2.7\nb,3.1,2.9,2.7,2.6\nc,,,,1.0\n"
    (tmp_path / "late.csv").write_text(table)
    assert "leaves no run of c" in refusal("select", "late.csv", "--seen", 800, cwd=tmp_path)


def test_own_file_wide_and_tidy_rank_alike(tmp_path):
    flan = load_benchmark("flan").up_to(12800)
    flan.save(tmp_path / "tidy.csv")
    flan.wide().reset_index().to_csv(tmp_path / "wide.csv", index=False)
    tidy, wide = (
        answer("select", name, "--target", 1638400, cwd=tmp_path)["ranking"]
        for name in ("tidy.csv", "wide.csv")
    )
    assert [row["model"] for row in tidy] == [row["model"] for row in wide]
    assert tidy[0]["predicted_loss"] == pytest.approx(wide[0]["predicted_loss"])


@pytest.mark.parametrize(
    "args",
    [
        ["select", "missing.csv"],
        ["select", "bad.csv"],
        ["select", "pickle.parquet"],
        ["select", "flan", "--method", "x"],
        ["select", "--wrong"],
        ["select", "flan", "--json", "--csv", "--plot", "left.png"],
        ["plan", "flan", "--budget", "x"],
        ["simulate", "flan", "--policy", "x"],
        ["learn", "missing.csv", "--out", "p.json"],
        ["data", "flan", "--out", "x.txt"],
        ["fit", "bad.csv"],
    ],
)
def test_mistake_is_one_line_and_leaves_nothing(tmp_path, args):
    (tmp_path / "bad.csv").write_text("model,train_size,test_loss\na,200,nan\nb,200,2\n")
    (tmp_path / "pickle.parquet").write_bytes(b"not parquet")
    refusal(*args, cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"bad.csv", "pickle.parquet"}


def test_debug_shows_the_traceback(tmp_path):
    words = [LENSLLM, "select", "missing.csv", "--debug"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_a_mistake_of_the_call(tmp_path):
    tmp_path.chmod(0o500)
    assert command("select", "flan", "--plot", tmp_path / "f.png")[0] == 2


@pytest.fixture(scope="module")
def anchors():
    "The anchors of all built pages."
    site = Path(__file__).resolve().parent.parent / "_docs"
    if not (site / "index.html").is_file():
        pytest.skip("the site is not built: run `make docs`")
    texts = (page.read_text(encoding="utf-8") for page in site.rglob("*.html"))
    return {anchor.lower() for text in texts for anchor in re.findall(r'id="([^"]+)"', text)}


def public_modules():
    "Names of all modules that users may import."
    found = pkgutil.walk_packages(lensllm.__path__, "lensllm.")
    return [m.name for m in found if not m.ispkg and "._" not in m.name]


@pytest.mark.parametrize("name", public_modules())
def test_every_public_name_has_a_place_on_the_site(anchors, name):
    module = importlib.import_module(name)
    public = {key: getattr(module, key) for key in module.__all__}
    own = [
        key
        for key, value in public.items()
        if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__ == name
    ]
    assert [key for key in own if key.lower() not in anchors] == []


BENCHMARKS = dict(  # source -> what its citation says, numbers of candidates, unit
    mini=("LensBench-mini", {14}, "nats/byte"),
    pet=("TevenLeScao/pet", {4, 5, 7}, "error rate"),
    lcdb=("LCDB-1.1", set(range(20, 28)), "error rate"),
    gemstones=("gemstone-scaling-laws", {22}, "nats/token"),
)


@pytest.mark.parametrize("name", benchmark_names())
def test_shipped_task_cites_its_source(name):
    curves = load_benchmark(name)
    source = name.split("/")[0]
    cited, n_models, unit = BENCHMARKS.get(source, ("arXiv:2402.02314", {30}, "nats/token"))
    assert cited in curves.source
    assert curves.tasks == [name]
    assert len(curves.models) in n_models
    assert curves.unit == unit
