"How the benchmarks measure, show and keep."

import json
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path


def seconds(work, runs=5):
    "Median wall time."
    times = []
    for _ in range(runs):
        t0 = time.perf_counter()
        work()
        times.append(time.perf_counter() - t0)
    return statistics.median(times)


def highest():
    "Most bytes that this process has held; getrusage would count its parent's too."
    return 1024 * int(
        next(
            line
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        ).split()[1]
    )


def met(value, sign, limit):
    return value >= limit if sign == ">=" else value <= limit


def report(title, rows, keep=None):
    """Print ratios (what, value, sign, limit) beside their limits.

    `keep` (name, packages) saves them with what they were measured on; exit code 1
    where one is missed.
    """
    import torch

    threads = torch.get_num_threads()
    print(f"{title}, {threads} threads")
    for what, value, sign, limit in rows:
        print(
            f"  {what:64} {value:7.2f}  {sign} {limit:g}  "
            f"{'ok' if met(value, sign, limit) else 'MISSED'}"
        )
    if keep:
        save(rows, threads, *keep)
    sys.exit(not all(met(*row[1:]) for row in rows))


def save(rows, threads, name, packages):
    "The ratios as JSON, for a notebook to show."
    from lensllm._internal.atomic import atomic_path

    root = Path(__file__).resolve().parents[1]
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=root, check=True
    ).stdout.strip()
    table = [
        dict(
            what=what,
            measured=round(float(value), 3),
            wanted=f"{'≥' if sign == '>=' else '≤'} {limit:g}",
            met=bool(met(value, sign, limit)),
        )
        for what, value, sign, limit in rows
    ]
    path = root / "results" / "benchmarks" / f"{name}_{threads}_threads.json"
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as tmp:
        tmp.write_text(
            json.dumps(
                dict(
                    threads=threads,
                    commit=commit,
                    versions={p: version(p) for p in packages},
                    rows=table,
                ),
                indent=1,
                ensure_ascii=False,
            )
            + "\n"
        )
