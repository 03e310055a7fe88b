"""Build the documentation site into `_docs` from the notebooks: `python tools/site.py`.

`--if-possible` leaves it out, and says why, on a Python that is too old for it.
"""

import ast, copy, inspect, json, os, re, shutil, subprocess, sys, textwrap
from configparser import ConfigParser
from importlib.metadata import entry_points
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import yaml

SMALLDOCS_NEEDS = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "_proc" / "_docs"
KATEX = "djangocms-katex"  # a package that carries KaTeX; nothing of Django is used
CDN = re.compile(r"https://[\w.]+/npm/katex@[^/\"']+/dist/?")
WEB_FONT = re.compile(r"@import\s*(url\([\"']?https?:[^)]*\)|[\"']https?:[^\"']*[\"']);?")
LEAD = re.compile(r"^#\| lead: (\S+)\n", re.M)
DUNDER = re.compile(r"(#+ (?:\w+\.)?)__(\w+)__")
RICH = re.compile(r"\[bold\](.+?)\[/\]", re.S)
TRANSCRIPT = re.compile(r"^```text\n.+?^```", re.M | re.S)
WIDTH = 72  # characters of an output that a page shows without scrolling
FOLDED = "#| code-fold: true\n#| code-summary: Show the code\n"
OUTSIDE = re.compile(
    r"<(?:script|img|iframe)\b[^>]*\bsrc=\"((?:https?:)?//[^\"]+)"
    r"|<link\b(?=[^>]*stylesheet)[^>]*\bhref=\"((?:https?:)?//[^\"]+)"
    r"|<script\b[^>]*>\s*import [^;]*?'(https?:[^']+)"
)


def metadata():
    "The project's facts, from settings.ini."
    ini = ConfigParser(delimiters=["="], interpolation=None)
    ini.read(ROOT / "settings.ini", encoding="utf-8")
    return ini["DEFAULT"]


def signature(symbol, *, eval_str=False):
    "A signature whose types may be names that light modules do not import, such as `Axes`."
    try:
        return inspect.signature(symbol, eval_str=eval_str)
    except NameError:
        return inspect.signature(symbol)


def runs_for_docs(cell):
    "Whether a page's documentation needs this cell run: exported code, imports alone, `show_doc`."
    if cell.cell_type != "code" or "nbdev_export()" in cell.source:
        return False
    exported = {"export", "exports", "exporti", "exec_doc"} & cell.directives_.keys()
    statements = cell.parsed_() or []
    only_imports = all(isinstance(s, (ast.Import, ast.ImportFrom)) for s in statements)
    return bool(statements) and bool(exported or only_imports or "show_doc(" in cell.source)


def fold_code(cells):
    "Fold the code of all cells that show theirs."
    for cell in cells:
        if cell["cell_type"] == "code" and "#| echo: false" not in cell["source"]:
            cell["source"] = FOLDED + cell["source"]


def lead_with_answer(cells):
    """The cells with the answer first, and under it the figure that it names (`#| lead: fig-x`).

    A figure that stands next to the answer moves with it. Any other is copied, since what is
    written around it speaks of it. A notebook can answer only after it has computed.
    """
    place = next((i for i, cell in enumerate(cells) if LEAD.search(cell["source"])), None)
    if place is None:
        return cells
    answer = cells[place]
    label = f"#| label: {LEAD.search(answer['source'])[1]}\n"
    answer["source"] = LEAD.sub("", answer["source"])
    found = next(i for i, cell in enumerate(cells) if label in cell["source"])
    figure = copy.deepcopy(cells[found])
    gone = {place}
    if found == place + 1:
        gone.add(found)
    else:
        figure["source"] = figure["source"].replace(label, "")  # an anchor is unique
    figure["source"] = "#| echo: false\n" + figure["source"].replace("#| echo: false\n", "")
    opened, closed = (
        dict(cell_type="markdown", metadata={}, source=f"{line}\n")
        for line in ("::::: {.answer}", ":::::")
    )
    rest = [cell for i, cell in enumerate(cells) if i and i not in gone]
    rest = [cell for cell, after in pairwise(rest) if not is_empty(cell, after)] + rest[-1:]
    return [cells[0], opened, answer, figure, closed, *rest]


