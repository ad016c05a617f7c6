"""Types of the API, compiled: each can say fast whether a value is right, and slowly what is wrong with it.

Nearly every request is valid, so a value is first checked by ``quick``, closures that answer yes or no in some tens of
nanoseconds a field. Only when they say no, :meth:`convert` walks the value again, the way Go's JSON decoder would:
drops nulls and unknown fields (and notes the latter), writes quantities and times canonically, and words type errors
as encoding/json does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from common.api.quantity import canonical
from common.remember import remembered

Quick = Callable[[Any], bool]
MAX_STRICT_ERRORS = 100

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class DecodeError(Exception):
    """A value of the wrong type, in the words of Go's decoder."""


@dataclass(slots=True)
class Place:
    """Where the walk is: ``path`` names it in strict errors, ``go_path`` and ``struct`` in type errors."""

    path: str
    go_path: str
    struct: str
    unknown: list[str]

    def field(self, struct: str, name: str) -> Place:
        join = "." if self.path else ""
        go_join = "." if self.go_path else ""
        return Place(f"{self.path}{join}{name}", f"{self.go_path}{go_join}{name}", struct, self.unknown)

    def at(self, suffix: str) -> Place:
        return Place(self.path + suffix, self.go_path, self.struct, self.unknown)


class Type(Protocol):
    @property
    def go(self) -> str:
        """The Go type's name, for error messages."""

    @property
    def quick(self) -> Quick:
        """Whether a value is right as it is."""

    def convert(self, value: Any, place: Place) -> Any:
        """The value as Go would decode and encode it. Raises DecodeError."""

    def zero(self) -> Any:
        """What a null in a list or map becomes."""


def json_kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def mismatch(value: Any, go: str, place: Place, kind: str = "") -> DecodeError:
    if place.struct:
        target = f"Go struct field {place.struct}.{place.go_path}"
    else:
        target = "Go value"
    return DecodeError(f"json: cannot unmarshal {kind or json_kind(value)} into {target} of type {go}")


@dataclass(frozen=True)
class Scalar:
    """A string or a bool."""

    go: str
    python: type
    quick: Quick

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is not self.python:
            raise mismatch(value, self.go, place)
        return value

    def zero(self) -> Any:
        return self.python()


STRING = Scalar("string", str, lambda v: type(v) is str)
BOOL = Scalar("bool", bool, lambda v: type(v) is bool)


@dataclass(frozen=True)
class Integer:
    go: str
    low: int
    high: int
    quick: Quick

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is float or (type(value) is int and not self.low <= value <= self.high):
            raise mismatch(value, self.go, place, f"number {value!r}")
        if type(value) is not int:
            raise mismatch(value, self.go, place)
        return value

    def zero(self) -> Any:
        return 0


def _integer(bits: int) -> Integer:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return Integer(f"int{bits}", low, high, lambda v: type(v) is int and low <= v <= high)


INT32, INT64 = _integer(32), _integer(64)


@dataclass(frozen=True)
class Number:
    go: str = "float64"
    quick: Quick = lambda v: type(v) is float or type(v) is int

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) not in (int, float):
            raise mismatch(value, self.go, place)
        return value

    def zero(self) -> Any:
        return 0


@dataclass(frozen=True)
class IntOrString:
    go: str = "intstr.IntOrString"
    quick: Quick = lambda v: type(v) is str or INT32.quick(v)

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is str:
            return value
        return INT32.convert(value, Place(place.path, "", "", place.unknown))

    def zero(self) -> Any:
        return 0


@remembered(4096)
def _is_canonical(value: str) -> bool:
    try:
        return canonical(value) == value
    except ValueError:
        return False


@remembered(4096)
def _is_canonical_milli(value: str) -> bool:
    try:
        return canonical(value, milli=True) == value
    except ValueError:
        return False


