"Exit 1 if the package differs from what the notebooks export, or a notebook is not clean; changes nothing: `python tools/fresh.py`."
import os, shutil, sys, tempfile
from pathlib import Path

from nbdev.clean import nbdev_clean
from nbdev.doclinks import nbdev_export

ROOT = Path(__file__).resolve().parent.parent


def generated(root):
    "The notebooks and the exported modules under `root`, `{path: bytes}`."
    files = [p for n, pat in (("nbs", "*.ipynb"), ("lensllm", "*.py")) for p in (root / n).rglob(pat) if ".ipynb_checkpoints" not in p.parts]
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


with tempfile.TemporaryDirectory() as tmp: new = remade(Path(tmp).resolve())
old = generated(ROOT)
if stale := sorted(p for p in old.keys() | new.keys() if old.get(p) != new.get(p)):
    sys.exit(f"stale: {', '.join(stale)}; run `nbdev-clean`, then `nbdev-export`, and delete modules whose notebook is gone")
