"""Laws of the patch types, for any object."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply_patch
from apiserver.resources.table import RESOURCES
from apiserver.schema.compile import type_of_resource
from common.api.merge_patch import merge_patch
from common.api.status import BadRequest, Invalid, RequestEntityTooLarge
from tests.unit.apiserver.strategic_diff import diff

POD = next(r for r in RESOURCES if r.qualified == "pods")
DEPLOYMENT = next(r for r in RESOURCES if r.qualified == "deployments.apps")


def applied(kind: str, current: Any, patch: Any, resource: Any = POD) -> Any:
    before = copy.deepcopy(current)
    result = apply_patch(kind, current, orjson.dumps(patch), resource)
    assert current == before, "the present object is shared"
    return result


# -- JSON, of any shape

keys = st.sampled_from(["a", "b", "c", "a/b", "m~n", "", "é"])
scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["", "x", "y"])
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3), max_leaves=12)
objects = st.dictionaries(keys, values, max_size=4)
solid = st.recursive(
    scalars.filter(lambda v: v is not None),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3),
    max_leaves=12,
)


def without_nulls(value: Any) -> Any:
    """Null in a map says nothing that a merge patch could keep. Lists are values as they are."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return value


plain_objects = objects.map(without_nulls)


def merge_diff(before: Any, after: Any) -> Any:
    """The smallest merge patch (RFC 7396) from one object to another."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    patch = {k: None for k in before if k not in after}
    return patch | {k: merge_diff(before.get(k), v) for k, v in after.items() if k not in before or before[k] != v}


# The examples of RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_is_the_rfcs(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@given(objects, objects)
def test_a_merge_patch_twice_is_as_once(current: Any, patch: Any) -> None:
    once = applied(MERGE_PATCH, current, patch)
    assert applied(MERGE_PATCH, once, patch) == once


@given(plain_objects, plain_objects)
def test_a_merge_patch_can_make_anything_of_anything(current: Any, wanted: Any) -> None:
    assert applied(MERGE_PATCH, current, merge_diff(current, wanted)) == wanted


@given(objects, objects)
def test_a_merge_patch_touches_what_it_names_and_nothing_else(current: Any, patch: Any) -> None:
    result = applied(MERGE_PATCH, current, patch)
    for key in current.keys() | patch.keys():
        if key not in patch:
            assert result[key] == current[key]
        elif patch[key] is None:
            assert key not in result
        elif not isinstance(patch[key], dict):
            assert result[key] == patch[key]


@given(plain_objects, objects, objects)
def test_two_merge_patches_of_different_fields_commute(current: Any, one: Any, other: Any) -> None:
    other = {k: v for k, v in other.items() if k not in one}
    first = applied(MERGE_PATCH, applied(MERGE_PATCH, current, one), other)
    assert first == applied(MERGE_PATCH, applied(MERGE_PATCH, current, other), one)


@given(objects, objects)
def test_a_json_patch_can_make_anything_of_anything(current: Any, wanted: Any) -> None:
    steps = jsonpatch.make_patch(current, wanted).patch
    assert applied(JSON_PATCH, current, steps) == wanted


pointers = st.lists(keys | st.integers(-1, 3).map(str) | st.just("-"), max_size=3).map(
    lambda parts: "".join("/" + p.replace("~", "~0").replace("/", "~1") for p in parts)
)
steps = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), "path": pointers},
    optional={"value": values, "from": pointers},
)


@given(objects, st.lists(steps | values, max_size=4) | values)
def test_a_json_patch_is_done_wholly_or_refused(current: Any, patch: Any) -> None:
    try:
        result = applied(JSON_PATCH, current, patch)
    except (BadRequest, Invalid, RequestEntityTooLarge):
        return
    assert isinstance(result, dict)


@given(objects, st.lists(steps, max_size=3))
def test_a_test_that_fails_leaves_all_as_it_was(current: Any, patch: Any) -> None:
    with pytest.raises((BadRequest, Invalid)):
        applied(JSON_PATCH, current, [*patch, {"op": "test", "path": "/nowhere/at/all", "value": 1}])


# -- Pods and Deployments

words = st.sampled_from(["a", "b", "c", "d", "e"])
texts = st.dictionaries(words, st.sampled_from(["1", "2"]), max_size=3)


def by(key: str, identities: Any, **fields: Any) -> Any:
    """A list of maps, each with its own ``key``."""
    element = st.fixed_dictionaries({key: identities}, optional=fields)
    return st.lists(element, max_size=4, unique_by=lambda e: e[key])


volumes = by("name", words, emptyDir=st.just({}), configMap=st.fixed_dictionaries({"name": words})).map(
    # one source each, as the API demands
    lambda vs: [{k: v for k, v in volume.items() if k != "configMap" or "emptyDir" not in volume} for volume in vs]
)
containers = by(
    "name",
    words,
    image=words,
    args=st.lists(words, max_size=2),
    env=by("name", words, value=words, valueFrom=st.just({"fieldRef": {"fieldPath": "x"}})),
    ports=by("containerPort", st.integers(1, 4), name=words, protocol=st.just("TCP")),
    volumeMounts=by("mountPath", words.map("/".__add__), name=words),
    resources=st.fixed_dictionaries({}, optional={"limits": texts, "requests": texts}),
    securityContext=st.fixed_dictionaries({}, optional={"capabilities": st.just({"add": ["x"]}), "runAsUser": words}),
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "containers": containers,
        "initContainers": containers,
        "volumes": volumes,
        "nodeSelector": texts,
        "tolerations": st.lists(st.fixed_dictionaries({"key": words}), max_size=2),
        "hostAliases": by("ip", words, hostnames=st.lists(words, max_size=2)),
        "imagePullSecrets": by("name", words),
        "restartPolicy": words,
    },
)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "labels": texts,
        "annotations": texts,
        "finalizers": st.lists(words, max_size=4, unique=True),
        "ownerReferences": by("uid", words, name=words, kind=words),
    },
)
pods = st.fixed_dictionaries({"metadata": metadata, "spec": specs})
strategies = st.sampled_from(
    [
        {"type": "Recreate"},
        {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
    ]
)
deployments = st.fixed_dictionaries(
    {"metadata": metadata},
    optional={
        "spec": st.fixed_dictionaries(
            {}, optional={"strategy": strategies, "replicas": st.integers(0, 2), "template": pods}
        )
    },
)


@given(pods, pods)
def test_a_strategic_patch_can_make_any_pod_of_any(current: Any, wanted: Any) -> None:
    assert applied(STRATEGIC_MERGE_PATCH, current, diff(current, wanted, type_of_resource(POD))) == wanted


@given(deployments, deployments)
def test_a_strategic_patch_can_make_any_deployment_of_any(current: Any, wanted: Any) -> None:
    patch = diff(current, wanted, type_of_resource(DEPLOYMENT))
    assert applied(STRATEGIC_MERGE_PATCH, current, patch, DEPLOYMENT) == wanted


@given(pods, pods, pods)
def test_a_strategic_patch_twice_is_as_once(current: Any, before: Any, after: Any) -> None:
    """Even one that was computed from something else than it meets."""
    patch = diff(before, after, type_of_resource(POD))
    once = applied(STRATEGIC_MERGE_PATCH, current, patch)
    assert applied(STRATEGIC_MERGE_PATCH, once, patch) == once


@given(pods, pods, words)
def test_what_somebody_else_added_stays(before: Any, after: Any, name: str) -> None:
    """A container, a label and a finalizer that the patch's author never saw."""
    patch = diff(before, after, type_of_resource(POD))
    current = copy.deepcopy(before)
    current["spec"].setdefault("containers", []).append({"name": f"other-{name}", "image": "i"})
    current["metadata"].setdefault("labels", {})["other"] = name
    current["metadata"].setdefault("finalizers", []).append(f"other-{name}")
    result = applied(STRATEGIC_MERGE_PATCH, current, patch)
    spec, meta = result["spec"], result["metadata"]
    if "containers" in after["spec"] and "containers" in before["spec"]:
        assert {"name": f"other-{name}", "image": "i"} in spec["containers"]
        assert [c for c in spec["containers"] if not c["name"].startswith("other")] == after["spec"]["containers"]
    if "labels" in after["metadata"] and "labels" in before["metadata"]:
        assert meta["labels"] == {**after["metadata"]["labels"], "other": name}
    if "finalizers" in after["metadata"] and "finalizers" in before["metadata"]:
        assert f"other-{name}" in meta["finalizers"]


