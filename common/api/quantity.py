"""Quantities: ``100m``, ``1.5Gi``, ``2e3``. Exact (Decimal), rounded up where a whole number is asked for.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from common.remember import remembered

_PATTERN = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIXES = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIXES = {0: "", **{exponent: suffix for suffix, exponent in _BINARY.items()}}
_SI, _BINARY_SI, _EXPONENT = "DecimalSI", "BinarySI", "DecimalExponent"
_NANO, _MILLI = -9, -3
_MAX_DIGITS = 18
"""Amounts of so many digits fit an int64: upstream reads them the short way, and may keep their spelling."""
_MOST_DIGITS = 4000
"""Of any amount at all: Python reads no longer numbers."""
_MAX_INT64 = 2**63 - 1
_MAX_EXPONENT = 1000
"""More than anybody means; without a bound, ``1e999999999`` would fill the memory."""

INVALID = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
INVALID_SUFFIX = "unable to parse quantity's suffix"
INVALID_NUMBER = "unable to parse numeric part of quantity"


@dataclass(frozen=True, order=True)
class Quantity:
    """An exact amount, in units (cores, bytes, pieces)."""

    amount: Decimal

    def is_whole(self) -> bool:
        return self.amount == self.amount.to_integral_value()

    def value(self) -> int:
        """In whole units, rounded up."""
        return int(self.amount.to_integral_value(ROUND_CEILING))

    def milli_value(self) -> int:
        """In thousandths, rounded up."""
        return int(self.amount.scaleb(3).to_integral_value(ROUND_CEILING))


@dataclass(frozen=True, slots=True)
class _Read:
    """``unscaled * 10 ** scale``; ``spelling`` is the text itself where it is canonical enough to be kept."""

    unscaled: int
    scale: int
    format: str
    spelling: str = ""


def _read(text: str) -> _Read:
    """Upstream: ParseQuantity, with its two ways: int64 while the digits fit, exact decimals else."""
    match = _PATTERN.fullmatch(text)
    if not match or not text:
        raise ValueError(INVALID)
    sign, number, fraction = -1 if match[1] == "-" else 1, match[2].lstrip("0"), match[3] or ""
    exponent, format_ = _suffix(match[4])
    number = number or "0"
    digits = number + fraction
    if len(digits) > _MOST_DIGITS:
        raise ValueError(INVALID_NUMBER)
    unscaled, scale = int(digits), -len(fraction)
    if format_ == _BINARY_SI:
        product = unscaled << exponent
        fits = not fraction and 15 - len(number) - int(exponent * 3 / 10) - 1 >= 0 and product <= _MAX_INT64
        if fits:
            kept = text if unscaled & 7 else ""
            return _Read(sign * product, 0, format_, kept)
        return _capped(sign, product, scale)
    scale += exponent
    if len(digits) <= _MAX_DIGITS and scale >= _NANO:
        is_kept = scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"
        return _Read(sign * unscaled, scale, format_, text if is_kept else "")
    unscaled, scale = _rounded(unscaled, scale, _NANO)
    return _Read(sign * unscaled, scale, format_)


def _suffix(suffix: str) -> tuple[int, str]:
    exponent = _DECIMAL.get(suffix)
    if exponent is not None:
        return exponent, _SI
    if suffix in _BINARY:
        return _BINARY[suffix], _BINARY_SI
    if suffix[0] in "eE":
        try:
            exponent = int(suffix[1:])
        except ValueError:
            raise ValueError(INVALID_SUFFIX) from None
        if abs(exponent) > _MAX_EXPONENT:
            raise ValueError(INVALID_NUMBER)
        return exponent, _EXPONENT
    raise ValueError(INVALID_SUFFIX)


def _capped(sign: int, unscaled: int, scale: int) -> _Read:
    """A binary amount that is no int64 by itself: rounded up to nanos, at most the largest int64."""
    unscaled, scale = _rounded(unscaled, scale, _NANO)
    one = 10**-scale
    if unscaled > _MAX_INT64 * one:
        unscaled, scale = _MAX_INT64, 0
    return _Read(sign * unscaled, scale, _SI if 0 < unscaled < one else _BINARY_SI)


def _rounded(unscaled: int, scale: int, least: int) -> tuple[int, int]:
    """Away from zero, to a multiple of ``10 ** least``."""
    if scale >= least or not unscaled:
        return unscaled, scale
    divisor = 10 ** (least - scale)
    return -(-unscaled // divisor) if unscaled > 0 else unscaled // divisor, least


@remembered(4096)
def _parse(text: str) -> Quantity:
    read = _read(text.strip())
    return Quantity(Decimal(f"{read.unscaled}E{read.scale}"))


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
    sign, digits, exponent = Decimal(amount).as_tuple()
    unscaled = int("".join(map(str, digits))) * (-1 if sign else 1)
    unscaled, scale = _rounded(unscaled, int(exponent), _NANO)
    return _format(unscaled, scale, _BINARY_SI if binary else _SI)


def _format(unscaled: int, scale: int, format_: str) -> str:
    """Upstream: Quantity.CanonicalizeBytes. Amounts of less than a kibi, and fractions, are written in decimal."""
    if not unscaled:
        return "0"
    if format_ == _BINARY_SI:
        whole, rest = divmod(abs(unscaled) * 10 ** max(scale, 0), 10 ** max(-scale, 0))
        if whole >= 1024 and not rest:
            exponent = 0
            while whole % 1024 == 0:
                whole, exponent = whole >> 10, exponent + 10
            return f"{'-' if unscaled < 0 else ''}{whole}{_BINARY_SUFFIXES.get(exponent, '')}"
        format_ = _SI
    while unscaled % 10 == 0:
        unscaled, scale = unscaled // 10, scale + 1
    unscaled, scale = unscaled * 10 ** (scale % 3), scale - scale % 3
    if format_ == _EXPONENT:
        return f"{unscaled}e{scale}" if scale else str(unscaled)
    return f"{unscaled}{_DECIMAL_SUFFIXES.get(scale, '')}"


@remembered(4096)
def _canonical(text: str) -> str:
    read = _read(text.strip())
    return read.spelling or _format(read.unscaled, read.scale, read.format)


@remembered(4096)
def _canonical_milli(text: str) -> str:
    read = _read(text.strip())
    if read.scale < _MILLI:
        unscaled, scale = _rounded(read.unscaled, read.scale, _MILLI)
        return _format(unscaled, scale, read.format)
    return _canonical(text)


def canonical(value: str | int | float, *, milli: bool = False) -> str:
    """The same quantity as upstream would write it: in the suffix family that it was written in.

    Amounts in resource lists are rounded up to thousandths (``milli``; upstream: SetDefaults_ResourceList).
    """
    form = _canonical_milli if milli else _canonical
    return form(value if isinstance(value, str) else repr(value))


def go_quantity(value: str | int | float) -> str:
    """A quantity as Go prints it with %#v, which some messages of upstream's contain."""
    text = value if isinstance(value, str) else repr(value)
    read = _read(text.strip())
    amount = f"resource.int64Amount{{value:{read.unscaled}, scale:{read.scale}}}"
    return (
        f"resource.Quantity{{i:{amount}, d:resource.infDecAmount{{Dec:(*inf.Dec)(nil)}}, "
        f's:"{read.spelling}", Format:"{read.format}"}}'
    )
