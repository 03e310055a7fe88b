"The report of a study: complete, inert, and honest about what is not known yet."

import base64
import hashlib
import json
import re

import pytest
from lensllm.report.page import study_report
from lensllm.tune.study import new_study

HOSTILE = "<script>document.title='caught'</script>"
ODD_NAMES = (
    HOSTILE,
    "a\"b'c<img src=x onerror=\"document.title='caught'\">",
    "]]></title></svg><script>document.title='caught'</script>",
    "turned\u202e round \u2066 and \x07 bell \ufffe",
)
CANDIDATES = {"small": 1e8, "medium": 4e8, "large": 1e9, HOSTILE: 2e8}
RECIPES = {"alone": 1e8, "opt@lora:r=64": 2e8, "me@home": 3e8, "opt@full": 2e8, "opt": 2e8}


def made_up_loss(model, train_size):
    irreducible = dict(small=2.2, medium=1.9, large=1.7).get(model, 2.0)
    return irreducible + dict(small=8, medium=20, large=40).get(model, 10) * train_size**-0.5


def begun(folder, candidates=CANDIDATES, task="sums & <b>more</b>", **options):
    options = dict(budget=0.2, target=12800) | options
    return new_study(folder, task=task, candidates=candidates, **options)


def finished(folder, *args, **options):
    "A study with made-up losses that has spent its budget."
    study = begun(folder, *args, **options)
    while plan := study.ask():
        for model, size in plan:
            study.tell(model, size, made_up_loss(model, size))
    return study


def text_of(study, path):
    return study_report(study, path).read_text(encoding="utf-8")


def section(page, title):
    "What stands below a heading, up to the next."
    return page.partition(f"<h2>{title}</h2>")[2].partition("<h2>")[0]


def cells(page):
    "What stands in the cells of tables."
    return re.findall("<td[^>]*>([^<]*)</td>", page.replace("\n", ""))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("report") / "study")


@pytest.fixture(scope="module")
def page(study):
    return text_of(study, study.store.folder / "first.html")


@pytest.fixture(scope="module")
def odd_page(tmp_path_factory):
    "The report of a study whose names are all hostile, and whose runs have recorded checks."
    study = finished(tmp_path_factory.mktemp("odd") / "study", dict.fromkeys(ODD_NAMES, 1e8))
    record_checks(study)
    return text_of(study, study.store.folder / "odd.html")


def record_checks(study):
    "Let runs look as if they had been made here."
    losses = [[10 * k, 3.4 - k / 10 if k else None, 3.5 + (k - 6) ** 2 / 100] for k in range(11)]
    record = json.dumps(dict(step=60, rate=3e-4, seconds=3600, losses=losses))
    study.store.db.execute("UPDATE runs SET result = ?", (record,))


def test_names_are_text_and_never_markup(page, odd_page):
    for each in (page, odd_page):
        assert each.count("<script") == 1
        assert "&lt;script&gt;" in each
        assert "<img" not in each and "<b>more" not in each


def test_control_characters_are_written_out(odd_page):
    assert not re.search("[\x07\u202e\u2066]", odd_page)
    assert r"turned\u202e round \u2066 and \x07 bell" in odd_page


def test_the_policy_names_the_script_and_the_style_by_their_hashes(page):
    policy = re.search('Content-Security-Policy" content="(.*?)"', page, re.S)[1]
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy


def test_nothing_in_the_page_needs_a_style_of_its_own(page):
    assert " style=" not in page
    assert not re.search(r"\son[a-z]+=", page)


def test_no_id_is_given_twice(odd_page):
    ids = re.findall(' id="([^"]+)"', odd_page)
    assert ids and len(ids) == len(set(ids))
    assert set(re.findall('href="#([^"]+)"', odd_page)) <= set(ids)


def test_the_same_study_gives_the_same_page(study, page, tmp_path):
    assert text_of(study, tmp_path / "again.html") == page


def test_points_and_bands_say_what_they_are(page):
    chart = page.partition('<div class="chart">')[2].partition("</svg>")[0]
    titles = re.findall("<title>(.*?)</title>", chart)
    assert any(re.fullmatch(r"large: [0-9.]+ on 400 examples", title) for title in titles)
    assert "large: 90% of the probability" in titles
    assert any("predicted for 12,800, 90% interval" in title for title in titles)


