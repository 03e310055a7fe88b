"The report of a study: complete, inert, and honest about what is not known yet."

import json
import re

import pytest
from lensllm.report.page import study_report
from lensllm.tune.study import new_study

HOSTILE = "<script>document.title='caught'</script>"
CANDIDATES = {"small": 1e8, "medium": 4e8, "large": 1e9, HOSTILE: 2e8}


def made_up_loss(model, train_size):
    irreducible = dict(small=2.2, medium=1.9, large=1.7).get(model, 2.0)
    return irreducible + dict(small=8, medium=20, large=40).get(model, 10) * train_size**-0.5


def unfinished_study(folder):
    return new_study(
        folder, task="sums & <b>more</b>", candidates=CANDIDATES, budget=0.2, target=12800
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    "A study with made-up losses that has spent its budget."
    study = unfinished_study(tmp_path_factory.mktemp("report") / "study")
    while plan := study.ask():
        for model, size in plan:
            study.tell(model, size, made_up_loss(model, size))
    return study


@pytest.fixture(scope="module")
def page(study):
    return study_report(study, study.store.folder / "first.html").read_text()


def test_names_are_text_and_never_markup(page):
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>more" not in page


def test_the_page_holds_two_pictures(page):
    assert page.count("<img") == 2


def test_the_page_forbids_scripts_and_anything_from_elsewhere(page):
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page


def test_the_answer_is_one_sentence(page):
    lead = re.search(r'<p class="lead">(.*?)</p>', page, re.S)[1]
    assert (
        re.sub(r"\s+", " ", lead)
        .strip()
        .startswith(
            "Choose <strong>large</strong> for 12,800 examples: the best of 4 with probability "
        )
    )


def test_without_probes_there_is_no_table_of_findings(page):
    assert "certificates" not in page


def test_the_budget_is_part_of_how_to_repeat_it(page):
    assert "<code>20% of fine-tuning every candidate on the target</code>" in page


def test_a_later_budget_says_when_it_was_granted(study, tmp_path):
    study.fund(0.4)
    page = study_report(study, tmp_path / "more.html").read_text()
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
    return study_report(study, study.store.folder / "found.html").read_text()


@pytest.mark.parametrize("cell", ["5.2", "0.125", "2.00", "1.500", "4.000"])
def test_findings_are_in_the_page(page_with_findings, cell):
    assert f"<td>{cell}</td>" in page_with_findings


def test_certificates_say_how_sure_they_are(page_with_findings):
    assert re.search(r"with\s+probability at least 95%", page_with_findings)


def test_learning_rates_and_seconds_are_in_the_page(tmp_path):
    "Of runs that were made here; those that were told have neither."
    study = unfinished_study(tmp_path / "study")
    study.tell("small", 100, 3.0)
    page = study_report(study, tmp_path / "told.html").read_text()
    assert "learning rate" not in page
    record = dict(step=7, rate=3e-4, seconds=1234.5)
    study.store.done(("medium", 100, 0), 2.9, result=record)
    page = study_report(study, tmp_path / "made.html").read_text()
    assert "<th>learning rate</th>" in page and "<th>seconds</th>" in page
    assert "<td>0.0003</td>" in page and "<td>1,234</td>" in page


def test_a_study_without_runs_has_no_choice_yet(tmp_path):
    empty = unfinished_study(tmp_path / "empty")
    assert "No choice yet" in study_report(empty, tmp_path / "empty.html").read_text()


def test_the_only_candidate_that_has_not_failed_is_chosen(tmp_path):
    study = unfinished_study(tmp_path / "failed")
    for model in CANDIDATES:
        study.tell(model, 100, *([2.0] if model == "small" else []))
    page = study_report(study, tmp_path / "one.html").read_text()
    assert "<strong>small</strong>" in page
    assert "3 of 4 candidates failed, or were not run" in page


def test_a_report_is_an_html_file(study, tmp_path):
    with pytest.raises(ValueError, match=r"`--out` must end in \.html, got report\.pdf"):
        study_report(study, tmp_path / "report.pdf")
