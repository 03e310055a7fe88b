"Tables that the tests of this package share."

import pandas as pd
import pytest
from lensllm.curves.table import CurveSet, load_benchmark


@pytest.fixture
def small():
    "Two models, three sizes, as a user would hand them over."
    return pd.DataFrame(
        dict(
            model=list("aaabbb"),
            train_size=[0, 200, 400] * 2,
            test_loss=[4.1, 3.2, 3.0, 5.0, 3.1, 2.8],
        )
    )


@pytest.fixture
def curves(small):
    return CurveSet(small)


@pytest.fixture
def two_seeds(small):
    again = small.assign(seed=1, test_loss=small.test_loss + 0.2)
    return CurveSet(pd.concat([small.assign(seed=0), again]))


@pytest.fixture(scope="session")
def flan():
    return load_benchmark("flan")
