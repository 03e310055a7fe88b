"""What a careless or hostile user may type: `python tools/hostile.py` runs it all and counts.

Every input must end in a result or in one clear line. Checked for each: no traceback, exit code 0
or 2, an end within 20 seconds of the processor, no control character in the output, no file left
behind, inputs unchanged, and a message that names an argument or a file.
"""

import contextlib
import hashlib
import importlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from good_calls import all_calls as good_calls  # noqa: E402  # beside this file

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("COLUMNS", "200")
LIMIT = 20  # seconds of the processor for one input
PATIENCE = 12  # times longer by the clock, on a machine that is busy
OWN = ("output", "params", "progress", "f", "watch")  # a function of the caller may fail as it does
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Hang(BaseException):
    "An input that took too long."


@dataclass
class Findings:
    "What was tried, and what went wrong."

    tried: int = 0
    wrong: list = field(default_factory=list)  # (input, what is wrong)

    def add(self, what, problems):
        self.tried += 1
        self.wrong += [(what, problem) for problem in problems]


@contextlib.contextmanager
def alarm():
    "End what takes too long: it works for `LIMIT`, or waits for what does not come."

    def stop(*_):
        raise Hang

    signals = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {name: signal.signal(name, stop) for name in signals}
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE * LIMIT)
    try:
        yield
    finally:
        for name, timer in signals.items():
            signal.setitimer(timer, 0)
            signal.signal(name, before[name])


# files ----------------------------------------------------------------------------------------

GOOD = "model,n_params,200,400,800,1600\na,1e8,3.1,3.0,2.9,2.8\nb,2e8,3.0,2.95,2.9,2.86\n"
TALL = "model,n_params,train_size,test_loss\n"
TEXTS = {  # name -> a table, sound or not
    "good.csv": GOOD,
    "empty.csv": "",
    "blank.csv": "\n\n\n",
    "header.csv": "model,train_size,test_loss\n",
    "one_cell.csv": "model",
    "commas.csv": ",,,,\n,,,,\n",
    "huge_size.csv": TALL + "a,1e8,1e400,3\na,1e8,200,2\n",
    "huge_loss.csv": TALL + "a,1e8,200,1e400\nb,1e8,200,2\n",
    "tiny_loss.csv": TALL + "a,1e8,200,1e-320\na,1e8,400,1e-321\nb,1e8,200,2\nb,1e8,400,2\n",
    "wide_loss.csv": TALL + "a,1e8,200,1e300\na,1e8,400,1e299\nb,1e8,200,2\nb,1e8,400,2\n",
    "huge_params.csv": TALL + "a,1e300,200,3\na,1e300,400,2\nb,1e300,200,2\nb,1e300,400,2\n",
    "negative.csv": TALL + "a,1e8,-200,3\nb,1e8,200,2\n",
    "nan.csv": TALL + "a,1e8,200,nan\nb,1e8,200,2\n",
    "words.csv": TALL + "a,1e8,many,OOM\nb,1e8,200,–\n",
    "twice.csv": TALL + "a,1e8,200,3\na,1e8,200,3\n",
    "ragged.csv": "model,200,400\na,3,2,1,0\nb,3,2\n",
    "twice_header.csv": "model,200,200\na,3,2\nb,3,2\n",
    "quotes.csv": 'model,200,400\n"a,3,2\nb,3,2\n',
    "controls.csv": "model,200,400\na\x1b[31m\x07,3,2\nb\x08,3,2.5\n",
    "bidi.csv": "model,200,400\n\u202eevil\u2066,3,2\nb\u0301\u0301,3,2.5\n",
    "long_name.csv": f"model,200,400\n{'a' * 100_000},3,2\nb,3,2.5\n",
    "markup.csv": "model,200,400\n[bold]a[/],3,2\n$x_1$ <b>&,3,2.5\n",
    "formula.csv": "model,200,400\n=cmd|x,3,2\n@b,3,2.5\n",
    "one_model.csv": "model,200,400\na,3,2\n",
    "one_size.csv": "model,200\na,3\nb,2\n",
    "zero_only.csv": "model,n_params,0\na,1e8,3\nb,1e8,2\n",
    "same.csv": "model,200,400,800,1600\na,3,3,3,3\nb,3,3,3,3\n",
    "flat_jump.csv": "model,200,400,800,1600,3200\na,3,3,3,1,1\nb,3,3,3,2,2\n",
    "rising.csv": "model,200,400,800,1600\na,1,2,3,4\nb,2,3,4,5\n",
    "semicolon.csv": "model;200;400\na;3,1;2,9\nb;3,2;2,8\n",
    "wandb.csv": "Name,State,model,train_size,eval/loss\nx,finished,a,200,3.1\n",
    "odd_wandb.csv": "Name,State,model,train_size,eval/loss\nx,finished,a,200\n\x1b,\x07,,,y\n",
    "chart.csv": "Step,a-200 - eval/loss,a-200 - eval/loss__MIN,a-200 - eval/loss__MAX\nx,,1,\n",
    "mlflow.csv": "run_id,status,params.model,params.train_size\n,,a,1e400\n",
    "lines.txt": "first line\nsecond line\nthird line of the text\n" * 20,
    "rows.jsonl": '{"prompt": "a", "target": "b"}\n' * 30,
    "odd.jsonl": '{"prompt": 1, "target": null}\n[1, 2]\n"x"\n{\n',
    "lone.jsonl": '{"prompt": "\\ud800", "target": "b"}\n' * 5,
    "results_1.json": '{"results": {"arc": {"acc,none": 0.5, "acc_stderr,none": 0.1}}}',
    "object.json": '{"records": [1, {"task": 3}]}',
    "array.json": "[" * 3000,
}