@given(pods, st.dictionaries(words, values, max_size=2), st.sampled_from(["merge", "replace", "delete", "x", 1]))
def test_directives_of_any_shape_are_done_or_refused(current: Any, patch: Any, directive: Any) -> None:
    for shaped in (
        {"$patch": directive, **patch},
        {"spec": {"$patch": directive, **patch}},
        {"spec": {"containers": [{"$patch": directive, **patch}]}},
        {"spec": {"containers": [{"$patch": directive, "name": "a"}, {"name": "b", "$retainKeys": directive}]}},
        {"spec": {"$setElementOrder/containers": patch, "$deleteFromPrimitiveList/containers": directive}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": [*patch.values()], "$retainKeys": [*patch.values()]}},
        {"spec": {"$setElementOrder/containers": [*patch.values()], "containers": [*patch.values()]}},
    ):
        try:
            result = applied(STRATEGIC_MERGE_PATCH, current, shaped)
        except (BadRequest, Invalid):
            continue
        assert isinstance(result, dict)
        assert b"$patch" not in orjson.dumps(result) or directive == "x"


@given(deployments, deployments, words)
def test_a_map_that_is_one_of_several_kinds_keeps_only_what_the_patch_names(before: Any, after: Any, name: str) -> None:
    """``strategy`` and a volume retain keys: what belongs to the kind that was goes, whoever put it there."""
    old, new = (o.get("spec", {}).get("strategy") for o in (before, after))
    if old is None or new is None or old == new:
        return
    patch = diff(before, after, type_of_resource(DEPLOYMENT))
    current = copy.deepcopy(before)
    current["spec"]["strategy"][f"other-{name}"] = {}
    assert applied(STRATEGIC_MERGE_PATCH, current, patch, DEPLOYMENT)["spec"]["strategy"] == new


@given(st.dictionaries(words, solid, max_size=3), st.dictionaries(words, solid, max_size=3))
def test_a_value_of_another_type_replaces(before: Any, after: Any) -> None:
    """Where the schema knows nothing, a strategic patch is a merge patch."""
    current, patch = {"metadata": {"x": before}}, {"metadata": {"x": after}}
    assert applied(STRATEGIC_MERGE_PATCH, current, patch) == applied(MERGE_PATCH, current, patch)
