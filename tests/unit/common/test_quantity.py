"""Quantities: exact, rounded up, canonical."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.api.quantity import canonical, format_quantity, parse_bytes, parse_cpu_milli, parse_quantity


@pytest.mark.parametrize(
    ("text", "milli"),
    [
        ("1", 1000),
        ("100m", 100),
        ("0.1", 100),
        (".5", 500),
        ("1.5", 1500),
        ("1n", 1),
        ("2e3", 2_000_000),
        (2, 2000),
        (0.25, 250),
    ],
)
def test_cpu(text: str | float, milli: int) -> None:
    assert parse_cpu_milli(text) == milli


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1Ki", 1024),
        ("1.5Gi", 3 << 29),
        ("1k", 1000),
        ("1E", 10**18),
        ("1e6", 10**6),
        ("1E3", 1000),
        ("100m", 1),
        ("-1Mi", -(1 << 20)),
    ],
)
def test_bytes(text: str, value: int) -> None:
    assert parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "a", "1.2.3", "1Kb", "1 Gi", "--1", "1mi", "e3", "Ki"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        parse_quantity(text)


@given(st.integers(0, 1 << 60), st.booleans())
def test_the_canonical_form_is_the_same_amount(amount: int, binary: bool) -> None:
    text = format_quantity(amount, binary=binary)
    assert parse_quantity(text).amount == amount
    assert canonical(text) == text


@given(st.decimals(min_value=0, max_value=10**9, places=3))
def test_milli_amounts_survive(amount: Decimal) -> None:
    assert parse_quantity(format_quantity(amount)).amount == amount


@pytest.mark.parametrize(
    ("text", "form"), [("1024Mi", "1Gi"), ("1000m", "1"), ("0.5", "500m"), ("1536Mi", "1536Mi"), ("0", "0")]
)
def test_canonical_as_upstream(text: str, form: str) -> None:
    assert canonical(text) == form
