"Heavy tails of weight spectra: planted ones come back, what has no tail is refused."

import re
import numpy as np, pandas as pd, pytest, torch
from lensllm.choose.selectors import as_selector
from lensllm.curves.table import CurveSet
from lensllm.models.tails import fit_tail, weight_tails


def draw(rng, alpha, cutoff, n):
    "Draws above 1 from a power law with an exponential end, by rejection."
    out = np.empty(0)
    while len(out) < n:
        x = rng.pareto(alpha - 1, 4 * n) + 1
        out = np.r_[out, x[rng.random(4 * n) < np.exp(-cutoff * (x - 1))]]
    return out[:n]


def orthonormal(rows, columns):
    g = torch.Generator().manual_seed(1)
    return torch.linalg.qr(torch.randn(rows, columns, generator=g, dtype=torch.float64))[0]


def matrix(eigvals, rows):
    "A matrix with these eigenvalues of its Gram matrix over `rows`."
    n = len(eigvals)
    singular = torch.tensor(eigvals * rows) ** 0.5
    return orthonormal(rows, n) @ torch.diag(singular) @ orthonormal(n, n).T


@pytest.fixture(scope="module")
def heavy():
    "Eigenvalues with a tail of exponent 2.5."
    return draw(np.random.default_rng(0), 2.5, 0.0, 200)


@pytest.fixture
def model(heavy):
    "A heavy matrix in both orientations, one of independent normals, and an embedding."
    net = torch.nn.Sequential(
        torch.nn.Linear(200, 300, bias=False),
        torch.nn.Linear(300, 200, bias=False),
        torch.nn.Linear(200, 300, bias=False),
        torch.nn.Embedding(50, 64),
    ).double()
    with torch.no_grad():
        net[0].weight.copy_(matrix(heavy, 300))
        net[1].weight.copy_(matrix(heavy, 300).T)
        net[2].weight.copy_(torch.randn(300, 200, generator=torch.Generator().manual_seed(0)))
    return net


@pytest.mark.parametrize("alpha", [1.7, 2.5, 4.0, 6.0])
def test_a_planted_exponent_comes_back(alpha):
    rng = np.random.default_rng(0)
    found = [fit_tail(draw(rng, alpha, 0.0, 1000), start=1.0) for _ in range(10)]
    mean, se = np.mean([f.alpha for f in found]), np.mean([f.alpha_se for f in found])
    assert abs(mean - alpha) < 4 * se / 10**0.5
    by_theory = (found[0].alpha - 1) / 1000**0.5
    np.testing.assert_allclose(found[0].alpha_se, by_theory, rtol=0.02)


@pytest.mark.parametrize("cutoff", [0.02, 0.1, 0.5])
def test_a_planted_cutoff_comes_back(cutoff):
    rng = np.random.default_rng(0)
    found = [fit_tail(draw(rng, 2.0, cutoff, 4000), start=1.0).cutoff for _ in range(5)]
    np.testing.assert_allclose(np.median(found), cutoff, rtol=0.25)


def test_a_planted_start_comes_back():
    rng = np.random.default_rng(0)
    found = fit_tail(np.r_[rng.uniform(0.2, 1.0, 300), draw(rng, 2.5, 0.0, 600)])
    assert 0.8 < found.start < 1.6
    assert abs(found.alpha - 2.5) < 4 * found.alpha_se


def test_a_matrix_has_its_tail_whichever_way_it_lies(model, heavy):
    tails = weight_tails(model)
    expected = fit_tail(heavy)
    np.testing.assert_allclose(tails.alpha[:2], expected.alpha, rtol=1e-6)
    np.testing.assert_allclose(tails.start[:2], expected.start, rtol=1e-6)


def test_independent_normals_have_no_heavy_tail(model):
    tails = weight_tails(model)
    assert tails.alpha[2] > tails.alpha[0] + 1


def test_embeddings_are_not_counted(model):
    assert list(weight_tails(model).name) == ["0.weight", "1.weight", "2.weight"]


def test_equal_matrices_are_counted_apart_and_a_shared_one_once(model):
    model[0].weight = torch.nn.Parameter(model[2].weight)
    assert len(weight_tails(model)) == 3
    model[2].weight = model[0].weight
    assert len(weight_tails(model)) == 2


def test_the_selector_takes_the_heavier_tail_for_the_better_model():
    runs = [
        dict(task="t", model=name, train_size=100, test_loss=1.0, pl_alpha=alpha, e_tpl_lambda=0.1)
        for name, alpha in dict(light=6.0, heavy=2.0, middle=4.0).items()
    ]
    table = CurveSet(pd.DataFrame(runs))
    assert as_selector("nlpmetrics").rank(table, target=1000).best == "heavy"
    without = CurveSet(table.frame.drop(columns="pl_alpha"))
    with pytest.raises(ValueError, match="`nlpmetrics` needs a column pl_alpha"):
        as_selector("nlpmetrics").rank(without, target=1000)


@pytest.mark.parametrize(
    "eigvals, message",
    [
        ([1.0, -1.0], "`eigvals` must be finite numbers >= 0"),
        (np.ones(50), "at least 10 different ones"),
        ([], "got 0; a smaller matrix"),
    ],
    ids=["negative", "all equal", "none"],
)
def test_a_spectrum_without_a_tail_is_refused(eigvals, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_tail(eigvals)


@pytest.mark.parametrize(
    "start, message",
    [
        (0.0, "`start` must be finite and > 0, got 0.0"),
        (100.0, "`start` must be > 0 and leave at least 10"),
    ],
)
def test_a_start_that_leaves_no_tail_is_refused(heavy, start, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fit_tail(heavy, start)


def test_a_model_without_wide_matrices_is_refused():
    with pytest.raises(ValueError, match="`model` must have weight matrices"):
        weight_tails(torch.nn.Linear(4, 4))


def test_a_matrix_of_zeros_is_named():
    blank = torch.nn.Sequential(torch.nn.Linear(20, 20))
    torch.nn.init.zeros_(blank[0].weight)
    with pytest.raises(ValueError, match=re.escape("a matrix without a tail, 0.weight")):
        weight_tails(blank)
