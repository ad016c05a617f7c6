"""Label and field selectors, as text (``a=b,c in (d,e),!f``) and as LabelSelector objects.

Grammar: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
and …/field-selectors/. Parsing raises ValueError with upstream's text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.api.names import is_label_value, is_qualified_name
from common.api.selector_rules import MANY, Rules
from common.remember import remembered

_TOKEN = re.compile(r"\s*(?:(==|!=|[=!(),<>])|([^\s=!(),<>]+))")
_END = ("end", "")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key. ``operator``: ``=``, ``!=``, ``in``, ``notin``, ``exists``, ``!``, ``gt``, ``lt``."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        try:
            left, right = int(value), int(next(iter(self.values)))
        except ValueError:
            return False
        return left > right if self.operator == "gt" else left < right

    def __str__(self) -> str:
        values = ",".join(sorted(self.values))
        match self.operator:
            case "=" | "!=":
                return f"{self.key}{self.operator}{values}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({values})"
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case _:
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{values}"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; none at all matches everything. ``nothing`` matches nothing."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    _rules: Rules | None = field(init=False, repr=False, compare=False, default=None)
    """Of many requirements."""

    def __post_init__(self) -> None:
        if len(self.requirements) >= MANY:
            object.__setattr__(self, "_rules", Rules(self.requirements))

    @property
    def everything(self) -> bool:
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        if self._rules is not None:
            return self._rules.match(labels)
        return all(r.matches(labels) for r in self.requirements)

    def exact(self, key: str) -> str | None:
        """The value that ``key`` must equal, if the selector says so (for indexes)."""
        for r in self.requirements:
            if r.key == key and r.operator in ("=", "in") and len(r.values) == 1:
                return next(iter(r.values))
        return None

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


class _Parser:
    """A label selector's text, one token at a time."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            assert match, text  # the two alternatives cover every character
            self.tokens.append(("symbol", match[1]) if match[1] else ("word", match[2]))
            at = match.end()
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        if self.peek() == _END:
            return found
        while True:
            found.append(self.requirement())
            kind, text = self.take()
            if kind == "end":
                return found
            if text != ",":
                raise ValueError(f"found '{text}', expected: ',' or 'end of string'")
            if self.peek() == _END:
                raise ValueError("found '', expected: identifier after ','")

    def requirement(self) -> Requirement:
        kind, text = self.take()
        if text == "!":
            return Requirement(self.key(*self.take()), "!")
        key = self.key(kind, text)
        kind, text = self.peek()
        if kind == "end" or text == ",":
            return Requirement(key, "exists")
        self.take()
        if text in ("=", "==", "!="):
            return Requirement(key, "!=" if text == "!=" else "=", frozenset([self.value(key)]))
        if text in ("<", ">"):
            value = self.value(key)
            try:
                int(value)
            except ValueError:
                raise ValueError(
                    f'values[0][{key}]: Invalid value: "{value}": '
                    "for 'Gt', 'Lt' operators, the value must be an integer"
                ) from None
            return Requirement(key, "gt" if text == ">" else "lt", frozenset([value]))
        if text in ("in", "notin"):
            return Requirement(key, text, self.values(key))
        raise ValueError(f"found '{text}', expected: in, notin, =, ==, !=, gt, lt")

    def key(self, kind: str, text: str) -> str:
        if kind != "word":
            raise ValueError(f"found '{text}', expected: !, identifier, or 'end of string'")
        if errors := is_qualified_name(text):
            raise ValueError(f'key: Invalid value: "{text}": {"; ".join(errors)}')
        return text

    def value(self, key: str) -> str:
        kind, text = self.peek()
        if kind == "end" or text == ",":
            return ""
        self.take()
        if kind != "word":
            raise ValueError(f"found '{text}', expected: identifier")
        return _checked(key, text, 0)

    def values(self, key: str) -> frozenset[str]:
        _, text = self.take()
        if text != "(":
            raise ValueError(f"found '{text}' expected: '('")
        values: list[str] = []
        current = ""
        while True:
            kind, text = self.take()
            if kind == "word" and not current:
                current = _checked(key, text, len(values))
            elif kind == "symbol" and text in (",", ")"):
                values.append(current)
                current = ""
                if text == ")":
                    return frozenset(values)
            else:
                raise ValueError(f"found '{text}', expected: ',', or ')'")


def _checked(key: str, value: str, at: int) -> str:
    if errors := is_label_value(value):
        raise ValueError(f'values[{at}][{key}]: Invalid value: "{value}": {"; ".join(errors)}')
    return value


@remembered(512)
def parse_label_selector(text: str) -> Selector:
    """``a=b,c in (d,e),!f,g``. The empty text selects everything."""
    return Selector(tuple(_Parser(text).requirements()))


_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def label_selector_from(selector: Any) -> Selector:
    """Of a LabelSelector (struct or dict). None selects nothing, an empty one everything."""
    if selector is None:
        return NOTHING
    if not isinstance(selector, dict):
        selector = selector.to_dict()
    found = [Requirement(k, "=", frozenset([v])) for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        operator = _OPERATORS.get(expression["operator"])
        if operator is None:
            raise ValueError(f'"{expression["operator"]}" is not a valid label selector operator')
        found.append(Requirement(expression["key"], operator, frozenset(expression.get("values") or ())))
    return Selector(tuple(found))


def selector_of_map(labels: Mapping[str, str] | None) -> Selector:
    """Of a Service's or ReplicationController's plain map. None and {} select nothing."""
    if not labels:
        return NOTHING
    return Selector(tuple(Requirement(k, "=", frozenset([v])) for k, v in sorted(labels.items())))


@remembered(512)
def parse_field_selector(text: str) -> Selector:
    """``metadata.name=a,status.phase!=Running``. Backslash escapes ``,``, ``=`` and itself in values."""
    found = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        match = re.match(r"(.*?)(?<!\\)(==|!=|=)(.*)", term)
        if not match:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        value = re.sub(r"\\([\\,=])", r"\1", match[3])
        found.append(Requirement(match[1], "!=" if match[2] == "!=" else "=", frozenset([value])))
    return Selector(tuple(found))
