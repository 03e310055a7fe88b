"""What must not move unless CHANGELOG says so: figures of the commands and of the shipped models.

`python tools/record.py --check [PATTERN…]` computes figures whose name holds a pattern again, and
names those that differ from results/record/figures.jsonl; without `--check` it writes them there.
All of it takes some ten minutes; tests/test_record.py looks at a quick part.
"""

import argparse
import contextlib
import copy
import io
import json
import math
import re
import sys
from functools import cache, partial
from pathlib import Path

RECORD = Path(__file__).resolve().parent.parent / "results" / "record" / "figures.jsonl"
LARGE, SMALL = ["flan", "gigaword"], ["mini/headline", "mini/define", "mini/translate"]
METHODS = [
    "zeroshot",
    "modelsize",
    "subtuning",
    "vanillafit",
    "rectifiedfit",
    "ats",
    "ntkfit",
    "posterior",
]
POLICIES = ["race", "halving", "hyperband", "uniform", "subtuning", "full"]
LAWS = ["vanilla", "rectified", "ntk", "pow4", "mmf4", "bnsl", "m4"]
ZOO = ["gpt2-mini-manuals", "t5-german", "llama-bytes", "mamba-manuals"]
NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-])")
SLACK = 1e-6  # relative: another processor may round the last digits otherwise
# Of what a quadrature gives, absolute: rounding moves its nodes, and with them as much.
QUADRATURE = dict(p_best=2e-5, expected_regret=2e-5)


def command(*args):
    "What a command prints with `--json`."
    from lensllm.cli.app import exit_code

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = exit_code([*map(str, args), "--json"])
    if code:
        raise RuntimeError(f"{args} ended with exit code {code}")
    return json.loads(out.getvalue())


def of_tables():
    "Figures of the commands on the shipped tables, `{name: how to compute it}`."
    figures = {}
    for task in (*LARGE, *SMALL):
        for method in METHODS:
            for seen in (3200, 51200) if task in LARGE else (800,):
                call = partial(command, "select", task, "--seen", seen, "--method", method)
                figures[f"select {task} {method} {seen}"] = call
        generic = partial(command, "select", task, "--seen", 800, "--prior", "generic")
        figures[f"select {task} generic"] = generic
        for policy in POLICIES:
            for budget in ("2%", "20%"):
                call = partial(command, "simulate", task, "--policy", policy, "--budget", budget)
                figures[f"simulate {task} {policy} {budget}"] = call
        for up_to in (0, 200, 800):
            call = partial(command, "plan", task, "--budget", "30%", "--up-to", up_to or 100)
            figures[f"plan {task} {up_to}"] = call
    for task in LARGE:
        quick = ["zeroshot", "modelsize", "subtuning", "ats", "posterior"]
        options = [word for method in quick for word in ("--method", method)]
        figures[f"compare {task}"] = partial(command, "compare", task, *options)
    for task in (*LARGE, SMALL[0]):
        for law in LAWS:
            figures[f"fit {task} {law}"] = partial(fits, task, law)
    return figures


def fits(task, law):
    "One law on the four candidates with the lowest zero-shot losses."
    ranking = command(
        "select", task, "--seen", 3200 if task in LARGE else 800, "--method", "zeroshot"
    )
    models = sorted(row["model"] for row in ranking["ranking"][:4])
    options = [word for model in models for word in ("--model", model)]
    return command("fit", task, *options, "--law", law)


@cache
def loaded(name):
    "A shipped candidate, and a maker of batches of a shipped task's rows."
    from lensllm.models.loading import load_model
    from lensllm.tune.tasks import as_batch, load_task

    model, tokenizer = load_model(name, device="cpu")
    task = load_task("headline")
    pairs = model.config.is_encoder_decoder
    return model, task, lambda rows: as_batch(rows, tokenizer, max_tokens=48, pairs=pairs)


def generator(seed):
    "A source of random numbers."
    import torch

    return torch.Generator().manual_seed(seed)


def kernel(name, output):
    "The entries of a kernel of six rows, in double precision, which processors agree on."
    import torch
    from lensllm.kernels.ntk import ntk_gram

    model, task, batch = loaded(name)
    options = dict(output=output, dtype=torch.float64)
    return ntk_gram(model, batch(task.train[:6]), **options).K.ravel().tolist()


