"""How an entry of the reference reads: classes with their fields, types by their own names.

Of a class in a notebook nbdev cannot read the source. It shows a dataclass without the meaning of
its fields, and a named tuple as `def Name(*args, **kwargs)`.
"""

import ast
import inspect
import re
import textwrap
from dataclasses import is_dataclass
from importlib import import_module

from export import comments_of
from fastcore import docments
from nbdev import showdoc

WIDTH = 100
MODULES = re.compile(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])")
type_with_modules = docments._type_str


def short_type(annotation):
    "A type as a reader knows it: `CurveSet`, not `lensllm.curves.table.CurveSet`."
    return MODULES.sub("", type_with_modules(annotation))


def packaged(class_):
    "The class of that name in the package, whose source can be read; else the class itself."
    name = class_.__qualname__
    modules = import_module("lensllm._modidx").d["syms"]
    homes = [module for module, names in modules.items() if f"{module}.{name}" in names]
    return getattr(import_module(homes[0]), name) if len(homes) == 1 else class_


def tuple_fields(class_):
    "The fields of a named tuple, each with what its comment says."
    source = textwrap.dedent(inspect.getsource(class_))
    comments = comments_of(source)
    fields = [n for n in ast.parse(source).body[0].body if isinstance(n, ast.AnnAssign)]
    meaning = {n.target.id: comments.get(n.end_lineno, "") for n in fields}
    entry = docments.DocmentText(class_)
    return [
        (entry._fmt_param(name, {"anno": p.annotation, "default": p.default}), meaning[name])
        for name, p in inspect.signature(class_).parameters.items()
    ]


def class_header(class_):
    "How a class is called; its name alone where it is called with nothing of its own."
    class_ = packaged(class_)
    if hasattr(class_, "_fields"):
        fields = tuple_fields(class_)
    elif is_dataclass(class_) or inspect.isfunction(class_.__init__):
        fields = docments.DocmentText(class_).params
    else:
        return f"class {class_.__name__}"
    return docments._fmt_sig(class_.__name__, fields, ")", WIDTH, prefix="class")


class Entry(showdoc.BasicMarkdownRenderer):
    "An entry of nbdev's, with our header for classes."

    def __init__(self, sym, **options):
        super().__init__(sym, **options)
        if inspect.isclass(sym):
            self.dm = class_header(sym)


def use():
    "Let nbdev show entries so."
    docments._type_str = short_type
    showdoc.BasicMarkdownRenderer = Entry
