"""Notebooks to package: clean, export, and write docments into docstrings.

`python tools/export.py` does it here. The notebooks are the one source: what a parameter means
stands beside it as a comment. `help` and hovers read docstrings, where comments do not reach,
so the exported module gets them as a numpydoc section.
"""

import ast
import os
import re
import subprocess
import sys
import textwrap
import tokenize
from io import StringIO
from pathlib import Path

from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbdev_export

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100
PLAIN = {"cli"}  # docstrings of commands are what `--help` shows


def comments_of(source):
    "The comment that ends each line, `{line number: text}`."
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def entry(name, kind, meaning, indent):
    "One numpydoc entry: name and type on a line, its meaning below."
    head = f"{indent}{name} : {kind}" if name and kind else indent + (name or kind or "result")
    body = textwrap.wrap(
        meaning,
        WIDTH,
        initial_indent=indent + "    ",
        subsequent_indent=indent + "    ",
        break_long_words=False,
    )
    return [head, *body]


def section(title, entries, indent):
    "A numpydoc section; nothing where there are no entries."
    if not entries:
        return []
    lines = [line for each in entries for line in each]
    return ["", indent + title, indent + "-" * len(title), *lines]


def parameters(function, comments, indent):
    "The documented parameters of a function, with type and default."
    args = function.args
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
    pairs = [*zip(positional, defaults), *zip(args.kwonlyargs, args.kw_defaults)]
    entries = []
    for arg, default in pairs:
        meaning = (
            comments.get((default or arg).end_lineno) if arg.lineno != function.lineno else None
        )
        if not meaning:
            continue
        kind = ast.unparse(arg.annotation).strip("'\"") if arg.annotation else ""
        if default is not None:
            kind = f"{kind}, default {ast.unparse(default)}".removeprefix(", ")
        entries.append(entry(arg.arg, kind, meaning, indent))
    return entries


def returns(function, comments, indent):
    "What a function gives back, where its header says so."
    last = function.returns.end_lineno if function.returns else function.body[0].lineno - 1
    meaning = comments.get(last)
    if not meaning or last < function.lineno or (last == function.lineno and not function.returns):
        return []
    kind = ast.unparse(function.returns).strip("'\"") if function.returns else ""
    return [entry("", kind, meaning, indent)]


def attributes(class_, comments, indent):
    "The documented fields of a class."
    fields = [n for n in class_.body if isinstance(n, ast.AnnAssign) and comments.get(n.end_lineno)]
    return [
        entry(n.target.id, ast.unparse(n.annotation).strip("'\""), comments[n.end_lineno], indent)
        for n in fields
    ]


def completed(node, comments):
    "The docstring of a function or class with its docments, as lines; None where it has none."
    indent = " " * node.body[0].col_offset
    if isinstance(node, ast.ClassDef):
        added = section("Attributes", attributes(node, comments, indent), indent)
    else:
        added = section("Parameters", parameters(node, comments, indent), indent)
        added += section("Returns", returns(node, comments, indent), indent)
    summary = ast.get_docstring(node) or ""
    if not added:
        return None
    raw = "r" if "\\" in summary + "".join(added) else ""
    first, *more = summary.strip().splitlines() or [""]
    head = textwrap.wrap(f'{raw}"""{first}', WIDTH - len(indent), break_long_words=False) + more
    return [*((indent + line).rstrip() for line in head), *added, f'{indent}"""']


def public(tree):
    "Functions and classes that users call, their public methods and `__init__` included."
    todo = [n for n in tree.body if not getattr(n, "name", "_").startswith("_")]
    for node in todo:
        if isinstance(node, ast.ClassDef):
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
            todo += [n for n in methods if n.name == "__init__" or n.name[0] != "_"]
    patched = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    return [n for n in (*todo, *patched) if isinstance(n, (ast.FunctionDef, ast.ClassDef))]


def module_docstring(line):
    "The first line of a module, wrapped."
    text = line.strip().strip('"')
    wrapped = textwrap.fill(text, WIDTH - 6, break_long_words=False)
    return f'"""{wrapped}"""' if "\n" not in wrapped else f'"""{wrapped}\n"""'


def with_docstrings(source, names=True):
    "A module's source in which docstrings say what docments say, unless `names` is false."
    lines, comments = source.splitlines(), comments_of(source)
    tree = ast.parse(source)
    nodes = public(tree) if names else []
    for node in sorted(nodes, key=lambda n: -n.body[0].lineno):
        new, first = completed(node, comments), node.body[0]
        if new is None:
            continue
        has_docstring = ast.get_docstring(node) is not None
        end = first.end_lineno if has_docstring else first.lineno - 1
        lines[first.lineno - 1 : end] = new
    if ast.get_docstring(tree) and tree.body[0].lineno == tree.body[0].end_lineno == 1:
        lines[0] = module_docstring(lines[0])
    return re.sub(r"[ \t]+$", "", "\n".join(lines), flags=re.M) + "\n"


def export(root):
    "Clean the notebooks of a project, export its package and complete the docstrings."
    before = Path.cwd()
    os.chdir(root)
    nbdev_clean.__wrapped__()
    (root / "lensllm" / "_modidx.py").unlink(missing_ok=True)  # export keeps names that are gone
    nbdev_export.__wrapped__()
    os.chdir(before)
    for path in sorted((root / "lensllm").rglob("*.py")):
        inside = path.relative_to(root / "lensllm").parts
        if path.name != "_modidx.py":
            source = path.read_text(encoding="utf-8")
            text = with_docstrings(source, names=inside[0] not in PLAIN)
            path.write_text(text, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "format", "--quiet", "--config", ROOT / "pyproject.toml"]
    subprocess.run([*ruff, root / "lensllm"], check=True)


if __name__ == "__main__":
    export(ROOT)