def write_inputs(folder):
    "Odd files and folders, made in `folder`."
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    binary = bytes(range(256)) * 40
    for name in ("binary.csv", "binary.parquet", "binary.jsonl", "binary.json", "binary.npz"):
        (folder / name).write_bytes(binary)
    (folder / "long_line.csv").write_text("model," + "9" * 10_000_000 + "\na,1\n")
    (folder / "utf16.csv").write_bytes(GOOD.encode("utf-16"))
    (folder / "latin.csv").write_bytes("model,200,400\né,3,2\nb,3,2.5\n".encode("latin-1"))
    (folder / "folder.csv").mkdir()
    (folder / "events").mkdir()
    (folder / "events" / "events.out.tfevents.1").write_bytes(b"")
    (folder / "nothing").mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "gone.csv").symlink_to(folder / "nowhere")
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    logs = {
        "no_history": "{}",
        "list": "[1, 2]",
        "null": '{"log_history": null}',
        "entries": '{"log_history": [1, null, {"eval_loss": "x", "step": 1}]}',
        "nan": '{"log_history": [{"eval_loss": NaN, "step": 1}]}',
        "broken": '{"log_history": [',
    }
    for name, text in logs.items():
        place = folder / "logs" / name / "m" / "200"
        place.mkdir(parents=True)
        (place / "trainer_state.json").write_text(text)
    place = folder / "logs" / "sound" / "a" / "200"
    place.mkdir(parents=True)
    entries = '{"eval_loss": 3.0, "step": 1}, {"eval_loss": 2.5, "step": 2}'
    (place / "trainer_state.json").write_text(f'{{"global_step": 2, "log_history": [{entries}]}}')
    checkpoints = {
        "no_type": {"config.json": "{}"},
        "not_json": {"config.json": "{"},
        "list": {"config.json": "[]"},
        "unknown": {"config.json": '{"model_type": "nonsense"}'},
        "no_weights": {"config.json": '{"model_type": "gpt2", "n_layer": 1, "n_embd": 8}'},
        "bad_weights": {
            "config.json": '{"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 1}',
            "model.safetensors": "no tensors",
        },
        "pickle": {
            "config.json": '{"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 1}',
            "pytorch_model.bin": "no pickle",
        },
    }
    for name, files in checkpoints.items():
        place = folder / "models" / name
        place.mkdir(parents=True)
        for file, text in files.items():
            (place / file).write_text(text)
    for name, content in {"empty": b"", "binary": binary, "text": b"study"}.items():
        place = folder / "studies" / name
        place.mkdir(parents=True)
        (place / "study.db").write_bytes(content)
    foreign = folder / "studies" / "foreign"
    foreign.mkdir()
    import sqlite3

    with contextlib.closing(sqlite3.connect(foreign / "study.db")) as database:
        database.execute("create table studies (study_id integer)")
        database.commit()
    return folder


