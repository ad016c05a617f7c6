"""Objects of any kind: fields from the schema, values from what the server's own code speaks of, some of them wrong."""

from __future__ import annotations

import ast
import copy
import random
from functools import cache
from pathlib import Path
from typing import Any

from apiserver.resources.table import RESOURCES
from apiserver.schema.compile import type_of_resource
from apiserver.schema.model import (
    Bytes,
    Integer,
    IntOrString,
    ListOf,
    MapOf,
    Number,
    QuantityType,
    Scalar,
    Struct,
    Type,
)
from apiserver.types import Resource
from tests.fuzz.bases import BASES

ROOT = Path(__file__).parents[2] / "apiserver"
STRANGE = [
    "",
    " ",
    "-",
    ".",
    "..",
    "/",
    "a/b/c",
    "a" * 64,
    "a" * 254,
    "é",
    "\0",
    "\ud7ff",
    "%zz",
    "null",
    "0x1",
    "A_b.c-D",
]
TEXTS = [
    "a",
    "b",
    "default",
    "x/y",
    "http",
    "10.0.0.1",
    "10.0.0.0/8",
    "::1",
    "fd00::/64",
    "2020-01-01T00:00:00Z",
    "1",
    "80",
]
AMOUNTS = ["1", "0", "-1", "1.5", "100m", "1Gi", "1e3", "9" * 30, "1e99", "abc", "", "1Ki1", 1, 1.5, -3, 1 << 40]
NUMBERS = [0, 1, -1, 2, 3, 80, 443, 65535, 65536, 30000, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63)]
TIMES = ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00.000001Z", "x", None, "9999-12-31T23:59:59Z", {}]
WRONG = [None, True, 0, 1.5, "x", [], {}, [None], {"a": None}, [[]], {"": ""}, [{}], 1e308, 2**64]


@cache
def words() -> list[str]:
    """Every word that the server's tables and checks know: names of policies, operators, reasons."""
    found: set[str] = set()
    for file in [*ROOT.glob("resources/**/*.py"), *ROOT.glob("admission/*.py"), *ROOT.glob("allocation/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            word = node.value if isinstance(node, ast.Constant) else None
            if isinstance(word, str) and 0 < len(word) < 60 and " " not in word:
                found.add(word)
    return sorted(found)


class Maker:
    """Makes objects from one seed. ``wrong`` is how often a value has the wrong type, ``fill`` how full objects are."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.wrong = self.random.choice([0.0, 0.0, 0.01, 0.1])
        self.fill = self.random.choice([0.1, 0.3, 0.6])

    def resource(self, *, verb: str = "create") -> Resource:
        return self.random.choice([r for r in RESOURCES if verb in r.verbs])

    def object(self, resource: Resource, namespace: str = "default", name: str = "") -> dict[str, Any]:
        kind = type_of_resource(resource)
        assert isinstance(kind, Struct)
        base = BASES.get(resource.qualified)
        near = base is not None and self.random.random() < 0.7
        obj: dict[str, Any] = self.near(copy.deepcopy(base or {}), kind) if near else {}
        for field in () if near else kind.fields:
            if field in ("spec", "metadata") or self.random.random() < max(self.fill, 0.5):
                obj[field] = self.value(kind.fields[field], 1)
        obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
        if not isinstance(obj.get("metadata"), dict):
            obj["metadata"] = {}
        metadata = obj["metadata"]
        if self.random.random() < 0.95:
            metadata["name"] = name or f"f{self.random.randrange(1 << 40)}"
        for field in ("resourceVersion", "uid", "namespace", "generateName", "selfLink", "managedFields"):
            if self.random.random() < 0.9:
                metadata.pop(field, None)
        if resource.namespaced and self.random.random() < 0.5:
            metadata["namespace"] = namespace
        return obj

    def near(self, obj: dict[str, Any], kind: Struct) -> dict[str, Any]:
        """A right object with a few fields that are not its own."""
        for _ in range(self.random.choice([0, 1, 1, 2, 3, 6])):
            at, of = obj, kind
            while True:
                name = self.random.choice([*of.fields, *(f for f in at if f in of.fields)] or [""])
                if not name:
                    break
                inner, there = of.fields[name], at.get(name)
                if isinstance(inner, ListOf) and there and isinstance(there, list) and self.random.random() < 0.8:
                    inner, there = inner.item, self.random.choice(there)
                if isinstance(inner, Struct) and isinstance(there, dict) and self.random.random() < 0.85:
                    at, of = there, inner
                    continue
                if self.random.random() < 0.15:
                    at.pop(name, None)
                else:
                    at[name] = self.value(of.fields[name], 4)
                break
        return obj

    def value(self, kind: Type, depth: int) -> Any:
        rand = self.random
        if rand.random() < self.wrong:
            return copy.deepcopy(rand.choice(WRONG))  # what is made is changed in place
        if isinstance(kind, Struct):
            return self.struct(kind, depth)
        if isinstance(kind, ListOf):
            return [self.value(kind.item, depth + 1) for _ in range(rand.choice([0, 1, 1, 2, 3]))]
        if isinstance(kind, MapOf):
            return {self.text(): self.value(kind.value, depth + 1) for _ in range(rand.choice([0, 1, 2]))}
        if isinstance(kind, QuantityType):
            return rand.choice(AMOUNTS)
        if isinstance(kind, IntOrString):
            return rand.choice([rand.choice(NUMBERS), self.text(), "50%", "101%", "-1%"])
        if isinstance(kind, Integer):
            return rand.choice([n for n in NUMBERS if kind.low <= n <= kind.high] or [0])
        if isinstance(kind, Number):
            return rand.choice([*NUMBERS, 1.5])
        if isinstance(kind, Bytes):
            return rand.choice(["", "YQ==", "YQ", "%%"])
        if isinstance(kind, Scalar) and kind.python is bool:
            return rand.random() < 0.5
        if isinstance(kind, Scalar):
            return self.text()
        return rand.choice(
            ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00.000001Z", "x", None, "9999-12-31T23:59:59Z", {}]
        )

    def struct(self, kind: Struct, depth: int) -> dict[str, Any]:
        fill = self.fill * (1.0 if depth < 4 else 0.6 if depth < 7 else 0.15)
        made = {}
        for name, of in kind.fields.items():
            required = name in kind._required
            if self.random.random() < (0.9 if required and depth < 12 else fill if depth < 12 else 0):
                made[name] = self.value(of, depth + 1)
        return made

    def text(self) -> str:
        kind = self.random.random()
        if kind < 0.5:
            return self.random.choice(words())
        return self.random.choice(TEXTS if kind < 0.9 else STRANGE)


def smaller(obj: Any, fails: Any, budget: int = 400) -> Any:
    """A part of ``obj`` that still fails: fields and elements are left out as long as that is so."""
    progress = True
    while progress and budget > 0:
        progress = False
        for path in sorted(_paths(obj), key=len):
            candidate = _without(obj, path)
            budget -= 1
            if budget > 0 and fails(candidate):
                obj, progress = candidate, True
                break
    return obj


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, inner in items:
        found += [(*path, key), *_paths(inner, (*path, key))]
    return found


def _without(value: Any, path: tuple[Any, ...]) -> Any:
    head, *rest = path
    if isinstance(value, dict):
        if not rest:
            return {k: v for k, v in value.items() if k != head}
        return {k: _without(v, tuple(rest)) if k == head else v for k, v in value.items()}
    if not rest:
        return [v for i, v in enumerate(value) if i != head]
    return [_without(v, tuple(rest)) if i == head else v for i, v in enumerate(value)]