def level_of(cell):
    "Of the heading that a cell begins with: 1 to 6; 0 where there is none."
    return len(re.match(r"#*", cell["source"])[0]) if cell["cell_type"] == "markdown" else 0


def is_empty(cell, after):
    "Whether a cell is a heading alone, and one of its level follows: what it held has moved."
    is_alone = re.fullmatch(r"#+ .*\n?", cell["source"])
    return bool(is_alone) and 0 < level_of(after) <= level_of(cell)


def wrap_sentences(text):
    "Break the long sentences of an output as a terminal does; rows of tables and code stay."
    lines = text.split("\n")
    for i, line in enumerate(lines):
        words = line.split()
        is_sentence = sum(word.isalpha() for word in words) > 7 and re.search("[,;:.] ", line)
        is_row = "  " in line or line[:1] in "{[(<$'\"|"  # of a table, or of code
        if len(line) > WIDTH and is_sentence and not is_row:
            lines[i] = textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def mend_markdown(text, cfg):
    "Markdown as the site needs it: links, headings of entries, and what the command's help marks."
    # The repository stands in settings.ini, where nbdev does not look.
    text = text.replace(
        f"](/blob/{cfg.branch}/", f"]({metadata()['repository']}/blob/{cfg.branch}/"
    )
    # Pages link to each other in this site, not in the hosted one of `Documentation`.
    if cfg.doc_url:
        text = text.replace(f"]({cfg.doc_url.rstrip('/')}/", "](/")
    text = DUNDER.sub(r"\1\\_\\_\2\\_\\_", text)  # `__getattr__` is a name, not bold
    text = RICH.sub(lambda found: f"`{' '.join(found[1].split())}`", text)
    return TRANSCRIPT.sub(lambda found: wrap_sentences(found[0]), text)


def dress(cells, cfg):
    "Make the texts of a page fit the site: its Markdown, and what its code printed."
    for cell in cells:
        cell["source"] = "".join(cell["source"])
        if cell["cell_type"] != "code":
            cell["source"] = mend_markdown(cell["source"], cfg)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for holder, key in ((output, "text"), (data, "text/plain")):
                if key in holder:
                    holder[key] = wrap_sentences("".join(holder[key]))
            if "text/markdown" in data:
                data["text/markdown"] = mend_markdown("".join(data["text/markdown"]), cfg)


def process_notebooks():
    "Run nbdev's processors over `nbs` into `_proc`, and return nbdev's settings."
    import entries
    from fastcore import docments
    from nbdev import processors
    from nbdev.config import get_config
    from nbdev.serve import proc_nbs

    entries.use()
    docments.signature = signature
    processors._do_eval = runs_for_docs  # nbdev runs any cell with an import, without what it needs

    cfg = get_config()
    if cfg.lib_name not in entry_points(group="nbdev").names:
        sys.exit(
            f"{cfg.lib_name} is not installed here, so names could not be linked: "
            "run `pip install -e .` first"
        )
    # All pages afresh: a page shows what the package says now,
    # and a time stamp knows only about its own notebook.
    for page in proc_nbs("nbs", n_workers=0, force=True).rglob("*.ipynb"):
        notebook = json.loads(page.read_text(encoding="utf-8"))
        dress(notebook["cells"], cfg)
        if page.parent.name == "experiments":
            notebook["cells"] = lead_with_answer(notebook["cells"])
            fold_code(notebook["cells"])
        page.write_text(json.dumps(notebook, ensure_ascii=False), encoding="utf-8")
    return cfg