def content_of(folder):
    "Every path below a folder with a digest of what it holds."
    found = {}
    for place, folders, names in os.walk(folder):
        for name in folders:
            found[os.path.join(place, name)] = "folder"
        for name in names:
            path = Path(place, name)
            if path.is_symlink() or not path.is_file():
                found[str(path)] = "special"
            else:
                found[str(path)] = hashlib.md5(path.read_bytes()).hexdigest()
    return found


# commands -------------------------------------------------------------------------------------

NUMBERS = ("", "x", "-1", "0.5", "1e400", "1e19", "nan", "inf", "-inf", "١٢", "1,2,3", "10" * 200)
BUDGETS = ("", "x", "0", "-1%", "nan%", "inf", "1e300%", "1e-400", "2%%", "1e400", "%", "2 %%")
NAMES = ("", "x" * 5000, "\x1b[31mred", "\u202eevil", "a\nb", "../..", "$(id)", "[bold]x[/]")
CHEAP = {  # command -> what it needs to get as far as its options
    "select": ["good.csv", "--method", "ats"],
    "plan": ["good.csv", "--budget", "50%"],
    "simulate": ["good.csv", "--policy", "full", "--budget", "50%"],
    "fit": ["good.csv", "--model", "a"],
    "need": ["good.csv", "--prior", "generic", "--for", "2"],
    "gain": ["good.csv", "--prior", "generic"],
    "compare": ["good.csv", "--method", "ats", "--ratios", "2"],
    "tell": ["nothing", "m", "200", "3"],
    "ntk": ["nothing", "lines.txt"],
    "bound": ["nothing", "nothing", "lines.txt"],
    "screen": ["nothing", "gone", "--task", "rows.jsonl", "--keep", "1"],
    "run": ["--task", "rows.jsonl", "--candidate", "nothing", "--out", "new", "--dry-run"],
}
OPTIONS = {  # command -> option -> values
    "select": {
        "--seen": NUMBERS,
        "--target": NUMBERS,
        "--within": NUMBERS,
        "--method": NAMES,
        "--prior": (*NAMES, "binary.json", "array.json", "object.json", "nothing", "pipe.csv"),
        "--task": NAMES,
    },
    "plan": {
        "--budget": BUDGETS,
        "--target": NUMBERS,
        "--up-to": NUMBERS,
        "--failed": NAMES,
        "--policy": NAMES,
        "--costs": NAMES,
        "--candidate": (*NAMES, "a=", "a=nan", "a=1e400", "a=-1", "=5", "a=1e14.5"),
    },
    "simulate": {"--budget": BUDGETS, "--target": NUMBERS, "--policy": NAMES, "--costs": NAMES},
    "fit": {"--law": NAMES, "--robust": NAMES, "--seen": NUMBERS, "--target": NUMBERS},
    "need": {"--for": (*NUMBERS, "50%", "=", "loss=", "=2", "f1=.5", *NAMES), "--times": NUMBERS},
    "gain": {"--from": NUMBERS, "--to": NUMBERS, "--model": NAMES},
    "compare": {"--ratios": (*NUMBERS, ",", "2,", "2,x", "1e400,2"), "--target": NUMBERS},
    "tell": {"--seed": NUMBERS, "--se": NUMBERS},
    "ntk": {"--rows": NUMBERS, "--memory": NUMBERS, "--seed": NUMBERS, "--output": NAMES},
    "bound": {"--delta": NUMBERS, "--draws": NUMBERS, "--unit": NAMES},
    "screen": {"--rows": NUMBERS, "--keep": NUMBERS, "--seed": NUMBERS, "--max-tokens": NUMBERS},
    "run": {
        "--budget": BUDGETS,
        "--target": NUMBERS,
        "--size": NUMBERS,
        "--rate": NUMBERS,
        "--passes": NUMBERS,
        "--seed": NUMBERS,
        "--method": NAMES,
        "--trust": NAMES,
    },
}


