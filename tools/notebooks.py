"""Run every notebook in a copy; exit 1 if one fails, or if its saved text is not what comes out
now. Changes nothing.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from nbdev.clean import nbdev_clean
from nbdev.test import nbdev_test

ROOT = Path(__file__).resolve().parent.parent
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
SLACK = 0.02  # relative: another processor may round the last digits of an optimum differently


def texts(path):
    """The text that each code cell shows, `{cell id: text}`.

    Addresses and pictures are no text, nor are warnings, which a library may give once per process.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    shown = {
        c["id"]: [
            o.get("text")
            or o.get("data", {}).get("text/markdown")
            or o.get("data", {}).get("text/plain", "")
            for o in c["outputs"]
            if o.get("name") != "stderr"
        ]
        for c in cells
        if c["cell_type"] == "code"
    }
    return {
        i: re.sub(r"<Figure.*?>|<Axes.*?>", "", "".join("".join(t) for t in ts))
        for i, ts in shown.items()
    }


def alike(a, b):
    "Whether two texts say the same: equal words, and numbers within `SLACK`."
    words = [
        re.sub(r"[ \-]+", " ", NUMBER.sub("#", t)) for t in (a, b)
    ]  # columns may widen by a digit
    pairs = zip(*([float(n.replace(",", "")) for n in NUMBER.findall(t)] for t in (a, b)))
    return words[0] == words[1] and all(
        abs(x - y) <= SLACK * max(abs(x), abs(y)) + 1e-9 for x, y in pairs
    )


def rerun(into):
    "Run and save all notebooks of a copy of the project; exit 1 if one fails."
    for folder in ("nbs", "results", "experiments"):
        shutil.copytree(ROOT / folder, into / folder)
    shutil.copy(ROOT / "pyproject.toml", into)
    shutil.copytree(ROOT / "lensllm", into / "lensllm")  # the last cell of a page exports into it
    os.chdir(into)
    nbdev_test.__wrapped__("nbs", n_workers=2, timing=True, save=True)
    nbdev_clean.__wrapped__()
    os.chdir(ROOT)


def main():
    "Compare what is saved with what comes out."
    with tempfile.TemporaryDirectory() as tmp:
        rerun(Path(tmp).resolve())
        pages = sorted(
            p.relative_to(ROOT)
            for p in (ROOT / "nbs").rglob("*.ipynb")
            if ".ipynb_checkpoints" not in p.parts
        )
        old, new = (
            {(p, i): t for p in pages for i, t in texts(root / p).items()}
            for root in (ROOT, Path(tmp).resolve())
        )
    stale = [k for k in old if not alike(old[k], new[k])]
    for page, cell in stale:
        print(
            f"{page}, cell {cell}\n  saved: {old[page, cell][:400]}\n"
            f"  now:   {new[page, cell][:400]}"
        )
    if stale:
        sys.exit(
            f"{len(stale)} cells show text that is no longer true: "
            "run `nbdev-test --save`, then `nbdev-clean`, and read the difference"
        )
    print(f"{len(pages)} notebooks ran; {len(old)} cells show what is saved")


if __name__ == "__main__":
    main()