@dataclass(frozen=True)
class QuantityType:
    """Amounts, written canonically: 0.5 is stored as 500m. Those of a resource list are whole thousandths."""

    go: str = "resource.Quantity"
    quick: Quick = lambda v: type(v) is str and _is_canonical(v)
    milli: bool = False

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is not str and type(value) not in (int, float):
            raise mismatch(value, self.go, place)
        try:
            return canonical(value, milli=self.milli)
        except ValueError as error:
            raise DecodeError(str(error)) from None

    def zero(self) -> Any:
        return "0"


RESOURCE_AMOUNT = QuantityType(quick=lambda v: type(v) is str and _is_canonical_milli(v), milli=True)


@dataclass(frozen=True)
class TimeType:
    """RFC 3339, stored in UTC with whole seconds (metav1.Time) or with microseconds (metav1.MicroTime)."""

    go: str
    micro: bool
    quick: Quick

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is not str:
            # metav1.Time decodes through a string of its own, so the message has no path.
            raise DecodeError(f"json: cannot unmarshal {json_kind(value)} into Go value of type string")
        try:
            if not _RFC3339.fullmatch(value):  # Python reads more: weeks, days of no month, times without seconds
                raise ValueError
            time = datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            layout = "2006-01-02T15:04:05.000000Z07:00" if self.micro else "2006-01-02T15:04:05Z07:00"
            raise DecodeError(f'parsing time "{value}" as "{layout}": {_unparsed(value)}') from None
        return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if self.micro else "%Y-%m-%dT%H:%M:%SZ")

    def zero(self) -> Any:
        return None


_LAYOUT = (("\\d{4}", "2006"), ("-", "-"), ("\\d\\d", "01"), ("-", "-"), ("\\d\\d", "02"), ("T", "T"),
           ("\\d\\d", "15"), (":", ":"), ("\\d\\d", "04"), (":", ":"), ("\\d\\d(?:\\.\\d+)?", "05"),
           ("Z|[+-]\\d\\d:\\d\\d", "Z07:00"))  # fmt: skip


def _unparsed(value: str) -> str:
    """Which part of the layout Go could not find: the tail of its time.ParseError."""
    rest = value
    for pattern, element in _LAYOUT:
        found = re.match(pattern, rest)
        if not found:
            return f'cannot parse "{rest}" as "{element}"'
        rest = rest[found.end() :]
    return f'extra text: "{rest}"' if rest else "out of range"


def _is_time(value: Any, form: re.Pattern[str]) -> bool:
    """Whether a value is a time as it is stored. The form alone would let the 31st of February pass."""
    if type(value) is not str or form.fullmatch(value) is None:
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


TIME = TimeType("v1.Time", False, lambda v: _is_time(v, _TIME))
MICRO_TIME = TimeType("v1.MicroTime", True, lambda v: _is_time(v, _MICRO_TIME))


@dataclass(frozen=True)
class Bytes:
    """Base64 in JSON."""

    go: str = "[]uint8"
    quick: Quick = lambda v: type(v) is str and _base64_error(v) is None

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is not str:
            raise mismatch(value, self.go, place)
        at = _base64_error(value)
        if at is not None:
            raise DecodeError(f"illegal base64 data at input byte {at}")
        return value

    def zero(self) -> Any:
        return ""


_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_BASE64_CHARS = re.compile(r"[A-Za-z0-9+/]*")


def _base64_error(value: str) -> int | None:
    """The index of the first wrong character, as Go's base64 decoder reports it; None when all is well."""
    text = value.replace("\n", "").replace("\r", "") if "\n" in value or "\r" in value else value
    if _BASE64.fullmatch(text):
        return None
    found = _BASE64_CHARS.match(value)
    return found.end() if found else 0


@dataclass(frozen=True)
class Raw:
    """Any JSON at all (RawExtension, JSONSchemaProps' defaults, managed fields)."""

    go: str = "interface {}"
    quick: Quick = lambda _: True

    def convert(self, value: Any, place: Place) -> Any:
        return value

    def zero(self) -> Any:
        return None


RAW = Raw()


