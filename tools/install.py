"""Install with pip, and say what it is doing: `python tools/install.py -e .`.

pip alone says nothing for minutes (`--quiet`), or hundreds of lines. Here each large download has
its line, and so has each step after it. Warnings and errors are pip's own.
"""

import re
import subprocess
import sys
import threading
import time

LARGE = 5.0  # MB: below, a download is over before its line is read
SILENCE = 20.0  # seconds after which a step says that it goes on
MEGABYTES = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}
DOWNLOAD = re.compile(
    r"(Downloading|Using cached) (?:\S*/)?([\w.]+)-(\d[^-\s]*?)(?:-\S*\.whl|\.tar\.gz|\.zip)"
    r" \(([\d.]+) (kB|MB|GB)\)"
)
UNPACK = "Installing collected packages:"


def step(line):
    "What a line of pip's output means to somebody who waits; nothing for most lines."
    if found := DOWNLOAD.search(line):
        how, name, version, size, unit = found.groups()
        if float(size) * MEGABYTES[unit] >= LARGE:
            return f"{how.lower()} {name} {version}, {size} {unit}"
    if line.startswith(UNPACK):
        return f"unpacking {line.count(',') + 1} packages"
    return None


def seconds_since(start):
    "How long it has taken, in words."
    return f"{time.monotonic() - start:.0f} seconds"


def main(*args):
    "Run pip, show its steps, and end as it ended."
    start, ended = time.monotonic(), threading.Event()
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    pip += ["--progress-bar", "off", *args]

    def go_on():
        "Break the silence of a long step."
        while not ended.wait(SILENCE):
            print(f"  … {seconds_since(start)}", flush=True)

    threading.Thread(target=go_on, daemon=True).start()
    with subprocess.Popen(pip, stdout=subprocess.PIPE, text=True) as running:
        for line in running.stdout:
            if said := step(line):
                print(f"  {said}", flush=True)
    ended.set()
    if running.returncode:
        sys.exit(running.returncode)
    print(f"  done after {seconds_since(start)}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