def command_lines():
    "Every call of a command that is tried, as a list of arguments."
    files = [*TEXTS, "binary.csv", "binary.parquet", "long_line.csv", "utf16.csv", "latin.csv"]
    files += ["folder.csv", "nothing", "pipe.csv", "gone.csv", "loop.csv", "nowhere.csv"]
    files += [f"logs/{name}" for name in ("no_history", "list", "null", "entries", "nan", "broken")]
    for file in files:
        for command in ("data", "fit"):
            yield [command, file]
        yield ["select", file, "--method", "subtuning", "--target", "100000"]
        yield ["plan", file, "--budget", "2%", "--target", "100000", "--policy", "full"]
        yield ["learn", file, "--out", "nothing/no/prior.txt"]
    for file in ("good.csv", "controls.csv", "bidi.csv", "tiny_loss.csv", "wide_loss.csv"):
        yield ["simulate", file, "--budget", "50%", "--policy", "full"]
        yield ["compare", file, "--method", "ats", "--ratios", "2"]
    for command, options in OPTIONS.items():
        for option, values in options.items():
            for value in values:
                yield [command, *CHEAP[command], f"{option}={value}"]
    for name in NAMES:
        yield [name or "''"]
        if name != "../..":  # would read every folder of the machine
            yield ["select", name]
        yield ["status", f"nothing/{name}"[:200]]
    for study in ("empty", "binary", "text", "foreign"):
        folder = f"studies/{study}"
        yield ["status", folder]
        yield ["report", folder]
        yield ["plan", folder]
        yield ["tell", folder, "m", "200", "3.0"]
        yield ["run", "--out", folder, "--resume"]
    models = "no_type not_json list unknown no_weights bad_weights pickle".split()
    for model in models:
        yield ["ntk", f"models/{model}", "lines.txt"]
        yield ["bound", f"models/{model}", f"models/{model}", "lines.txt"]
        yield [
            *("run", "--task", "rows.jsonl", "--candidate", f"models/{model}"),
            *("--out", "new", "--dry-run"),
        ]
    for rows in ("empty.csv", "odd.jsonl", "lone.jsonl", "binary.jsonl", "pipe.csv", "nothing"):
        yield ["run", "--task", rows, "--candidate", "nothing", "--out", "new", "--dry-run"]
        yield ["ntk", "nothing", rows]
    yield ["select", "good.csv", "--plot", "x.bmp"]
    yield ["select", "good.csv", "--out", "folder.csv"]
    yield ["select", "good.csv", "--json", "--csv"]


def odd_signs(text):
    "Control characters in an output."
    return sorted({repr(sign) for sign in CONTROL.findall(text)})


def problems_of(code, out, err):
    "What is wrong with the end of a call."
    if code not in (0, 2):
        yield f"exit code {code}: {err.strip()[-200:]}"
    if "Traceback" in out + err:
        yield "a traceback"
    if "Warning" in err:
        yield f"a warning of a library: {err.strip()[:200]}"
    if odd_signs(out + err):
        yield f"control characters {', '.join(odd_signs(out + err))}"
    if code == 2 and not out:
        lines = [line for line in err.splitlines() if line.startswith("lensllm: ")]
        if len(lines) != 1:
            yield f"{len(lines)} lines of error instead of one: {err[:200]!r}"
        elif not re.search(r"`[^`]+`|'[^']+'|\S+\.\w+|--\w+|option|command", lines[0]):
            yield f"names nothing: {lines[0][:200]}"
        if len(err) > 2000:
            yield f"a message of {len(err)} characters"


def in_this_process(argv):
    "Exit code, output and errors of a call, and whether it hung."
    from lensllm.cli.app import main as command

    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), alarm():
            command(list(argv))
    except SystemExit as end:
        return end.code, out.getvalue(), err.getvalue()
    except Hang:
        return "none: it hung", out.getvalue(), err.getvalue()
    except BaseException as error:
        return f"none: {type(error).__name__}: {error}", out.getvalue(), err.getvalue()
    raise AssertionError("the command returned")


def as_process(argv):
    "The same by a process of its own."
    call = [sys.executable, "-c", "from lensllm.cli.app import main; main()", *argv]
    try:
        done = subprocess.run(call, capture_output=True, timeout=PATIENCE * LIMIT)
    except subprocess.TimeoutExpired:
        return "none: it hung", "", ""
    return done.returncode, *(
        text.decode("utf-8", "replace") for text in (done.stdout, done.stderr)
    )


PROCESSES = (
    ["select", "good.csv", "--method", "ats", "--seen=1e400"],
    ["select", "controls.csv", "--method", "subtuning", "--target", "10000"],
    ["plan", "bidi.csv", "--budget", "1e300%"],
    ["data", "pipe.csv"],
    ["fit", "wide_loss.csv"],
    ["status", "studies/foreign"],
)


