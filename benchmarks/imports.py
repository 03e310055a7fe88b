"""Start-up cost as a ratio to `import pandas, scipy.optimize`, medians of interleaved runs.

`make bench`.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

BASE = "import pandas, scipy.optimize"
LENSLLM = str(Path(sys.executable).with_name("lensllm"))
LIMITS = {
    "import lensllm.curves.table": 1.5,
    "import lensllm.forecast.laws": 1.5,
    "import lensllm.choose.selectors": 1.5,
    "lensllm --help": 2.0,
}  # times the base
RUNS = 7


def seconds(what):
    "Wall time of one fresh process."
    args = [LENSLLM, "--help"] if what.startswith("lensllm") else [sys.executable, "-c", what]
    t0 = time.perf_counter()
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - t0


def main():
    "Interleave the runs, so that a busy moment hits all alike."
    seconds(BASE)  # warm the file cache
    times = {w: [] for w in (BASE, *LIMITS)}
    for _ in range(RUNS):
        for w in (BASE, *LIMITS):
            times[w].append(seconds(w))
    base = statistics.median(times[BASE])
    rows = [(w, statistics.median(times[w]) / base, limit) for w, limit in LIMITS.items()]
    print(f"ratio to `{BASE}` (median of {RUNS} runs)")
    for w, ratio, limit in rows:
        print(f"  {w:24} {ratio:5.2f}  limit {limit:.1f}  {'ok' if ratio <= limit else 'TOO SLOW'}")
    sys.exit(any(ratio > limit for _, ratio, limit in rows))


if __name__ == "__main__":
    main()
