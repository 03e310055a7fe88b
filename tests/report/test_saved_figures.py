"The pictures that pages have saved: as wide as a page can show, and described."

import base64
import json
import re
import struct
from pathlib import Path

import pytest

NBS = Path(__file__).resolve().parents[2] / "nbs"
WIDEST = 1900  # pixels at 200 dots an inch: a tick of 9 points has 10 pixels on a page of 700


def pictures(page):
    "Source and picture of each cell that has saved one."
    for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if picture := output.get("data", {}).get("image/png"):
                yield "".join(cell["source"]), base64.b64decode("".join(picture))


def width_of(png):
    "Width in pixels, as the head of the file says it."
    return struct.unpack(">I", png[16:20])[0]


SAVED = [
    pytest.param(source, png, id=f"{page.stem} {number}")
    for page in sorted(NBS.rglob("*.ipynb"))
    if ".ipynb_checkpoints" not in page.parts
    for number, (source, png) in enumerate(pictures(page), 1)
]


@pytest.mark.parametrize("source, png", SAVED)
def test_a_saved_figure_can_be_read_at_the_width_of_a_page(source, png):
    assert width_of(png) <= WIDEST, "put panels below one another: new_axes(n, columns=2)"


@pytest.mark.parametrize("source, png", SAVED)
def test_a_figure_with_a_label_has_a_caption_and_a_description(source, png):
    if "#| label: fig-" in source:
        assert re.search(r"^#\| fig-cap: \S", source, re.M)
        assert re.search(r"^#\| fig-alt: \S", source, re.M)


@pytest.mark.parametrize("source, png", SAVED)
def test_a_figure_is_drawn_in_the_house_style(source, png):
    assert "plt.subplots" not in source, "`new_axes` makes axes in the house style"
