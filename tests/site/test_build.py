"The building of the site: where formulas come from, and what a machine may lack."

import importlib.util
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "tools" / "site.py"
REMOTE = "https://cdn.jsdelivr.net/npm/katex@0.16.11/dist"
LOADED = ("katex.min.css", "katex.min.js", "contrib/auto-render.min.js")
needs_katex = pytest.mark.skipif(
    not importlib.util.find_spec("djangocms_katex"),
    reason="djangocms-katex, which carries KaTeX, is not installed",
)


@pytest.fixture
def site(monkeypatch, tmp_path):
    "The script that builds the site, with an empty folder for what it builds."
    spec = importlib.util.spec_from_file_location("build_site", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "BUILT", tmp_path)
    monkeypatch.chdir(tmp_path)  # the script changes it
    return module


@needs_katex
@pytest.mark.parametrize("name", ["page.html", "deep/er/page.html"])
def test_a_page_loads_formulas_from_the_site(site, tmp_path, name):
    page = tmp_path / name
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("".join(f'<a href="{REMOTE}/{path}"></a>' for path in LOADED))
    site.vendor()
    found = re.findall('href="([^"]+)"', page.read_text())
    assert [path for path in found if not (page.parent / path).is_file()] == []
    assert len(found) == len(LOADED)


@needs_katex
def test_every_font_of_the_formulas_is_there(site, tmp_path):
    site.vendor()
    style = tmp_path / "site_libs" / "katex" / "katex.min.css"
    fonts = re.findall(r"url\(([^)]+\.woff2)\)", style.read_text())
    assert len(fonts) >= 20
    assert [font for font in fonts if not (style.parent / font).is_file()] == []


@needs_katex
def test_the_licence_of_katex_comes_along(site, tmp_path):
    site.vendor()
    assert "MIT License" in (tmp_path / "site_libs" / "katex" / "LICENSE").read_text()


def test_missing_katex_is_named_with_its_remedy(site, monkeypatch):
    monkeypatch.setattr(site, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install --no-deps djangocms-katex"):
        site.katex_folder()


def test_anything_else_from_outside_is_refused(site, monkeypatch, tmp_path):
    empty = tmp_path / "katex"
    for name in (*LOADED, "LICENSE", "fonts/x.woff2"):
        (empty / name).parent.mkdir(parents=True, exist_ok=True)
        (empty / name).touch()
    monkeypatch.setattr(site, "katex_folder", lambda: empty)
    (tmp_path / "page.html").write_text('<script src="https://elsewhere.invalid/x.js"></script>')
    with pytest.raises(SystemExit, match="page.html loads https://elsewhere.invalid/x.js"):
        site.vendor()


@pytest.fixture
def old_python(site, monkeypatch):
    "The script on a machine whose Python is too old for smalldocs, without Quarto."
    monkeypatch.setattr(site, "SMALLDOCS_NEEDS", (99,))
    monkeypatch.setattr(site.shutil, "which", lambda name: None)
    return site


def test_an_old_python_leaves_the_site_out_where_it_may(old_python, capsys):
    old_python.main("--if-possible")
    assert capsys.readouterr().out.startswith("Left out: the site is made by smalldocs")


def test_an_old_python_is_an_error_where_the_site_was_asked_for(old_python):
    with pytest.raises(SystemExit, match="Python 3.11 or newer"):
        old_python.main()


def cell(source, kind="code"):
    "A cell of a processed notebook."
    return dict(cell_type=kind, source=source, outputs=[], metadata={})


def page_of(*between):
    "An experiment: loads, draws, then answers, with cells between drawing and answering."
    return [
        cell("---\ntitle: Which?\n---\n", "raw"),
        cell("table = load()"),
        cell("#| label: fig-a\ndraw(table)"),
        *between,
        cell("#| echo: false\n#| lead: fig-a\nMarkdown(answer)"),
    ]


def sources(cells):
    "What stands in cells, without options."
    return [re.sub(r"^#\|.*\n", "", c["source"], flags=re.M).strip() for c in cells]


def test_an_experiment_begins_with_its_answer_and_the_figure_it_names(site):
    told = site.lead_with_answer(page_of(cell("more()")))
    begin = sources(told)[1:5]
    assert begin == ["::::: {.answer}", "Markdown(answer)", "draw(table)", ":::::"]
    assert sources(told)[5:] == ["table = load()", "draw(table)", "more()"]  # nothing else is moved


def test_a_figure_that_leads_has_its_anchor_once(site):
    told = site.lead_with_answer(page_of(cell("more()")))
    assert sum("#| label: fig-a" in c["source"] for c in told) == 1
    assert not any("#| lead" in c["source"] for c in told)


def test_a_figure_beside_its_answer_moves_with_it(site):
    *rest, figure, answer = page_of()
    told = site.lead_with_answer([*rest, answer, figure])
    assert sources(told).count("draw(table)") == 1
    assert "#| label: fig-a" in told[3]["source"]


def test_a_heading_whose_answer_has_moved_goes(site):
    *rest, figure, answer = page_of()
    after = [cell("## Why\n", "markdown"), cell("### How", "markdown"), cell("more()")]
    headed = [*rest, cell("## The answer", "markdown"), answer, figure, *after]
    assert sources(site.lead_with_answer(headed))[5:] == [
        "table = load()",
        "## Why",
        "### How",
        "more()",
    ]


def test_a_page_without_an_answer_stays_as_it_is(site):
    plain = [cell("---\ntitle: Plain\n---\n", "raw"), cell("x = 1")]
    assert site.lead_with_answer(plain) == plain


def test_code_that_is_shown_is_folded(site):
    cells = [cell("x = 1"), cell("#| echo: false\nMarkdown(x)"), cell("Text", "markdown")]
    site.fold_code(cells)
    folded = ["code-fold: true" in c["source"] for c in cells]
    assert folded == [True, False, False]


def test_long_sentences_are_broken_and_tables_are_not(site):
    sentence = "the best of all with probability 74%, within 0.05 nats of it with 83%; " * 2
    row = "gpt2-mini-manuals        100    0  done    4.6845            –              1.09e+08"
    asked = "$ lensllm plan study --candidate one=957184 --candidate two=182016 --target 800"
    head = "model train_size seed state test_loss test_loss_se FLOP at one token per example reason"
    lines = site.wrap_sentences("\n".join([sentence, head, row, asked])).split("\n")
    assert lines[-3:] == [head, row, asked]
    assert " ".join(lines[:-3]) == sentence.strip()
    assert max(map(len, lines[:-3])) <= site.WIDTH


def test_entries_and_examples_read_as_names_and_code(site):
    class Settings:
        branch, doc_url = "main", ""

    mended = site.mend_markdown(
        "### A.__repr__\n\nExample: [bold]lensllm demo\n--plot x[/]", Settings
    )
    assert mended == "### A.\\_\\_repr\\_\\_\n\nExample: `lensllm demo --plot x`"