def test_fifty_candidates_are_less_than_1_mb(tmp_path):
    study = begun(tmp_path / "study", {f"org/model-{k}-7b-chat": 1e8 for k in range(50)})
    for k in range(50):
        for size in (100, 200, 400, 800, 1600):
            study.tell(f"org/model-{k}-7b-chat", size, 2 + k / 50 + 20 * size**-0.5)
    record_checks(study)
    path = study_report(study, tmp_path / "large.html")
    assert path.stat().st_size < 1e6


def test_the_answer_is_one_sentence(page):
    lead = re.search(r'<p class="lead">(.*?)</p>', page, re.S)[1]
    assert (
        re.sub(r"\s+", " ", lead)
        .strip()
        .startswith(
            "Choose <strong>large</strong> for 12,800 examples: the best of 4 with probability "
        )
    )


def test_a_column_says_what_it_is_where_it_stands_first(page):
    assert page.count("<b>P(best)</b>: probability of being the best of these candidates") == 1
    assert page.count("<b>cost</b>: share of what fine-tuning every candidate") == 1
    assert "<b>cost</b>" in section(page, "Ranking")


def test_a_small_share_is_not_nothing_and_a_large_one_not_all(tmp_path):
    study = begun(tmp_path / "study", dict(tiny=1, huge=1e12))
    study.tell("tiny", 100, 3.0)
    study.tell("huge", 12800, 2.0)
    study.tell("huge", 100, 3.0)
    page = text_of(study, tmp_path / "page.html")
    assert "less than 0.01%" in cells(section(page, "Ranking"))
    assert not re.search(r"\b(0\.00%|100\.0+%)", page)


def test_costs_are_shares_and_hours_where_seconds_are_known(study, page, odd_page, tmp_path):
    assert "device hours" not in page
    ranking = section(odd_page, "Ranking")
    assert "<b>device hours</b>: measured time of one device" in ranking
    assert re.search(r"<title>[^<]+ on 100 examples: [0-9.]+%, 1 device hours</title>", odd_page)


def test_recipes_of_one_model_stand_together(tmp_path):
    study = finished(tmp_path / "study", RECIPES)
    page = text_of(study, tmp_path / "page.html")
    for title in ("Ranking", "Where the budget went", "Runs"):
        (group,) = [body for body in section(page, title).split("<tbody>") if "rowgroup" in body]
        names = dict.fromkeys(re.findall('<td class="name">([^<]*)</td>', group.replace("\n", "")))
        assert re.search('colspan="[0-9]+">opt</th>', group)
        assert set(names) == {"@lora:r=64", "@full", "as the study"}
    legend = page.partition('class="legend"')[2].partition("</fieldset>")[0]
    assert legend.count("<b>") == 1 and "<b>opt</b>" in legend
    assert "me@home" in cells(section(page, "Ranking"))


def test_a_candidate_has_one_doubt_and_the_choice_comes_first(tmp_path):
    study = begun(tmp_path / "study", dict(a=1e8, b=1e8, c=1e8, d=1e8))
    for size in (100, 200, 400, 800):
        for model, level in dict(a=2.0, b=2.1, c=2.2).items():
            study.tell(model, size, level + 10 * size**-0.5)
    study.tell("d", 800, 20.0)  # late, alone, and in another unit
    study.tell("a", 1600, 2.6)
    doubts = section(text_of(study, tmp_path / "page.html"), "Doubts")
    tops = re.findall(r"(?m)^<li>([^<\n]*)", doubts)
    about_d = [doubt for doubt in tops if doubt.startswith("d: ")]
    assert about_d == [tops[-1]] and "in the same unit" in about_d[0]
    assert re.search(r"and \d more</summary>\s*<ul><li>d: rests on 1 size", doubts)


def test_the_report_ends_with_what_to_do_next(study, page):
    last = section(page, "What to do next")
    assert "Fine-tune large on all 12,800 examples with your own script" in last
    assert f"<code>lensllm plan {study.store.folder} --budget 40%</code>" in last
    assert last.rstrip().endswith("</html>")