def write_config(cfg, quarto):
    """Put the top-level `_quarto.yml` beside the processed notebooks, with the facts that stand
    elsewhere in `site.yml`.
    """
    meta = metadata()
    facts = {
        "project": {"output-dir": BUILT.name},
        "website": {
            "title": meta["name"],
            "description": meta["description"],
            "repo-url": meta["repository"],
            "repo-branch": cfg.branch,
        },
    }
    if quarto:
        facts |= {
            "execute": {"enabled": False},
            "format": {"html": {"html-math-method": "katex"}},
        }  # smalldocs does just this, and would warn of the keys
    shutil.copy(ROOT / "_quarto.yml", ROOT / "_proc")
    (ROOT / "_proc" / "site.yml").write_text(
        yaml.safe_dump(facts, allow_unicode=True), encoding="utf-8"
    )


def render(quarto):
    """Render `_proc` with Quarto if there is one, else with smalldocs, whose warnings (a broken
    link, an unknown key) stop the build.
    """
    if quarto:
        if subprocess.run([quarto, "render", "_proc"]).returncode:
            sys.exit("quarto could not render the pages: see above")
        return
    from smalldocs.config import BuildError, ConfigError
    from smalldocs.site import build

    try:
        warnings = build("_proc", quiet=True).warnings
    except (BuildError, ConfigError) as e:
        sys.exit(f"smalldocs: {e}")
    # nbdev writes `output-file` into each page for Quarto;
    # the name it gives is the one smalldocs uses anyway.
    if bad := [w for w in warnings if ": output-file " not in w]:
        sys.exit("\n".join(bad))


def katex_folder():
    "The folder of KaTeX's files: style, scripts, fonts and licence."
    if not (carrier := find_spec(KATEX.replace("-", "_"))):
        sys.exit(
            f"The formulas need KaTeX, which a package carries: run `pip install --no-deps {KATEX}`"
        )
    return Path(carrier.origin).parent / "static" / carrier.name / "vendor" / "katex"


def vendor():
    """Make the pages load KaTeX from the site and web fonts from nowhere.

    Stop if anything else would come from outside.
    """
    src, dst = katex_folder(), BUILT / "site_libs" / "katex"
    shutil.copytree(src / "fonts", dst / "fonts", ignore=shutil.ignore_patterns("*.ttf", "*.woff"))
    for name in ("katex.min.css", "katex.min.js", "contrib/auto-render.min.js", "LICENSE"):
        (dst / name).parent.mkdir(exist_ok=True)
        shutil.copy(src / name, dst / name)
    for css in BUILT.rglob("*.css"):
        css.write_text(WEB_FONT.sub("", css.read_text(encoding="utf-8")), encoding="utf-8")
    for page in BUILT.rglob("*.html"):
        home = os.path.relpath(dst, page.parent).replace(os.sep, "/") + "/"
        text = CDN.sub(home, page.read_text(encoding="utf-8"))
        if found := OUTSIDE.search(text):
            sys.exit(
                f"{page.relative_to(BUILT)} loads {next(filter(None, found.groups()))}: "
                "copy it into the site in tools/site.py"
            )
        page.write_text(text, encoding="utf-8")


def main(*options):
    "Process, render, vendor; `_docs` changes only when all of it went well."
    os.chdir(ROOT)  # nbdev looks for its settings from here
    quarto = shutil.which("quarto")
    if not quarto and sys.version_info < SMALLDOCS_NEEDS:
        reason = "the site is made by smalldocs on Python 3.11 or newer, or by Quarto: neither here"
        if "--if-possible" not in options:
            sys.exit(reason)
        return print(f"Left out: {reason}")
    katex_folder()  # better missed now than after all pages
    write_config(process_notebooks(), quarto)
    render(quarto)
    vendor()
    shutil.rmtree("_docs", ignore_errors=True)
    shutil.move(BUILT, "_docs")
    print(f"Built {len(list(Path('_docs').rglob('*.html')))} pages: _docs/index.html")


if __name__ == "__main__":
    main(*sys.argv[1:])
