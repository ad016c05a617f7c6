"""The algebra of field sets, against plain sets of paths."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.managedfields import sets
from apiserver.managedfields.sets import Fields, FieldsError

Paths = frozenset[tuple[str, ...]]

ELEMENTS = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"s"', "i:0"])
PATHS = st.frozensets(st.lists(ELEMENTS, min_size=1, max_size=4).map(tuple), max_size=10)


def of(paths: Paths) -> Fields:
    fields: Fields = {}
    for path in paths:
        fields = sets.union(fields, sets.of_path(path))
    return fields


def members(fields: Fields) -> Paths:
    return frozenset(sets.paths(fields))


@given(PATHS)
def test_a_set_is_its_members(paths: Paths) -> None:
    assert members(of(paths)) == paths
    assert all(sets.has(of(paths), path) for path in paths)


@given(PATHS, PATHS)
def test_union_difference_intersection(a: Paths, b: Paths) -> None:
    assert members(sets.union(of(a), of(b))) == a | b
    assert members(sets.difference(of(a), of(b))) == a - b
    assert members(sets.intersection(of(a), of(b))) == a & b


@given(PATHS, PATHS)
def test_a_recursive_difference_takes_what_is_below(a: Paths, b: Paths) -> None:
    left = {path for path in a if not any(path[: len(gone)] == gone for gone in b)}
    assert members(sets.recursive_difference(of(a), of(b))) == left


@given(PATHS, PATHS)
def test_arguments_are_not_changed_and_kept_when_nothing_changes(a: Paths, b: Paths) -> None:
    one, two = of(a), of(b)
    before = orjson.dumps([one, two])
    results = [f(one, two) for f in (sets.union, sets.difference, sets.recursive_difference, sets.intersection)]
    assert orjson.dumps([one, two]) == before
    assert (results[0] is one) == (b <= a)
    assert (results[1] is one) == (not a & b)


@given(PATHS)
def test_fields_v1_goes_there_and_back(paths: Paths) -> None:
    fields = of(paths)
    assert sets.parse_root(orjson.loads(orjson.dumps(fields))) == fields


def test_foreign_spelling_is_canonical() -> None:
    raw = {'k:{ "protocol": "TCP", "port": 80 }': {".": {}, "f:name": {}}, "f:a": {".": {}}, "x:future": {}}
    assert sets.parse_root(raw) == {
        'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}},
        "f:a": {},
    }


@pytest.mark.parametrize(
    "raw", [[], {"f": {}}, {"fa": {}}, {"k:{": {}}, {"k:1": {}}, {"i:x": {}}, {"v:": {}}, {"f:a": 1}]
)
def test_what_is_no_field_set(raw: Any) -> None:
    with pytest.raises(FieldsError):
        sets.parse_root(raw)


def test_paths_as_conflicts_show_them() -> None:
    path = ("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}', "f:name")
    assert sets.display(path) == '.spec.ports[port=80,protocol="TCP"].name'
    assert sets.display(("f:metadata", "f:finalizers", 'v:"a/b"')) == '.metadata.finalizers[="a/b"]'
    assert sets.display(("f:x", "i:3")) == ".x[3]"


def test_members_come_before_what_is_below_them() -> None:
    fields = {"f:b": {}, "f:a": {".": {}, 'k:{"n":1}': {}, "f:z": {}}}
    assert list(sets.paths(fields)) == [("f:a",), ("f:b",), ("f:a", "f:z"), ("f:a", 'k:{"n":1}')]
