"Pages of one process share the library: none may change it for the next."

import ast
import json
import re
from pathlib import Path

import pytest

NBS = Path(__file__).resolve().parent.parent / "nbs"
PAGES = sorted(page for page in NBS.rglob("*.ipynb") if ".ipynb_checkpoints" not in page.parts)
MAGIC = re.compile(r"^\s*[%!?].*$", re.M)


def cells(page):
    "The code of a page, cell by cell."
    notebook = json.loads(page.read_text(encoding="utf-8"))
    sources = ("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    return [ast.parse(MAGIC.sub("", source)) for source in sources]


def patched_class(function):
    "The class that a function is patched into; None where it is none."
    decorators = [getattr(d, "func", d) for d in function.decorator_list]
    first = function.args.args[:1]
    if not first or not any(getattr(d, "id", None) == "patch" for d in decorators):
        return None
    return getattr(first[0].annotation, "id", None)


def patched_imports(trees):
    "Classes of the library that a page patches, because it took them from there last."
    own, imported, found = set(), set(), []
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                own.add(node.name)
                imported.discard(node.name)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lensllm"):
                imported |= {name.asname or name.name for name in node.names}
            elif isinstance(node, ast.FunctionDef):
                name = patched_class(node)
                if name in imported and name in own:
                    found.append(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_page_patches_its_own_class_and_not_the_library_s(page):
    assert not patched_imports(cells(page)), "take it as `module.Class` for the examples"


def test_a_class_that_was_imported_again_is_found():
    page = ["class A:\n    pass", "from lensllm.a import A", "@patch\ndef f(self: A):\n    pass"]
    assert patched_imports([ast.parse(cell) for cell in page]) == ["A"]
    assert patched_imports([ast.parse(cell) for cell in (page[1], page[0], page[2])]) == []
