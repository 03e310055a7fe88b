"""Start-up cost as a ratio to `import pandas, scipy.optimize`: `make bench`.

CPU seconds of fresh processes, medians of interleaved runs, so that a busy moment hits all alike.
Commands that only read a table or a study import neither torch nor transformers.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BASE = "import pandas, scipy.optimize"
LENSLLM = str(Path(sys.executable).with_name("lensllm"))
RUNS = 7
LIMITS = {  # what is run -> how many times the base it may take
    "import lensllm.curves.table": 1.5,
    "import lensllm.forecast.laws": 1.5,
    "import lensllm.choose.selectors": 1.5,
    "lensllm --help": 2.0,
    "lensllm status STUDY": 3.0,
    "lensllm tell STUDY a 100 4.0 --correct": 3.0,
    "lensllm plan STUDY": 3.0,
    "lensllm report STUDY": 3.0,
}


def begin_study(folder):
    "A study of runs that are made elsewhere, with one result."
    candidates = ["--candidate", "a=1e6", "--candidate", "b=2e6"]
    plan = [LENSLLM, "plan", folder, *candidates, "--budget", "50%", "--target", "6400"]
    subprocess.run(plan, check=True, stdout=subprocess.DEVNULL)
    tell = [LENSLLM, "tell", folder, "a", "100", "4.0"]
    subprocess.run(tell, check=True, stdout=subprocess.DEVNULL)


def cpu_seconds(what, study):
    "CPU time, user and system, of one fresh process."
    if what.startswith("lensllm"):
        args = [LENSLLM, *(study if word == "STUDY" else word for word in what.split()[1:])]
    else:
        args = [sys.executable, "-c", what]
    before = os.times()
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    children = after.children_user + after.children_system
    return children - before.children_user - before.children_system


def main():
    "Print each ratio beside its limit; exit 1 where one is missed."
    with tempfile.TemporaryDirectory() as folder:
        study = str(Path(folder) / "study")
        begin_study(study)
        cpu_seconds(BASE, study)  # warm the file cache
        times = {what: [] for what in (BASE, *LIMITS)}
        for _ in range(RUNS):
            for what in times:
                times[what].append(cpu_seconds(what, study))
    median = {what: statistics.median(values) for what, values in times.items()}
    print(f"CPU time as a ratio to `{BASE}` ({median[BASE]:.2f} s), median of {RUNS} runs")
    missed = False
    for what, limit in LIMITS.items():
        ratio = median[what] / median[BASE]
        missed |= ratio > limit
        print(
            f"  {what:40} {ratio:5.2f}  limit {limit:.1f}  {'ok' if ratio <= limit else 'MISSED'}"
        )
    sys.exit(missed)


if __name__ == "__main__":
    main()
