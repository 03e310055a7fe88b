"Small models and batches that the tests of kernels share."

import pytest, transformers
from lensllm._internal.tiny import tiny_batch, tiny_model

transformers.logging.set_verbosity_error()


@pytest.fixture(scope="session")
def gpt2():
    "A model that tests must not change."
    return tiny_model("gpt2", seed=0)


@pytest.fixture(scope="session")
def six_rows():
    return tiny_batch(n=6, tokens=10, seed=0)


@pytest.fixture(scope="session")
def wide_gpt2():
    "Large enough that a memory limit and short products matter."
    return tiny_model("gpt2", seed=0, width=64, vocab=2048)


@pytest.fixture(scope="session")
def forty_rows():
    return tiny_batch(n=40, tokens=32, seed=0, vocab=2048)
