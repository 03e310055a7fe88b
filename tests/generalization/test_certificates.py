"Certificates: never below what they promise, and refused where they would promise nothing."

import itertools
import re

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from lensllm.generalization.certificates import (
    binary_kl,
    catoni_bound,
    code_nats,
    gaussian_kl,
    held_out_bound,
    kl_bound,
    kl_inverse,
    mcallester_bound,
    quadratic_bound,
    smoothed_range,
    thiemann_bound,
)

LOOSER_THAN_KL = (mcallester_bound, quadratic_bound, thiemann_bound)
PAC_BAYES = (kl_bound, *LOOSER_THAN_KL, catoni_bound)
random_settings = settings(max_examples=25, derandomize=True, deadline=None, database=None)
any_setting = given(
    q=st.floats(0, 1), kl=st.floats(0, 1e4), n=st.integers(1, 10**6), delta=st.floats(1e-6, 0.99)
)
SLACK = 1e-9  # for floating-point error


# The inverse of kl


def exact_inverse(q, c):
    "The inverse by bisection, to fifty digits."
    q, c = mpmath.mpf(q), mpmath.mpf(c)

    def kl(p):
        value = q * mpmath.log(q / p) if q else 0
        return value + ((1 - q) * mpmath.log((1 - q) / (1 - p)) if q < 1 else 0)

    low, high = q, mpmath.mpf(1)
    for _ in range(170):
        mid = (low + high) / 2
        if mid == 1 or kl(mid) > c:
            high = mid
        else:
            low = mid
    return low


@pytest.mark.parametrize("q", [0.0, 1e-12, 1e-3, 0.05, 0.3, 0.5, 0.9, 1 - 1e-9, 1.0])
def test_inverse_is_above_the_exact_one_by_rounding_alone(q):
    with mpmath.workdps(50):
        for c in (0.0, 1e-14, 1e-9, 1e-4, 0.01, 0.2, 1.0, 5.0, 40.0):
            gap = float(mpmath.mpf(float(kl_inverse(q, c))) - exact_inverse(q, c))
            assert gap > -1e-45, c  # fifty digits round too
            assert gap < 1e-14, c


def test_inverse_without_empirical_risk_has_a_closed_form():
    np.testing.assert_allclose(kl_inverse(0.0, 0.3), 1 - np.exp(-0.3), rtol=1e-12)


def test_a_risk_of_one_stays_one():
    assert kl_inverse([0.0, 1.0], 0.0)[1] == 1.0


def test_binary_kl_at_the_ends():
    assert np.isinf(binary_kl(0.5, 0.0))
    assert binary_kl(0.0, 0.0) == 0


@random_settings
@any_setting
def test_inverse_reaches_its_divergence(q, kl, n, delta):
    p = kl_inverse(q, kl / n)
    assert p == 1 or binary_kl(q, p) >= kl / n * (1 - 1e-9)


# The certificates


@pytest.mark.parametrize("bound", LOOSER_THAN_KL)
def test_kl_is_strictly_tighter(bound):
    assert bound(0.3, 40.0, 1000, 0.05) > kl_bound(0.3, 40.0, 1000, 0.05)


def test_thiemann_takes_the_best_lambda():
    c = (40.0 + np.log(2 * np.sqrt(1000) / 0.05)) / 1000

    def at(lam):
        return 0.3 / (1 - lam / 2) + c / (lam * (1 - lam / 2))

    best = minimize_scalar(at, bounds=(1e-6, 2 - 1e-6), method="bounded").fun
    np.testing.assert_allclose(thiemann_bound(0.3, 40.0, 1000, 0.05), best, rtol=1e-8)


@pytest.mark.parametrize("bound", PAC_BAYES)
@random_settings
@any_setting
def test_bound_lies_above_the_empirical_risk_and_moves_the_right_way(bound, q, kl, n, delta):
    value = bound(q, kl, n, delta)
    assert value >= q - SLACK
    assert bound(q, kl + 1, n, delta) >= value - SLACK
    assert bound(q, kl, n, delta / 2) >= value - SLACK
    assert bound(q, kl, 4 * n, delta) <= value + SLACK


@random_settings
@any_setting
def test_kl_is_never_looser_than_those_that_share_its_complexity(q, kl, n, delta):
    lowest = min(bound(q, kl, n, delta) for bound in LOOSER_THAN_KL)
    assert kl_bound(q, kl, n, delta) <= lowest + SLACK


# Smoothing and codes


def test_smoothed_range_has_the_width_of_the_formula():
    low, high = smoothed_range(0.01, 50)
    np.testing.assert_allclose(high - low, np.log1p(0.99 * 50 / 0.01))


def test_code_lengths_are_those_of_a_probability():
    sequences = itertools.product(range(3), repeat=5)
    total = sum(np.exp(-code_nats(np.bincount(s, minlength=3))) for s in sequences)
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


# Refusals


@pytest.mark.parametrize(
    "function, arguments, message",
    [
        (kl_bound, (np.nan, 1.0, 10, 0.05), "`emp_risk` must lie"),
        (kl_bound, (1.2, 1.0, 10, 0.05), "got 1.2; scale a bounded loss"),
        (kl_bound, (0.2, -1.0, 10, 0.05), "`kl` must be >= 0"),
        (kl_bound, (0.2, 1.0, 0, 0.05), "`n` must be >= 1"),
        (held_out_bound, (0.2, 10, 0.0), "`delta` must lie"),
        (held_out_bound, (0.2, 10, 0.05, 0), "`candidates` must be a whole number from 1"),
        (kl_inverse, (0.2, -0.1), "`c` must be >= 0"),
        (gaussian_kl, (1.0, 0.0, 1.0, 10), "`sigma` must be > 0"),
        (smoothed_range, (0.0, 50), "`a` must lie in (0, 1)"),
        (smoothed_range, (0.1, 1), "`V` must be >= 2"),
        (code_nats, ([1.5],), "whole numbers >= 0, one per symbol, got array([1.5])"),
    ],
)
def test_what_cannot_be_certified_is_refused(function, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        function(*arguments)
