"""Exit 1, with the remedy, if the package is not what the notebooks export or a page has no place.

`python tools/fresh.py` changes nothing. It looks at four things: each notebook exports into the
package that its folder names, each package has a layer, pages are in one order, and the exported
modules and cleaned notebooks are those on disk.
"""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from export import export

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
EXPORTS = re.compile(r"^#\|\s*default_exp\s+(\S+)", re.M)
ORDER = re.compile(r"^- order: (\d+)", re.M)


def pages(root):
    "The notebooks of a project, as paths."
    found = (root / "nbs").rglob("*.ipynb")
    return sorted(p for p in found if ".ipynb_checkpoints" not in p.parts)


def sources(page):
    "The source of each cell of a notebook."
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells]


def package_of(folder):
    "The package that a folder of notebooks exports into: `02_forecast` into `forecast`."
    name = re.sub(r"^\d+_", "", folder)
    return "_internal" if name == "internal" else name


def misplaced():
    "Notebooks whose package is not the one that their folder names, in words."
    for page in pages(ROOT):
        target = EXPORTS.search("\n".join(sources(page)))
        if not target or page.parent.name == "nbs":
            continue
        package, wanted = target[1].partition(".")[0], package_of(page.parent.name)
        if package != wanted:
            yield (
                f"{page.relative_to(ROOT)} exports into `{target[1]}`, but its folder is that of "
                f"`{wanted}`: write `#| default_exp {wanted}.{page.stem}`, or move the notebook"
            )


def without_layer():
    "Packages that import-linter's contract does not know, in words."
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    known = set(re.findall(r"\w+", " ".join(layers)))
    folders = (page.parent.name for page in pages(ROOT))
    packages = {package_of(folder) for folder in folders if folder[0].isdigit()}
    for package in sorted(packages - known):
        yield (
            f"package `{package}` has no layer: add it to `layers` in pyproject.toml, "
            "above the packages that it imports"
        )


def out_of_order():
    "Gaps and clashes in the order of pages, in words."
    orders = {page: ORDER.search(sources(page)[0]) for page in pages(ROOT)}
    for page, order in orders.items():
        if not order:
            yield f"{page.relative_to(ROOT)} has no order: add `- order: 7` or so to its title"
    numbers = sorted(int(order[1]) for order in orders.values() if order)
    wrong = [n for n, expected in zip(numbers, range(len(numbers)), strict=True) if n != expected]
    if wrong:
        yield f"the orders of pages have a gap or a clash at {wrong[0]}: number them 0, 1, 2, …"


def generated(root):
    "Notebooks and exported modules under `root`, `{path: bytes}`."
    modules = (root / "lensllm").rglob("*.py")
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in (*pages(root), *modules)}


def stale():
    "Files that differ from what export makes, in words."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder).resolve()  # without a package: a module whose notebook is gone shows up
        shutil.copytree(ROOT / "nbs", copy / "nbs")
        shutil.copy(ROOT / "pyproject.toml", copy)
        export(copy)
        new, old = generated(copy), generated(ROOT)
    if different := sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p)):
        yield (
            f"stale: {', '.join(different)}; run `make export` (order by `python tools/order.py`), "
            "and delete modules whose notebook is gone"
        )


def main():
    "Say what is wrong, the first kind of fault alone."
    for check in (misplaced, without_layer, out_of_order, stale):
        if faults := list(check()):
            sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
