"The commands that say how much data a score needs, and what more of it buys."

import pytest


def test_need_says_who_needs_least(lensllm):
    done = lensllm("need", "flan", "--seen", "12800", "--for", "1.7")
    assert done.code == 0
    assert "needs least for 1.700 nats/token: about" in done.out
    assert done.out.splitlines()[-1] == "next: lensllm gain says what more data buys"


def test_need_in_json_has_null_where_nothing_is_reached(lensllm):
    found = lensllm("need", "flan", "--seen", "12800", "--for", "0.01", "--json").json
    assert all(row["needed"] is None and row["p_reached"] < 0.05 for row in found["needed"])
    assert (found["seen"], found["furthest"]) == (12800, 1_280_000)


def test_need_says_that_nothing_is_likely(lensllm):
    done = lensllm("need", "flan", "--seen", "12800", "--for", "0.01")
    assert "no model is likely to reach 0.010 nats/token within 1,280,000 examples" in done.out


def test_need_names_what_was_measured(lensllm, in_tables):
    done = lensllm("need", "scores.csv", "--for", "accuracy=64")
    assert "has reached accuracy 64.0% at 800 examples: measured" in done.out


@pytest.mark.parametrize("asked", ["64.5%", "64.5", "accuracy=64.5", "accuracy=64.5%"])
def test_a_score_is_written_as_people_do(lensllm, in_tables, asked):
    assert lensllm("need", "scores.csv", "--for", asked, "--json").json["value"] == 64.5


def test_the_name_before_the_value_picks_the_column(lensllm, in_tables):
    values = {"accuracy=70": "accuracy", "loss=1.7": "loss"}
    for asked, metric in values.items():
        assert lensllm("need", "both.csv", "--for", asked, "--json").json["metric"] == metric


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["flan", "--seen", "800"], "Missing option '--for'"),
        (["flan", "--for", "much"], "`--for` must be a number, such as 2.1"),
        (["flan", "--for", "nan"], "`--for` must be a number"),
        (["flan", "--for", "0"], "`--for` must be a loss above 0"),
        (["flan", "--for", "-2"], "`--for` must be a loss above 0"),
        (["flan", "--for", "50%"], "leave the % out"),
        (["flan", "--for", "rougeL=0.5"], "must name the column that is read, loss, got rougeL"),
        (["scores.csv", "--for", "101"], "between 0 and the perfect 100, which no curve reaches"),
        (["scores.csv", "--for", "100"], "between 0 and the perfect 100, which no curve reaches"),
        (["flan", "--for", "2", "--times", "0.5"], "`--times` must lie in"),
        (["flan", "--for", "2", "--times", "nan"], "`--times` must lie in"),
        (["zero.csv", "--for", "2"], "must hold runs above size 0, got none"),
        (["fractions.csv", "--for", "90"], "a fraction as in the table, got 90; write 0.9, or 90%"),
        (["scores.csv", "--for", "0.9"], "must be in percent, as the table is, got 0.9; write 90"),
    ],
)
def test_need_refuses_in_one_line(lensllm, in_tables, arguments, said):
    done = lensllm("need", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err and done.err.count("\n") == 1


def test_gain_compares_more_data_with_another_model(lensllm):
    done = lensllm("gain", "flan", "--seen", "12800", "--model", "facebook/opt-350m")
    assert "facebook/opt-350m at 12,800 examples: predicted" in done.out
    assert "per unit of fine-tuning cost more data buys more" in done.out


def test_gain_of_the_best_model_names_no_better_one(lensllm):
    done = lensllm("gain", "flan", "--seen", "12800")
    assert "no other model is predicted to be better at 12,800 examples" in done.out


def test_gain_in_accuracy_is_what_is_won(lensllm, in_tables):
    found = lensllm("gain", "scores.csv", "--json").json
    assert (found["start"], found["end"]) == (1600, 3200)
    for row in found["gains"]:
        assert row["accuracy_end"] > row["accuracy_start"] and row["gain"] > 0


def test_one_model_alone_is_enough(lensllm, tmp_path):
    (tmp_path / "one.csv").write_text("model,200,400,800,1600\nmine,3.1,2.9,2.75,2.62\n")
    needed = lensllm("need", tmp_path / "one.csv", "--for", "2.4").out
    assert "mine needs least for 2.400 nats: about" in needed
    assert "mine at 1,600 examples: predicted" in lensllm("gain", tmp_path / "one.csv").out


def test_doubts_of_a_gain_are_those_of_its_end(lensllm, in_tables):
    found = lensllm("gain", "mine.csv", "--to", "400k", "--json").json
    assert any("at 256 times the largest size seen" in doubt for doubt in found["doubts"])


def test_looking_no_further_still_sees_all_sizes(lensllm, in_tables):
    found = lensllm("need", "mine.csv", "--for", "2.5", "--times", "1", "--json").json
    assert (found["seen"], found["furthest"]) == (1600, 1600)
    assert all(row["needed"] is None for row in found["needed"])


def test_what_is_reached_before_the_largest_size_is_no_estimate(lensllm, tmp_path):
    rows = "long,3.1,2.9,2.75,2.62,2.5,2.4\nshort,2.6,2.45,2.31,,,\n"
    (tmp_path / "uneven.csv").write_text("model,200,400,800,1600,3200,6400\n" + rows)
    found = lensllm("need", tmp_path / "uneven.csv", "--for", "2.25").out
    assert "short needs least for 2.250 nats: ≤ 6,400 examples" in found


def test_gain_without_parameters_says_what_it_lacks(lensllm, in_tables):
    assert "costs: unknown" in lensllm("gain", "short.csv", "--model", "b").out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--seen", "12800", "--from", "100"], "--seen 100 leaves larger ones out"),
        (["--seen", "12800", "--from", "20k", "--to", "20k"], "`--to` must be above `--from`"),
        (["--model", "nobody"], "`--model` must be a candidate, got 'nobody'"),
    ],
)
def test_gain_refuses_in_one_line(lensllm, arguments, said):
    done = lensllm("gain", "flan", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err and done.err.count("\n") == 1


def test_figures_show_chances_and_gains():
    from lensllm.choose.amounts import data_gain, needed_sizes, plot_gain, plot_needed
    from lensllm.curves.table import load_benchmark
    from lensllm.forecast.posterior import fit_posterior

    post = fit_posterior(load_benchmark("flan").up_to(12800), 25600)
    ax = plot_needed(post, 1.7, most=2)
    assert (ax.get_xscale(), ax.get_ylim()) == ("log", (0, 1))
    assert ax.get_ylabel() == "probability of having reached it"
    medians = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "o"]
    assert medians == list(needed_sizes(post, 1.7).needed[:2])
    ax = plot_gain(post, 12800, 25600, most=4)
    drawn = ax.lines[0].get_xdata()
    assert list(drawn) == list(data_gain(post, 12800, 25600).gain[:4][::-1])
    assert ax.get_xlabel() == "fall of the loss (nats), median and 90% interval"


def test_a_figure_without_anybody_on_the_way_is_drawn(lensllm, in_tables, tmp_path):
    figure = tmp_path / "reached.png"
    done = lensllm("need", "mine.csv", "--for", "3.05", "--plot", figure)
    assert (done.code, figure.is_file()) == (0, True), done.err
    assert "measured" in done.out


@pytest.mark.parametrize("command", [["need", "flan", "--for", "1.7"], ["gain", "flan"]])
def test_both_draw(lensllm, tmp_path, command):
    figure = tmp_path / "figure.png"
    assert lensllm(*command, "--seen", "12800", "--plot", figure).code == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
