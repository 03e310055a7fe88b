"How the benchmarks measure."
import statistics
import time


def seconds(work, runs=5):
    "Median wall time."
    times = []
    for _ in range(runs):
        t0 = time.perf_counter()
        work()
        times.append(time.perf_counter() - t0)
    return statistics.median(times)