@dataclass
class ListOf:
    item: Type
    go: str = field(init=False)
    quick: Quick = field(init=False)

    def __post_init__(self) -> None:
        self.go = f"[]{self.item.go}"
        item = self.item

        def quick(value: Any) -> bool:
            if type(value) is not list:
                return False
            check = item.quick
            for element in value:  # noqa: SIM110 - all() with a generator costs twice as much
                if not check(element):
                    return False
            return True

        self.quick = quick

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is not list:
            raise mismatch(value, self.go, place)
        convert, zero = self.item.convert, self.item.zero
        return [zero() if v is None else convert(v, place.at(f"[{i}]")) for i, v in enumerate(value)]

    def zero(self) -> Any:
        return []


@dataclass
class MapOf:
    value: Type
    go: str = field(init=False)
    quick: Quick = field(init=False)

    def __post_init__(self) -> None:
        self.go = f"map[string]{self.value.go}"
        of = self.value

        def quick(value: Any) -> bool:
            if type(value) is not dict:
                return False
            check = of.quick
            for element in value.values():  # noqa: SIM110
                if not check(element):
                    return False
            return True

        self.quick = quick

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is not dict:
            raise mismatch(value, self.go, place)
        convert, zero = self.value.convert, self.value.zero
        return {k: zero() if v is None else convert(v, place.at(f".{k}")) for k, v in value.items()}

    def zero(self) -> Any:
        return {}


@dataclass(frozen=True)
class Merge:
    """How strategic merge patch treats a field."""

    strategies: frozenset[str] = frozenset()
    key: str = ""


NO_MERGE = Merge()


@dataclass
class Struct:
    """A definition with properties. Fields are filled in after creation, since types refer to themselves.

    Required fields are those that Go always writes: one that is missing gets its zero ("", 0, []), as it does when Go
    decodes and encodes an object. Validation sees them so, and clients may rely on them. Others Go leaves out when
    they are zero (``omitempty``), unless it keeps them by pointer.
    """

    name: str
    go: str
    fields: dict[str, Type] = field(default_factory=dict)
    merges: dict[str, Merge] = field(default_factory=dict)
    quick: Quick = field(init=False)
    _plain: dict[str, type] = field(default_factory=dict)
    _required: set[str] = field(default_factory=set)
    _omitted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        plain, fields, required, omitted = self._plain, self.fields, self._required, self._omitted

        def quick(value: Any) -> bool:
            if type(value) is not dict:
                return False
            for name, element in value.items():
                if not element and name in omitted:
                    return False
                if type(element) is plain.get(name, quick):
                    continue
                of = fields.get(name)
                if of is None or not of.quick(element):
                    return False
            return not required or required <= value.keys()

        self.quick = quick

    def add(self, name: str, of: Type, merge: Merge, *, required: bool = False, omitted: bool = False) -> None:
        """``omitted`` if Go leaves the field out when it is zero."""
        self.fields[name] = of
        if required and isinstance(of, Scalar | Integer | IntOrString | ListOf):
            self._required.add(name)
        elif omitted and isinstance(of, Scalar | Integer | Number | Bytes | ListOf | MapOf):
            self._omitted.add(name)
        if merge != NO_MERGE:
            self.merges[name] = merge
        if isinstance(of, Scalar):
            self._plain[name] = of.python

    def convert(self, value: Any, place: Place) -> Any:
        if type(value) is not dict:
            raise mismatch(value, self.go, place)
        out = {}
        for name, element in value.items():
            of = self.fields.get(name)
            if of is None:
                if len(place.unknown) < MAX_STRICT_ERRORS:
                    place.unknown.append(place.field("", name).path)
            elif element is not None:
                kept = element if of.quick(element) else of.convert(element, place.field(self.name, name))
                if kept or name not in self._omitted:
                    out[name] = kept
        return {**{n: self.fields[n].zero() for n in self._required if n not in out}, **out}

    def zero(self) -> Any:
        return {name: self.fields[name].zero() for name in self._required}
