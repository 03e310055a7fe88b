"Records of runs, a line of JSON each, as the scripts beside this one keep them."

import json
import subprocess
import time
from pathlib import Path

from lensllm._internal.atomic import atomic_path

ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / "results" / "mini"


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(path, records):
    with atomic_path(path) as tmp:
        tmp.write_text("".join(json.dumps(r) + "\n" for r in records))


def made(record, commit, **more):
    """A run's record as it is kept.

    Without the recipe, which all share, and with when and by what it was made.
    """
    return (
        {k: v for k, v in record.items() if k != "recipe"}
        | more
        | dict(commit=commit, sitting=time.strftime("%Y-%m-%d"))
    )


def commit_now():
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.strip()
