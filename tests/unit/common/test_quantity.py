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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "quantities must match"),
        ("a", "quantities must match"),
        ("1.2.3", "quantities must match"),
        ("1Kb", "quantities must match"),
        ("1 Gi", "quantities must match"),
        ("\u0661", "quantities must match"),
        ("--1", "unable to parse quantity's suffix"),
        ("1mi", "unable to parse quantity's suffix"),
        ("1e", "unable to parse quantity's suffix"),
        ("1e999999999", "unable to parse numeric part of quantity"),
    ],
)
def test_what_is_no_quantity(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_quantity(text)


@pytest.mark.parametrize("text", ["e3", "Ki", ".", "+", "-0", " 0 "])
def test_no_digits_are_nothing_as_upstream_reads_them(text: str) -> None:
    assert parse_quantity(text).amount == 0


@given(st.integers(0, 1 << 60), st.booleans())
def test_the_canonical_form_is_the_same_amount(amount: int, binary: bool) -> None:
    text = format_quantity(amount, binary=binary)
    assert parse_quantity(text).amount == amount
    assert parse_quantity(canonical(text)).amount == amount


@given(st.from_regex(r"[+-]?[0-9]{1,15}(\.[0-9]{0,12})?(|n|u|m|k|M|G|Ki|Mi|Gi|e[0-9]|e-[0-9])", fullmatch=True))
def test_a_canonical_form_stays(text: str) -> None:
    once = canonical(text)
    assert canonical(once) == once
    rounded = canonical(text, milli=True)
    assert canonical(rounded, milli=True) == rounded
    assert (parse_quantity(rounded).amount * 1000) % 1 == 0


@given(st.decimals(min_value=0, max_value=10**9, places=3))
def test_milli_amounts_survive(amount: Decimal) -> None:
    assert parse_quantity(format_quantity(amount)).amount == amount


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("1024Mi", "1Gi"),
        ("1026Mi", "1026Mi"),
        ("0.5Gi", "512Mi"),
        ("1.1Ki", "1126400m"),
        ("9Ei", "9223372036854775807"),
        ("1000m", "1"),
        ("0.5", "500m"),
        ("1.500", "1.500"),
        ("1000", "1k"),
        ("2e3", "2e3"),
        ("12e4", "120e3"),
        ("1E3", "1E3"),
        ("+1", "+1"),
        ("0.1n", "1n"),
        ("1536Mi", "1536Mi"),
        ("0", "0"),
    ],
)
def test_canonical_as_upstream(text: str, form: str) -> None:
    assert canonical(text) == form


def test_resource_lists_round_up_to_thousandths() -> None:
    assert [canonical(t, milli=True) for t in ("100u", "1.0001", "1n", "1Gi")] == ["1m", "1001m", "1m", "1Gi"]
