"""Build the wheel, install it in a clean environment beside nothing else, and run the command
there, away from the sources.
"""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLEAN = ROOT / ".venv-wheel"


def run(*args, **kws):
    "Run a command; its output, or exit with what it said."
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, **kws)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, args))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main():
    "From sources to a ranking, without the sources."
    with tempfile.TemporaryDirectory() as tmp:
        run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp, ROOT)
        wheel = next(Path(tmp).glob("*.whl"))
        venv.create(CLEAN, clear=True, with_pip=True)
        run(
            CLEAN / "bin/pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-c",
            ROOT / "constraints.txt",
            wheel,
        )
        where = run(
            CLEAN / "bin/python",
            "-c",
            "import lensllm; print(lensllm.__path__[0], lensllm.__version__)",
            cwd=tmp,
        )
        assert str(CLEAN) in where, f"the installed package should be used, not {where}"
        ranking = json.loads(
            run(
                CLEAN / "bin/lensllm",
                "select",
                "flan",
                "--seen",
                "12800",
                "--plot",
                Path(tmp) / "flan.png",
                "--json",
                cwd=tmp,
            )
        )
        assert len(ranking["ranking"]) == 30 and (Path(tmp) / "flan.png").stat().st_size > 10_000
        print(
            f"{wheel.name}: installed on its own, it ranks {len(ranking['ranking'])} models "
            f"and chooses {ranking['ranking'][0]['model']}"
        )


if __name__ == "__main__":
    main()
