"""Quantities: ``100m``, ``1.5Gi``, ``2e3``. Exact (Decimal), rounded up where a whole number is asked for.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache

_PATTERN = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE]?)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

INVALID = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@dataclass(frozen=True, order=True)
class Quantity:
    """An exact amount, in units (cores, bytes, pieces)."""

    amount: Decimal

    def value(self) -> int:
        """In whole units, rounded up."""
        return int(self.amount.to_integral_value(ROUND_CEILING))

    def milli_value(self) -> int:
        """In thousandths, rounded up."""
        return int((self.amount * 1000).to_integral_value(ROUND_CEILING))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    match = _PATTERN.fullmatch(text)
    if not match:
        raise ValueError(INVALID)
    number, suffix = Decimal(match[1]), match[2]
    if suffix in _BINARY:
        return Quantity(number * (1 << _BINARY[suffix]))
    exponent = int(suffix[1:]) if len(suffix) > 1 else _DECIMAL[suffix]
    if abs(exponent) > 30:
        raise ValueError("exponent is too large")
    return Quantity(number.scaleb(exponent))


def parse_quantity(value: str | int | float) -> Quantity:
    """Raises ValueError with upstream's text when it is not a quantity."""
    return _parse(value if isinstance(value, str) else repr(value))


def parse_cpu_milli(value: str | int | float) -> int:
    """A cpu quantity in millicores."""
    return parse_quantity(value).milli_value()


def parse_bytes(value: str | int | float) -> int:
    """A memory or storage quantity in bytes."""
    return parse_quantity(value).value()


def format_quantity(amount: Decimal | int, *, binary: bool = False) -> str:
    """Upstream's canonical form: the largest suffix that leaves a whole number."""
    amount = Decimal(amount)
    if amount == 0:
        return "0"
    if binary and abs(amount) >= 1024 and amount == amount.to_integral_value():
        whole = int(amount)
        for suffix, shift in reversed(_BINARY.items()):
            if whole % (1 << shift) == 0:
                return f"{whole >> shift}{suffix}"
        return str(whole)
    for suffix, exponent in sorted(_DECIMAL.items(), key=lambda item: -item[1]):
        scaled = amount.scaleb(-exponent)
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    return f"{int(amount.scaleb(9).to_integral_value(ROUND_CEILING))}n"


def canonical(value: str | int | float) -> str:
    """The same quantity in canonical form, in the suffix family that it was written in."""
    quantity = parse_quantity(value)
    return format_quantity(quantity.amount, binary=isinstance(value, str) and value.endswith("i"))
