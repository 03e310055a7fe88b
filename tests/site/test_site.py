"""The built site in a real browser: every page loads without a fault, from this machine alone.

Run `make docs` first.
"""

import functools
import http.server
import re
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_docs"
PHONE = {"width": 390, "height": 844}
FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
# Prose as readers see it: without code, and without the formulas that KaTeX has set.
PROSE = """() => { const b = document.body.cloneNode(true)
    b.querySelectorAll('script, style, pre, code, .katex').forEach(e => e.remove())
    return b.textContent }"""
LATEX = re.compile(r"\\[()\[\]]|\\[a-zA-Z]{2,}|\$\$|\$(?!\d)")  # a price may keep its sign
RAW_LINK = re.compile(
    r"\]\([^)\s]+\.ipynb[^)]*\)"
)  # a name in backticks inside a link becomes a link of its own, and breaks it
BAD_IMAGES = (
    "() => [...document.images].filter(i => !i.naturalWidth).map(i => i.alt || i.src.slice(0, 80))"
)
NO_FIGURE = """() => [...document.querySelectorAll('[id^=fig-]')]
    .filter(e => !e.querySelector('img, svg')).map(e => e.id)"""
NO_ALT = """() => [...document.images].filter(i => !(i.alt || '').trim())
    .map(i => i.closest('[id]')?.id || i.src.slice(0, 80))"""
HEADINGS = """() => {
    const page = document.querySelector('main') || document.body
    return [...page.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(e => +e.tagName[1])
}"""
DESCRIPTION = "() => document.querySelector('meta[name=description]')?.content || ''"
# Text that is too pale for its ground, by WCAG 2's ratio: 4.5, and 3 for large text.
PALE = """() => {
    const parts = text => text.match(/[\\d.]+/g).map(Number)
    const over = ([r, g, b, a = 1], ground) =>
        [r, g, b].map((value, i) => value * a + ground[i] * (1 - a))
    const luminance = colour => {
        const [r, g, b] = colour.map(v => v / 255)
            .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
        return .2126 * r + .7152 * g + .0722 * b
    }
    const ground = element => {
        const below = element.parentElement ? ground(element.parentElement) : [255, 255, 255]
        return over(parts(getComputedStyle(element).backgroundColor), below)
    }
    const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    const pale = new Map()
    while (words.nextNode()) {
        const element = words.currentNode.parentElement
        if (!words.currentNode.data.trim() || !element.checkVisibility()
            || element.closest('script, style, svg, .katex-mathml')) continue
        const style = getComputedStyle(element), size = parseFloat(style.fontSize)
        const under = ground(element)
        const [low, high] = [luminance(over(parts(style.color), under)), luminance(under)]
            .sort((a, b) => a - b)
        const ratio = (high + .05) / (low + .05)
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700)
        if (ratio < (large ? 3 : 4.5))
            pale.set(`${element.tagName}.${element.className} ${ratio.toFixed(1)}`,
                     words.currentNode.data.trim().slice(0, 30))
    }
    return [...pale].map(([what, text]) => `${what}: ${text}`)
}"""
LEFT = "net::ERR_ABORTED"  # a request that ended since its page was left
LINKS = "() => [...document.querySelectorAll('a[href]')].map(a => a.href)"
IDS = "() => [...document.querySelectorAll('[id]')].map(e => e.id)"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        "Keep the test's output clean."


@contextmanager
def served(folder):
    "The address of a server of `folder` on a free port of this machine."
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def browser():
    "Headless Chromium, or a skip that says why."
    if not (chromium := shutil.which("chromium") or shutil.which("chromium-browser")):
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=FLAGS)
        yield b
        b.close()


