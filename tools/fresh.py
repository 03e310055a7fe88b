"Exit 1 if the package differs from what the notebooks export, a notebook is not clean, or an exported cell is long; changes nothing: `python tools/fresh.py`."

import ast, json, os, shutil, sys, tempfile
from pathlib import Path

from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbdev_export

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 25  # lines of an exported cell; empty ones do not count, nor arguments and fields, which are documented a line each


def generated(root):
    "The notebooks and the exported modules under `root`, `{path: bytes}`."
    files = [
        p
        for n, pat in (("nbs", "*.ipynb"), ("lensllm", "*.py"))
        for p in (root / n).rglob(pat)
        if ".ipynb_checkpoints" not in p.parts
    ]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def remade(into):
    "Clean and export in a copy; it starts without a package, so that a module whose notebook is gone shows up."
    shutil.copytree(ROOT / "nbs", into / "nbs")
    shutil.copy(ROOT / "pyproject.toml", into)
    os.chdir(into)
    nbdev_clean.__wrapped__()
    nbdev_export.__wrapped__()
    os.chdir(ROOT)
    return generated(into)


def length(source):
    "Lines of code, without the arguments of functions and the fields of classes."
    nodes = list(ast.walk(ast.parse(source)))
    apart = {
        k
        for f in nodes
        if isinstance(f, ast.FunctionDef)
        for k in range(f.lineno + 1, f.body[0].lineno)
    }
    apart |= {
        n.lineno
        for c in nodes
        if isinstance(c, ast.ClassDef)
        for n in c.body
        if isinstance(n, ast.AnnAssign)
    }
    return sum(
        bool(line.strip()) and not line.startswith("#|")
        for k, line in enumerate(source.splitlines(), 1)
        if k not in apart
    )


def long_cells():
    "Exported cells that want to be split, in words."
    for path in sorted(
        p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
    ):
        sources = (
            "".join(c["source"])
            for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if c["cell_type"] == "code"
        )
        for s in sources:
            if s.startswith("#| export") and length(s) > LONGEST:
                yield f"{path.relative_to(ROOT)}: {length(s)} lines from {s.splitlines()[1]!r}"


if too_long := list(long_cells()):
    sys.exit(
        f"exported cells have at most {LONGEST} lines: {'; '.join(too_long)}; split them by idea"
    )
with tempfile.TemporaryDirectory() as tmp:
    new = remade(Path(tmp).resolve())
old = generated(ROOT)
if stale := sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p)):
    sys.exit(
        f"stale: {', '.join(stale)}; run `nbdev-clean`, then `nbdev-export`, and delete modules whose notebook is gone"
    )
