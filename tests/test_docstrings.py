"What `help` says: the docments of a notebook reach the docstrings of the package."

import pytest

from lensllm.curves.metrics import example_work, pearson
from lensllm.forecast.posterior import Posterior


@pytest.mark.parametrize(
    "documented, heading",
    [
        (pearson, "Parameters"),  # a docstring of one line
        (example_work, "Parameters"),  # a docstring of several lines
        (example_work, "Returns"),
        (Posterior, "Attributes"),
    ],
)
def test_help_says_what_the_parameters_mean(documented, heading):
    assert f"\n{heading}\n{'-' * len(heading)}\n" in cleaned(documented)


def test_lines_of_a_docstring_stay_above_its_parameters():
    text = cleaned(Posterior)
    assert text.index("Intervals hold both.") < text.index("Attributes\n")


def cleaned(documented):
    "A docstring without its indentation."
    return "\n".join(line.strip() for line in documented.__doc__.splitlines())
