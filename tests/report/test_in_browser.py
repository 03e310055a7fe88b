"The report in a browser: hostile names stay text, tables sort, candidates switch, phones fit."

import json
import shutil

import pytest
from lensllm.report.page import study_report
from lensllm.tune.study import new_study

HOSTILE = "<script>document.title='caught'</script><img src=x onerror=\"document.title='caught'\">"
FLAGS = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
LONG = "organisation/a-model-with-a-name-that-no-phone-has-room-for-" + "x" * 60
CANDIDATES = {"small": 1e8, "large@full": 1e9, HOSTILE: 3e8, "large@lora:r=8": 1e9, LONG: 2e8}
PHONE = dict(width=390, height=844)


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


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    "The report of a study with a hostile task and hostile candidates."
    folder = tmp_path_factory.mktemp("browser")
    study = new_study(
        folder / "s",
        task="</title><script>document.title='caught'</script>",
        candidates=CANDIDATES,
        budget=0.3,
        target=12800,
    )
    while plan := study.ask():
        for k, (model, size) in enumerate(plan):
            study.tell(model, size, 2 + k / 10 + 20 * size**-0.5)
    record = json.dumps(dict(step=10, seconds=60, losses=[[0, None, 4.0], [10, 3.4, 3.5]]))
    study.store.db.execute("UPDATE runs SET result = ?", (record,))
    return study_report(study, folder / "report.html")


@pytest.fixture
def page(browser, report):
    "The report, open in the browser; what its console complains of is in `faults`."
    page = browser.new_page()
    page.faults = []
    page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: page.faults.append(str(e)))
    page.goto(report.as_uri())
    yield page
    assert not page.faults
    page.close()


def column(page, table, place):
    "What stands in a column of a table, from top to bottom."
    rows = page.locator(f"[aria-label='{table}'] tbody tr:not(.model)")
    return [row.locator("td").nth(place).inner_text() for row in rows.all()]


def test_report_is_inert(page):
    widths = page.evaluate(
        "() => [...document.querySelectorAll('.chart svg')].map(i => i.clientWidth)"
    )
    assert max(widths) > 300
    assert "caught" not in page.title().replace("document.title='caught'", "")
    assert page.evaluate("() => document.scripts.length") == 1
    assert page.evaluate("() => document.images.length") == 0


def test_a_script_of_somebody_else_does_nothing(browser, report, tmp_path):
    "Even if a name could have written markup, the policy would not run it."
    forged = tmp_path / "forged.html"
    text = report.read_text(encoding="utf-8")
    evil = (
        "<script>document.title='caught'</script><p id=p onclick=\"document.title='caught'\">x</p>"
    )
    forged.write_text(text.replace("</body>", f"{evil}</body>"), encoding="utf-8")
    page = browser.new_page()
    page.goto(forged.as_uri())
    page.locator("#p").click()
    assert page.title() != "caught"
    page.close()


def test_a_hostile_name_is_there_as_text(page):
    assert page.evaluate("() => document.body.innerText").count("onerror") > 1
    titles = page.evaluate(
        "() => [...document.querySelectorAll('svg title')].map(t => t.textContent)"
    )
    assert any(HOSTILE in title for title in titles)


def test_a_table_is_sorted_by_a_click_and_by_the_keyboard(page):
    head = page.locator("[aria-label='Runs'] th", has_text="examples")
    head.locator("button").click()
    sizes = [int(size.replace(",", "")) for size in column(page, "Runs", 1)]
    assert head.get_attribute("aria-sort") == "ascending"
    assert sizes[0] == min(sizes)
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    sizes = [int(size.replace(",", "")) for size in column(page, "Runs", 1)]
    assert sizes[0] == max(sizes)


def test_recipes_of_a_model_stay_together_when_a_table_is_sorted(page):
    page.locator("[aria-label='Ranking'] th button", has_text="candidate").click()
    names = column(page, "Ranking", 1)
    assert abs(names.index("@full") - names.index("@lora:r=8")) == 1
    assert page.locator("[aria-label='Ranking'] tr.model + tr.member").count() == 1


def test_numbers_are_sorted_as_numbers(page):
    page.locator("[aria-label='Ranking'] th button", has_text="cost").click()
    costs = [float(cost.rstrip("%")) for cost in column(page, "Ranking", 7)]
    alone = [cost for cost, name in zip(costs, column(page, "Ranking", 1)) if name[0] != "@"]
    assert alone == sorted(alone)


def test_a_candidate_is_hidden_and_shown_by_its_box(page):
    box = page.get_by_label("small", exact=False).first
    group = page.locator(f"g[data-group='{box.get_attribute('value')}']").first
    assert group.is_visible()
    box.uncheck()
    assert not group.is_visible()
    box.check()
    assert group.is_visible()
    page.get_by_role("button", name="show none").click()
    assert page.locator("g[data-group]:visible").count() == 0


def test_without_its_script_the_page_is_complete(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("[aria-label='Ranking'] td").first.is_visible()
    assert page.locator(".legend label").count() == len(CANDIDATES)
    assert page.locator("input:visible, button:visible").count() == 0
    context.close()


def test_a_phone_scrolls_tables_and_not_the_page(page):
    page.set_viewport_size(PHONE)
    for details in page.locator("details").all():
        details.evaluate("each => each.open = true")
    wide = "() => document.documentElement.scrollWidth"
    assert page.evaluate(wide) == PHONE["width"]
    assert page.locator("[aria-label='Runs']").evaluate("e => e.scrollWidth > e.clientWidth")


def test_report_can_be_printed_with_what_is_folded(page):
    folded = page.locator("details:not([open])")
    assert folded.count() > 0
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert folded.count() == 0
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert folded.count() > 0
    assert len(page.pdf()) > 20_000
