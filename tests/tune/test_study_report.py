"The report of a study shows hostile names as text, and needs nothing from outside."

import shutil
from pathlib import Path

import pytest
from lensllm.report.page import study_report
from lensllm.tune.study import new_study

HOSTILE = "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">"
FLAGS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]


@pytest.fixture(scope="module")
def browser():
    "Headless Chromium, or a skip that says why."
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, tmp_path):
    "The report of a study with a hostile task and candidate, open in the browser."
    study = new_study(
        tmp_path / "s",
        task="</title><script>document.title='caught'</script>",
        candidates={"small": 1e8, "large": 1e9, HOSTILE: 3e8},
        budget=0.3,
        target=12800,
    )
    while plan := study.ask():
        for k, (model, size) in enumerate(plan):
            study.tell(model, size, 2 + k / 10 + 20 * size**-0.5)
    path = study_report(study, tmp_path / "report.html")
    page = browser.new_page()
    page.faults = []
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.faults.append(str(e)))
    page.goto(Path(path).as_uri())
    yield page
    page.close()


def test_report_is_inert(page):
    drawn = page.evaluate("() => [...document.images].map(i => i.naturalWidth)")
    assert not page.faults
    assert len(drawn) == 2
    assert min(drawn) > 300
    assert "caught" not in page.title().replace("document.title='caught'", "")
    assert page.evaluate("() => document.scripts.length") == 0


def test_a_hostile_name_is_there_as_text(page):
    assert page.evaluate("() => document.body.innerText").count("onerror") > 1


def test_report_can_be_printed(page):
    assert len(page.pdf()) > 20_000
