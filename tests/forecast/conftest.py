"What the tests of forecasts share: the two large shipped tables."

import pytest
from lensllm.curves.table import load_benchmark


@pytest.fixture(scope="session")
def flan():
    return load_benchmark("flan")


@pytest.fixture(scope="session")
def gigaword():
    return load_benchmark("gigaword")
