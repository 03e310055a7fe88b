"""Make README.md from the saved `nbs/index.ipynb`.

`python tools/readme.py`, or `--check` to exit 1 if it is stale.
"""

import base64, re, sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Made from nbs/index.ipynb by tools/readme.py: edit the notebook. -->\n\n"
FRONT = re.compile(r"^- [\w-]+:.*\n?", re.M)
OPTION = re.compile(r"^#\|\s*([\w-]+):?[ \t]*(.*)\n?", re.M)
NOTEBOOK = re.compile(r"\]\((?!\w+:)/?([^)#\s]+\.ipynb)(#[^)\s]*)?\)")
HIDDEN = {"hide", "export", "exporti", "default_exp"}


def options(cell):
    "The `#|` options of a cell, `{name: value}`."
    return (
        {k: v.strip().strip("\"'") for k, v in OPTION.findall(cell.source)}
        if cell.cell_type == "code"
        else {}
    )


def shown(cell):
    "Whether readers see anything of a cell."
    opts = options(cell)
    return not (HIDDEN & opts.keys() or opts.get("include") == "false")


def as_markdown(output, opts, name, files):
    """An output with a picture replaced by a link to `name` in `files`, Markdown kept before HTML,
    and HTML without its style.
    """
    data = output.get("data", {})
    if "image/png" in data:
        if name in files:
            sys.exit(
                f"nbs/index.ipynb: two pictures would be {name}; "
                "give each cell one picture and its own `#| label`"
            )
        files[name] = base64.b64decode(data["image/png"])
        caption = f"\n\n*{opts['fig-cap']}*" if "fig-cap" in opts else ""
        data = {"text/markdown": f"![{opts.get('fig-alt', '')}]({name}){caption}"}
    elif "text/markdown" in data:
        data = {"text/markdown": data["text/markdown"]}
    elif "text/html" in data:
        data = {"text/html": re.sub(r"<style.*?</style>\s*", "", data["text/html"], flags=re.S)}
    return output | {"data": data} if data else output


def dress(cell, files):
    """Make a code cell what readers see, by its options.

    A picture's name comes from its label or cell, so it stays when cells are added.
    """
    opts = options(cell)
    name = f"README_files/{opts.get('label', cell.id)}.png"
    cell.source = OPTION.sub("", cell.source).strip()
    cell.metadata["transient"] = {"remove_source": opts.get("echo") == "false"}
    cell.outputs = (
        []
        if opts.get("output") == "false"
        else [nbformat.from_dict(as_markdown(o, opts, name, files)) for o in cell.outputs]
    )


def build():
    "The README and its pictures, `{path: bytes}`."
    nb, files = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4), {}
    nb.metadata["language_info"] = {
        "name": "python"
    }  # nbdev-clean takes it out, and the code fences want it
    nb.cells[0].source = FRONT.sub("", nb.cells[0].source)
    nb.cells = [c for c in nb.cells if shown(c)]
    for cell in nb.cells:
        if cell.cell_type == "code":
            dress(cell, files)
    text, _ = MarkdownExporter(
        display_data_priority=["text/markdown", "text/html", "text/plain"]
    ).from_notebook_node(nb)
    # A repository's page shows the notebooks themselves, without the anchors of the site.
    text = re.sub(r"\n{3,}", "\n\n", NOTEBOOK.sub(r"](nbs/\1)", text)).strip()
    return files | {"README.md": f"{NOTE}{text}\n".encode()}


def stale(files):
    "The paths that differ from the files on disk, or should be gone."
    old = {f"README_files/{p.name}" for p in (ROOT / "README_files").glob("*")} - files.keys()
    return sorted(
        old
        | {
            p
            for p, data in files.items()
            if not (ROOT / p).is_file() or (ROOT / p).read_bytes() != data
        }
    )


def main():
    "Write what is stale, or with `--check` only name it."
    files = build()
    todo = stale(files)
    if "--check" in sys.argv[1:]:
        sys.exit(f"stale: {', '.join(todo)}; run `python tools/readme.py`" if todo else 0)
    (ROOT / "README_files").mkdir(exist_ok=True)
    for p in todo:
        (ROOT / p).write_bytes(files[p]) if p in files else (ROOT / p).unlink()
    print("README.md:", f"wrote {', '.join(todo)}" if todo else "up to date")


if __name__ == "__main__":
    main()
