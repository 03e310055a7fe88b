"Laws against differences, closed forms and planted curves."

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lensllm.forecast.laws import (
    LAWS,
    M4,
    MMF4,
    NTK_LAW,
    POW4,
    RECTIFIED,
    VANILLA,
    _nnls2,
    as_law,
    register,
)

props = settings(max_examples=25, derandomize=True, deadline=None, database=None)
SIZES = np.geomspace(200, 1638400, 14)

RANGES = dict(
    B=(1, 50),
    D_l=(0, 50),
    F=(0, 50),
    D_0=(0, 5e3),
    D_h=(1, 50),
    L_0=(3, 5),
    G=(1, 5),
    E=(0.1, 2),
    beta=(0.05, 0.8),
    alpha=(0.5, 2),
    c_0=(0.01, 0.3),
    c_1=(0.01, 0.8),
    D_1=(300, 1e5),
    f_1=(0.3, 3),
)


def random_params(law, seed):
    "Parameters of ordinary size within the bounds."
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(*RANGES[name]) for name in law.params}


@props
@given(name=st.sampled_from(sorted(LAWS)), seed=st.integers(0, 2**31))
def test_loss_falls_towards_its_asymptote(name, seed):
    law, D = LAWS[name], np.geomspace(100, 1e6, 9)
    params = random_params(law, seed)
    loss = law(D, **params)
    outer = params["alpha"] if name == "vanilla" else 1
    assert (np.diff(loss) <= 1e-12).all()
    assert (loss >= params["E"] ** outer).all()


@props
@given(name=st.sampled_from(sorted(LAWS)), seed=st.integers(0, 2**31))
def test_gradient_agrees_with_central_differences(name, seed):
    law, D = LAWS[name], np.geomspace(100, 1e6, 9)
    params = random_params(law, seed)
    gradient = law.grad(D, **params)
    assert np.isfinite(gradient).all()
    for j, parameter in enumerate(law.params):
        h = 1e-5 * params[parameter] + 1e-9
        above = law(D, **{**params, parameter: params[parameter] + h})
        below = law(D, **{**params, parameter: params[parameter] - h})
        atol = 1e-8 * np.abs(gradient[:, j]).max() + 1e-10
        np.testing.assert_allclose(gradient[:, j], (above - below) / (2 * h), rtol=2e-4, atol=atol)


@pytest.mark.parametrize("seed", range(20))
def test_m4_solves_its_implicit_equation(seed):
    p = random_params(M4, seed)
    L = M4(SIZES, **p)
    np.testing.assert_allclose(
        np.log(L - p["E"]) - p["alpha"] * np.log(p["G"] + p["E"] - L),
        np.log(p["B"]) - p["beta"] * np.log(SIZES),
        rtol=1e-7,
        atol=1e-7,
    )


@pytest.mark.parametrize("name", sorted(LAWS))
def test_first_starting_point_lies_close_to_a_planted_curve(name):
    law, errors = LAWS[name], []
    for seed in range(20):
        planted = law(SIZES, **random_params(law, seed))
        first = law(SIZES, **law.starts(SIZES, planted)[0])
        errors.append(np.abs(np.log(first / planted)).max())
    assert np.median(errors) < 0.05


def test_two_non_negative_columns_are_recovered_exactly():
    u, v = np.random.default_rng(0).uniform(1, 2, (2, 5, 8))
    (a, b), cost = _nnls2(u, v, 3 * u + 2 * v)
    np.testing.assert_allclose([a, b], [[3] * 5, [2] * 5])
    assert cost.max() < 1e-20


def test_a_negative_partner_is_set_to_zero_before_the_other_is_fitted():
    u, v = np.random.default_rng(0).uniform(1, 2, (2, 5, 8))
    (a, b), _ = _nnls2(u, v, 3 * u - 0.1 * v)
    assert list(b) == [0] * 5
    np.testing.assert_allclose(a, 3 - 0.1 * (u * v).sum(1) / (u * u).sum(1))


def test_mmf4_is_the_rectified_law_under_other_names():
    L_0, D_h, beta, E = 4.4, 250.0, 0.5, 1.2
    np.testing.assert_allclose(
        MMF4(SIZES, L_0=L_0, D_h=D_h, beta=beta, E=E),
        RECTIFIED(SIZES, B=(L_0 - E) * D_h, D_l=D_h, beta=beta, E=E),
        rtol=1e-14,
    )


def test_ntk_law_without_a_cap_is_the_rectified_law():
    np.testing.assert_array_equal(
        NTK_LAW(SIZES, B=9.0, F=3.0, beta=0.3, E=1.0),
        RECTIFIED(SIZES, B=9.0, D_l=3.0, beta=0.3, E=1.0),
    )


def test_a_cap_holds_for_starting_points_too(flan):
    capped = NTK_LAW.bounded(F=(0, 2.0))
    assert capped.bounds["F"] == (0, 2.0)
    assert all(start["F"] <= 2 for start in capped.starts(*flan.curve("gpt2")))


def test_one_point_has_a_start_all_the_same():
    assert len(RECTIFIED.starts([200.0], [3.0])[0]) == 4  # whether to trust it: the fit's business


@pytest.mark.parametrize(
    "mistake, message",
    [
        (lambda: RECTIFIED(SIZES, B=1.0), "`rectified` takes B, D_l, beta, E; got B"),
        (
            lambda: POW4([-1], B=1.0, D_0=0.0, beta=1.0, E=0.0),
            "`D` must be a number of examples > 0, got -1",
        ),
        (
            lambda: M4(SIZES, G=1.0, B=1.0, beta=0.5, E=1.0, alpha=-1),
            "`alpha` of m4 must lie in [0.05, 5], got -1",
        ),
        (lambda: as_law("chinchilla"), "must be one of vanilla, rectified"),
        (lambda: register(VANILLA), "is taken"),
        (lambda: NTK_LAW.bounded(D_l=(0, 1)), "`D_l` is no parameter of ntk"),
    ],
    ids=["missing parameters", "negative size", "out of bounds", "no law", "taken", "no parameter"],
)
def test_mistake_is_refused_with_its_rule(mistake, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        mistake()