def try_commands(folder, findings, every=1):
    "All calls in a folder of odd files; `every`: only each so many."
    calls = [(argv, in_this_process) for argv in list(command_lines())[::every]]
    calls += [(list(argv), as_process) for argv in PROCESSES]
    import transformers  # noqa: F401  # what takes long is loaded before the clock runs

    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        importlib.import_module("lensllm.cli.app").main(["ntk", "nothing", "lines.txt"])
    before = content_of(folder)
    for argv, call in calls:
        problems = list(problems_of(*call(argv)))
        after = content_of(folder) if sum(map(len, argv)) else before
        if after != before:
            changed = sorted(set(before.items()) ^ set(after.items()))
            problems.append(f"files changed: {changed[0][0]}")
            for path, _ in changed:
                if path not in before:
                    target = Path(path)
                    shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            before = content_of(folder)
        findings.add(" ".join(argv)[:160], problems)


# functions ------------------------------------------------------------------------------------


def palette():
    "Wrong values of every kind, by name."
    import numpy as np
    import pandas as pd

    return dict(
        none=None,
        true=True,
        word="x",
        empty="",
        list=[],
        dict={},
        nan=float("nan"),
        inf=float("inf"),
        negative=-1,
        zero=0,
        big=1e300,
        huge=10**400,
        beyond=1e19,
        fraction=2.5,
        object=object(),
        numpy_float=np.float32(2.5),
        numpy_int=np.int64(-3),
        table=np.ones((2, 3)),
        words=["x", "y"],
        digits="200",
        complex=2 + 1j,
        series=pd.Series([1.0, 2.0]),
        no_rows=pd.DataFrame(),
        bytes=b"x",
        missing=pd.NA,
        function=len,
    )


def try_functions(findings, folder, every=1, packages=None):
    "Each argument of each function with every wrong value, the others right."
    new = folder / "new_files"
    new.mkdir()
    calls = []
    for package, functions in good_calls(folder, new).items():
        if packages is None or package in packages:
            for function, right in functions:
                calls += [(package, function, right, argument) for argument in right]
    calls = [(*call, name, value) for call in calls for name, value in palette().items()]
    for package, function, right, argument, name, value in calls[::every]:
        label = getattr(function, "__qualname__", type(function).__name__)
        problems = list(problems_of_call(function, right, argument, value))
        findings.add(f"{package}: {label}({argument}={name})", problems)


def is_named(message, value):
    "Whether a message says which argument, table or file is meant."
    is_path = isinstance(value, str) and value and value in message
    return is_path or any(sign in message for sign in ("`", "the table", "a column"))


def problems_of_call(function, right, argument, value):
    "What is wrong with the end of a call: only an error that names an argument, or a result."
    if value is len and argument in OWN:
        return
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with alarm(), contextlib.redirect_stdout(io.StringIO()):
                function(**{**right, argument: value})
        except (ValueError, TypeError, ImportError) as error:
            if not is_named(str(error), value):
                yield f"names no argument: {type(error).__name__}: {error}"[:200]
            if "\n" in str(error) or len(str(error)) > 600:
                yield f"is not one line: {str(error)[:200]!r}"
        except FileNotFoundError as error:
            if not error.filename:
                yield f"names no file: {error}"
        except Hang:
            yield "hung"
        except Exception as error:
            yield f"{type(error).__name__}: {error}"[:200]
        finally:
            if "matplotlib.pyplot" in sys.modules:
                sys.modules["matplotlib.pyplot"].close("all")
    yield from (f"warns: {str(each.message)[:100]}" for each in heard[:1])


# ----------------------------------------------------------------------------------------------


def main(every=1):
    "Try everything, or each so many; what went wrong is printed, and how much was tried."
    findings, here = Findings(), os.getcwd()
    with tempfile.TemporaryDirectory() as place:
        os.chdir(write_inputs(Path(place)))
        try:
            try_commands(Path(place), findings, every)
            calls = findings.tried
            try_functions(findings, Path(place), every)
        finally:
            os.chdir(here)
    for what, problem in findings.wrong:
        print(f"{what!r}: {problem}")
    functions = findings.tried - calls
    print(f"{findings.tried:,} hostile inputs: {calls} command lines, {functions:,} calls")
    return findings


if __name__ == "__main__":
    sys.exit(bool(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1).wrong))