def watch(page, base, faults):
    "Note what goes wrong while a page loads; requests to other hosts are noted and stopped."

    def gate(route):
        if route.request.url.startswith(base):
            return route.continue_()
        faults.append(f"outside request: {route.request.url}")
        route.abort()

    page.route("**/*", gate)
    page.on("console", lambda m: faults.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("pageerror", lambda e: faults.append(f"console: {e}"))
    page.on(
        "requestfailed",  # an icon comes late, and leaving the page breaks its request off
        lambda r: r.failure == LEFT or faults.append(f"failed request: {r.url}"),
    )
    page.on(
        "response",
        lambda r: faults.append(f"failed request: {r.status} {r.url}") if r.status >= 400 else None,
    )


def basics(page):
    "What search engines and screen readers miss, and text too pale to read, light and dark."
    faults = [f"no alt text: {i}" for i in page.evaluate(NO_ALT)]
    if not page.title().strip():
        faults.append("no title")
    if not page.evaluate(DESCRIPTION).strip():
        faults.append("no description")
    levels = page.evaluate(HEADINGS)
    if levels.count(1) != 1 or levels[0] != 1:
        faults.append(f"headings: one of level 1 comes first, not {levels[:5]}")
    skips = [(a, b) for a, b in zip(levels, levels[1:]) if b > a + 1]
    faults += [f"headings: level {b} follows {a}" for a, b in skips]
    faults += [f"pale text, light: {text}" for text in page.evaluate(PALE)]
    page.emulate_media(color_scheme="dark")
    page.reload()  # a page chooses its colours as it loads
    faults += [f"pale text, dark: {text}" for text in page.evaluate(PALE)]
    return faults


def look(browser, base, name):
    "One page as a reader on a phone gets it: its faults, its links and its anchors."
    page, faults = browser.new_page(viewport=PHONE), []
    watch(page, base, faults)
    page.goto(base + name)
    page.evaluate("document.fonts.ready.then(() => 0)")  # KaTeX's fonts come after the page
    faults += [f"raw LaTeX: {t}" for t in LATEX.findall(page.evaluate(PROSE))[:3]]
    faults += [f"raw Markdown link: {t}" for t in RAW_LINK.findall(page.evaluate(PROSE))[:3]]
    faults += [f"broken figure: {i}" for i in page.evaluate(BAD_IMAGES)]
    faults += [f"missing figure: {i}" for i in page.evaluate(NO_FIGURE)]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        faults.append("wider than a phone")
    links, ids = page.evaluate(LINKS), set(page.evaluate(IDS))
    faults += basics(page)
    page.close()
    return faults, links, ids


def target(link, base):
    "The page and the anchor that an internal link points at."
    url, anchor = urldefrag(link)
    path = unquote(url.removeprefix(base))
    return path + "index.html" if path == "" or path.endswith("/") else path, unquote(anchor)


def visit(browser, folder):
    "Every page of a site: `{page: faults}` where there are some, and `{page: pages it links to}`."
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.html"))
    with served(folder) as base:
        seen = {n: look(browser, base, n) for n in names}
    faults, linked = {}, {}
    for name, (found, links, _) in seen.items():
        inner = [(link, *target(link, base)) for link in links if link.startswith(base)]
        found += [
            f"broken link: {link.removeprefix(base)}"
            for link, page, anchor in inner
            if not (folder / page).is_file()
            or (anchor and page in seen and anchor not in seen[page][2])
        ]
        linked[name] = {page for _, page, _ in inner}
        if found:
            faults[name] = found
    return faults, linked


def test_every_page_is_sound(browser):
    "No fault on any page, a page for each notebook, and a way from the front page to each."
    if not (SITE / "index.html").is_file():
        pytest.skip("the site is not built: run `make docs`")
    faults, linked = visit(browser, SITE)
    assert not faults, "\n".join(f"{p}: {f}" for p, fs in faults.items() for f in fs)
    nbs = ROOT / "nbs"
    notebooks = [
        p.relative_to(nbs)
        for p in nbs.rglob("*.ipynb")
        if not any(part[0] in "._" for part in p.relative_to(nbs).parts)
    ]
    assert {p.with_suffix(".html").as_posix() for p in notebooks} == linked.keys()
    assert linked.keys() <= linked["index.html"]


FIRST_SCREEN = """() => {
    const box = (what) => document.querySelector(what)?.getBoundingClientRect()
    const answer = box('.answer .cell-output-markdown p'), figure = box('.answer img')
    const code = [...document.querySelectorAll('main pre.sourceCode')]
        .filter(e => e.checkVisibility() && e.getBoundingClientRect().top < innerHeight)
    return {title: document.querySelector('h1').textContent, code: code.length,
            answer: answer?.bottom ?? Infinity, figure: figure?.bottom ?? Infinity}
}"""


def test_experiments_answer_on_the_first_screen(browser):
    "Each has a question for its title; a laptop shows answer and figure without scrolling."
    pages = sorted((SITE / "experiments").glob("*.html"))
    if not pages:
        pytest.skip("the site is not built: run `make docs`")
    height, found = 900, {}
    for path in pages:
        page = browser.new_page(viewport=dict(width=1280, height=height))
        page.goto(path.as_uri())
        seen = page.evaluate(FIRST_SCREEN)
        page.close()
        below = [part for part in ("answer", "figure") if seen[part] > height]
        if below or seen["code"] or not seen["title"].endswith("?"):
            found[path.stem] = (below, seen)
    assert found == {}


def test_search_finds_a_name(browser):
    "Search works offline: a page's title leads to it."
    if not (SITE / "search.json").is_file():
        pytest.skip("the site is not built: run `make docs`")
    with served(SITE) as base:
        page, faults = browser.new_page(), []
        watch(page, base, faults)
        page.goto(base + "index.html")
        page.keyboard.press("Control+k")
        page.keyboard.type("glossary")
        page.locator(".search-result[href*='glossary.html']").first.wait_for()
        page.close()
    assert not faults


def test_dark_and_light(browser):
    "The page follows the reader's system, and the switch turns it over, both ways."
    if not (SITE / "index.html").is_file():
        pytest.skip("the site is not built: run `make docs`")
    paper = "() => getComputedStyle(document.body).backgroundColor"
    with served(SITE) as base:
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.goto(base + "index.html")
            before = page.evaluate(paper)
            assert (before == "rgb(255, 255, 255)") == (scheme == "light")
            page.locator(".quarto-color-scheme-toggle").first.click()
            page.wait_for_function(f"({paper})() !== '{before}'")
            page.close()


DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
DARK = "@media (prefers-color-scheme: dark)"
BROKEN = {
    "console": "<script>console.error('planted')</script>",
    "console: planted": "<script>throw Error('planted')</script>",
    "failed request": "<link rel=stylesheet href=gone.css>",
    "outside request": "<script src=https://elsewhere.invalid/x.js></script>",
    "broken link: gone.html": "<a href=gone.html>gone</a>",
    "broken link: index.html#gone": "<a href=#gone>gone</a>",
    r"raw LaTeX: \(": r"<p>\(x\)</p>",
    "raw LaTeX: $$": "<p>$$ x $$</p>",
    "raw LaTeX: $": "<table><td>$<td>x<td>$</table>",
    r"raw LaTeX: \beta": r"<p>The exponent \beta.</p>",
    "raw Markdown link": "<p>[x](y.ipynb)</p>",
    "broken figure": "<img alt=curve src='data:image/png;base64,AAAA'>",
    "missing figure: fig-gone": "<div id=fig-gone><figcaption>A curve</figcaption></div>",
    "no alt text": f"<img src='{DOT}'>",
    "headings: level 4 follows 1": "<h4>Deep</h4>",
    "headings: one of level 1": "<h1>Again</h1>",
    "pale text, light: P": "<p style='color: #999'>Hardly to be seen</p>",
    "pale text, dark: P": f"<style>{DARK} {{ p {{ color: #ddd }} }}</style><p>Gone at night</p>",
    "no title": "<script>document.title = ''</script>",
    "no description": "<script>document.querySelector('[name=description]').remove()</script>",
    "wider than a phone": "<pre>" + "x" * 400 + "</pre>",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_page_is_noticed(browser, tmp_path, fault):
    "Each check goes red on a page broken on purpose, and only then."
    viewport = "<meta name=viewport content='width=device-width'>"
    about = "<title>Sound</title><meta name=description content='A page without a fault'>"
    head = f"<!doctype html><link rel=icon href=data:,>{viewport}{about}"
    good = head + r"<h1 id=top>Sound</h1><a href=#top>up</a> <code>\(x\)</code> costs $5, not $6"
    (tmp_path / "sound.html").write_text(good)
    (tmp_path / "index.html").write_text(good + BROKEN[fault])
    faults, _ = visit(browser, tmp_path)
    assert list(faults) == ["index.html"]
    assert any(f.startswith(fault) for f in faults["index.html"]), faults
