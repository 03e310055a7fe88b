"""Number the pages in the order in which they are read: `python tools/order.py`.

The front page, the tutorials, the top level, the packages from the table of curves down to the
command, then experiments, gallery and glossary. Within a folder pages keep their order.
"""

import json
import re
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
ORDER = re.compile(r"^- order: (\d+)", re.M)
FIRST, LAST = ["index"], ["gallery", "glossary"]


def title_of(page):
    "The source of a page's first cell."
    return "".join(json.loads(page.read_text(encoding="utf-8"))["cells"][0]["source"])


def place(page):
    "Where a page stands: its part of the site, then its own order."
    folder, name = page.parent.name, page.stem
    own = int(ORDER.search(title_of(page))[1])
    if folder == "nbs":
        part = 0 if name in FIRST else 9 if name in LAST else 2
    else:
        part = {"tutorials": 1, "experiments": 8}.get(folder, 3)
    return part, folder if part == 3 else "", name != "overview", own, name


def main():
    "Write the orders that are not right."
    pages = [p for p in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    for number, page in enumerate(sorted(pages, key=place)):
        notebook = json.loads(page.read_text(encoding="utf-8"))
        source = "".join(notebook["cells"][0]["source"])
        changed = ORDER.sub(f"- order: {number}", source)
        if changed != source:
            notebook["cells"][0]["source"] = changed.splitlines(True)
            text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
            page.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
