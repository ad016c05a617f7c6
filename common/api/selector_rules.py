"""A long selector, brought into a form whose match costs what the labels cost and not what the selector does.

A client may send thousands of requirements with a watch, and each change of each object is matched against them. So
those on one key are made one rule, and only the rules of keys that an object has are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.api.selectors import Requirement

MANY = 16
"""Requirements from which on rules are worth their making."""


@dataclass(slots=True)
class Rule:
    """All that is required of one key's value."""

    present: bool = False
    absent: bool = False
    allowed: frozenset[str] | None = None
    denied: frozenset[str] = frozenset()
    above: int | None = None
    below: int | None = None

    def add(self, requirement: Requirement) -> None:
        values = requirement.values
        match requirement.operator:
            case "=" | "in":
                self.present = True
                self.allowed = values if self.allowed is None else self.allowed & values
            case "exists":
                self.present = True
            case "!":
                self.absent = True
            case "gt":
                self.present = True
                bound = int(next(iter(values)))
                self.above = bound if self.above is None else max(self.above, bound)
            case "lt":
                self.present = True
                bound = int(next(iter(values)))
                self.below = bound if self.below is None else min(self.below, bound)

    def allows(self, value: str) -> bool:
        """Of a value that is there."""
        if self.absent or value in self.denied or (self.allowed is not None and value not in self.allowed):
            return False
        if self.above is None and self.below is None:
            return True
        try:
            number = int(value)
        except ValueError:
            return False
        return (self.above is None or number > self.above) and (self.below is None or number < self.below)


class Rules:
    """Of all keys of a selector."""

    __slots__ = ("_by_key", "_present")

    def __init__(self, requirements: Iterable[Requirement]) -> None:
        self._by_key: dict[str, Rule] = {}
        denied: dict[str, set[str]] = {}
        for requirement in requirements:
            rule = self._by_key.setdefault(requirement.key, Rule())
            if requirement.operator in ("!=", "notin"):
                denied.setdefault(requirement.key, set()).update(requirement.values)
            else:
                rule.add(requirement)
        for key, values in denied.items():
            self._by_key[key].denied = frozenset(values)
        self._present = [key for key, rule in self._by_key.items() if rule.present]

    def match(self, labels: Mapping[str, str]) -> bool:
        if len(self._present) > len(labels) or any(key not in labels for key in self._present):
            return False
        rules = self._by_key
        keys = labels if len(labels) <= len(rules) else rules
        return all(rules[key].allows(labels[key]) for key in keys if key in rules and key in labels)