def test_a_study_without_a_choice_says_how_to_get_one(tmp_path):
    study = begun(tmp_path / "begun")
    last = section(text_of(study, tmp_path / "begun.html"), "What to do next")
    assert f"lensllm plan {study.store.folder}</code>" in last
    assert "MODEL EXAMPLES LOSS</code>" in last


def test_training_is_shown_where_it_was_recorded(page, odd_page):
    assert "How runs were trained" not in page
    trained = section(odd_page, "How runs were trained")
    assert trained.count("<details>") == len(ODD_NAMES)
    assert "<title>100 examples, training loss, at last 2.400</title>" in trained
    assert "<title>100, step 30: 3.590</title>" in trained
    assert "<title>100 examples: the state of step 60 was kept</title>" in trained


def test_without_probes_there_is_no_table_of_findings(page):
    assert "certificates" not in page


def test_the_budget_is_part_of_how_to_repeat_it(page):
    assert "<code>20% of fine-tuning every candidate on the target</code>" in page


def test_a_later_budget_says_when_it_was_granted(study, tmp_path):
    study.fund(0.4)
    page = text_of(study, tmp_path / "more.html")
    assert re.search("<code>20%, then when [.0-9]+% were spent 40% of fine-tuning", page)


@pytest.fixture(scope="module")
def page_with_findings(study, page):
    "The report after probes have looked into two runs; `page` was written before."
    certified = dict(
        effective_dimension=5.25, drift=0.125, distance=2.0, certificate=1.5, guess=4.0, delta=0.05
    )
    for model, findings in dict(small=certified, medium=dict(drift=None)).items():
        result = json.dumps(dict(step=7, made_with={}, findings=findings))
        study.store.db.execute(
            "UPDATE runs SET result = ? WHERE (model, train_size) = (?, 100)", (result, model)
        )
    return text_of(study, study.store.folder / "found.html")


@pytest.mark.parametrize("cell", ["5.2", "0.125", "2.00", "1.500", "4.000"])
def test_findings_are_in_the_page(page_with_findings, cell):
    assert cell in cells(section(page_with_findings, "Kernels and certificates"))


def test_certificates_say_how_sure_they_are(page_with_findings):
    assert re.search(r"with\s+probability at least 95%", page_with_findings)


def test_learning_rates_and_seconds_are_in_the_page(tmp_path):
    "Of runs that were made here; those that were told have neither."
    study = begun(tmp_path / "study")
    study.tell("small", 100, 3.0)
    page = text_of(study, tmp_path / "told.html")
    assert "learning rate" not in page
    record = dict(step=7, rate=3e-4, seconds=1234.5)
    study.store.done(("medium", 100, 0), 2.9, result=record)
    page = text_of(study, tmp_path / "made.html")
    assert ">learning rate</th>" in page and ">seconds</th>" in page
    assert {"0.0003", "1,234"} <= set(cells(page))


def test_a_study_without_runs_has_no_choice_yet(tmp_path):
    empty = begun(tmp_path / "empty")
    assert "No choice yet" in text_of(empty, tmp_path / "empty.html")


def test_the_only_candidate_that_has_not_failed_is_chosen(tmp_path):
    study = begun(tmp_path / "failed")
    for model in CANDIDATES:
        study.tell(model, 100, *([2.0] if model == "small" else []))
    page = text_of(study, tmp_path / "one.html")
    assert "<strong>small</strong>" in page
    assert "3 of 4 candidates failed, or were not run" in page


def test_a_report_is_an_html_file(study, tmp_path):
    with pytest.raises(ValueError, match=r"`--out` must end in \.html, got report\.pdf"):
        study_report(study, tmp_path / "report.pdf")


@pytest.mark.parametrize(
    "budget, said", [(0.1, "the rest of the budget pays for"), (0.016, "twice")]
)
def test_money_that_is_left_is_spent_before_more_is_asked_for(tmp_path, budget, said):
    options = dict(task="questions", candidates=dict(a=1e8, b=2e8, c=3e8), target=100_000)
    study = new_study(tmp_path / "study", budget=budget, **options)
    for size, loss in ((100, 4.0), (200, 3.9), (400, 3.8), (800, 3.7)):
        for i, model in enumerate("abc"):
            study.tell(model, size, loss - 0.02 * i)
    assert said in study_report(study, tmp_path / "report.html").read_text()