def trace(name):
    "A Hessian trace with its standard error."
    from lensllm.generalization.curvature import hessian_trace

    model, task, batch = loaded(name)
    rows = batch(task.train[:6])
    found = hessian_trace(model, rows, generator=generator(0), num_probes=6, rel_stderr=None)
    return [float(found.value), float(found.stderr)]


@cache
def pair(name):
    "A shipped candidate, and a copy whose weights have moved a little."
    import torch

    model, task, batch = loaded(name)
    moved, noise = copy.deepcopy(model), generator(3)
    with torch.no_grad():
        for p in moved.parameters():
            p += 0.002 * torch.randn(p.shape, generator=noise)
    return model, moved, task, batch


def certificates(name):
    "All certificates, as they print."
    from lensllm.generalization.bounds import certify

    model, moved, task, batch = pair(name)
    held_out = batch(task.test[:64])
    rows = batch(task.train[:64])
    made = certify(model, moved, rows, generator=generator(4), held_out=held_out, draws=20)
    return repr(made)


def terms(name):
    "The terms of LensLLM's bound, as they print."
    from lensllm.generalization.bounds import bound_terms

    model, moved, task, batch = pair(name)
    rows = batch(task.train[:6])
    options = dict(n=64, loss_bound=8.0, over="mean", num_probes=4)
    return repr(bound_terms(model, moved, rows, generator=generator(5), **options))


def of_models():
    "Figures of the shipped models, `{name: how to compute it}`."
    figures = {}
    for name in ZOO:
        for output in ("loss", "logits"):
            figures[f"kernel {name} {output}"] = partial(kernel, name, output)
    for name in ZOO[:2]:
        figures[f"trace {name}"] = partial(trace, name)
        figures[f"certificates {name}"] = partial(certificates, name)
        figures[f"bound {name}"] = partial(terms, name)
    return figures


def differences(old, new, where=""):
    "Where two figures differ, in words."
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        if is_open(old) and is_open(new):
            return
        for key in old:
            yield from differences(old[key], new[key], f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{where}[{i}]")
    elif isinstance(old, float) and isinstance(new, (int, float)):
        least = QUADRATURE.get(where.rpartition(".")[2], 1e-12)
        if not math.isclose(old, new, rel_tol=SLACK, abs_tol=least):
            yield f"{where}: {old!r} on record, now {new!r}"
    elif isinstance(old, str) and isinstance(new, str) and " " in old:
        yield from differences(numbers_in(old), numbers_in(new), where)
    elif old != new:
        yield f"{where}: {old!r} on record, now {new!r}"


def is_open(figure):
    "Whether it is a parameter that the data leave open, which may end anywhere."
    if figure.keys() != {"estimate", "stderr"}:
        return False
    return figure["stderr"] is None or figure["stderr"] > abs(figure["estimate"])


def numbers_in(sentence):
    "The numbers of a sentence, whose words may change; those of names such as phi-1_5 stay out."
    return [float(number) for number in NUMBER.findall(sentence.replace(",", ""))]


def moved(name, figure, record):
    "How a figure differs from the one on record, in words."
    if name not in record:
        return [f"{name}: not on record"]
    return [name + words for words in differences(record[name], figure)]


def rounded(figure):
    "A figure with the digits that are compared, and two more."
    if isinstance(figure, dict):
        return {key: rounded(value) for key, value in figure.items()}
    if isinstance(figure, list):
        return [rounded(value) for value in figure]
    return float(f"{figure:.9g}") if isinstance(figure, float) else figure


def on_record():
    "The figures on record, `{name: figure}`; a line of JSON each."
    if not RECORD.exists():
        return {}
    lines = map(json.loads, RECORD.read_text(encoding="utf-8").splitlines())
    return {line["name"]: line["figure"] for line in lines}


def write(record):
    "Keep the figures."
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(dict(name=name, figure=rounded(record[name]))) for name in record]
    RECORD.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    "Write the record, or say what has moved."
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="*", default=[""], help="part of a figure's name")
    parser.add_argument("--check", action="store_true", help="compare with the record")
    args = parser.parse_args()
    record, changes = on_record(), []
    wanted = of_tables() | of_models()
    for name, compute in wanted.items():
        if not any(pattern in name for pattern in args.pattern):
            continue
        print(name, file=sys.stderr)
        figure = compute()
        changes += moved(name, figure, record)
        record[name] = figure
    if args.check:
        sys.exit("\n".join(changes))
    write({name: record[name] for name in wanted if name in record})


if __name__ == "__main__":
    main()
