"Shipped tables and their prices, loaded once for all tests of the package."

import matplotlib
import pytest
from lensllm.choose.policies import run_costs
from lensllm.curves.table import load_benchmark

matplotlib.use("Agg")
TARGET = 1_638_400


@pytest.fixture(scope="session")
def flan():
    "Thirty models, 0 to 1,638,400 examples."
    return load_benchmark("flan")


@pytest.fixture(scope="session")
def gigaword():
    "The same thirty models on another task."
    return load_benchmark("gigaword")


@pytest.fixture(scope="session")
def costs(flan):
    "Prices of all runs on FLAN, FLOP."
    return run_costs(flan)


@pytest.fixture(scope="session")
def whole(costs):
    "The cost of fine-tuning every candidate on the target."
    return costs[TARGET].sum()


@pytest.fixture
def closed_figures():
    "Close what a test draws."
    import matplotlib.pyplot as plt

    yield
    plt.close("all")
