"Reads settings.ini, the one source of the project's metadata, for setuptools."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_namespace_packages, setup

here = Path(__file__).parent
parser = ConfigParser(delimiters=["="], interpolation=None)
parser.read(here / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]


def lines(key):
    "The non-empty lines of a multi-line setting."
    return [line.strip() for line in cfg[key].splitlines() if line.strip()]


extras = {
    key.removeprefix("requirements_"): lines(key) for key in cfg if key.startswith("requirements_")
}

setup(
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license_expression=cfg["license"],
    keywords=cfg["keywords"].split(),
    url=cfg["repository"],
    project_urls={"Documentation": cfg["documentation"], "Repository": cfg["repository"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=lines("requirements"),
    extras_require=extras,
    packages=find_namespace_packages(include=["lensllm", "lensllm.*"]),
    package_data={"lensllm": ["data/**/*", "py.typed", "*.pyi"]},
    # nbdev finds the page of a name in backticks through its entry point
    entry_points={
        "console_scripts": lines("console_scripts"),
        "nbdev": [f"{cfg['name']} = {cfg['name']}._modidx:d"],
    },
    zip_safe=False,
)
