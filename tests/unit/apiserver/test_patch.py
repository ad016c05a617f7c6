"""PATCH in its three forms."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.patch import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply_patch
from apiserver.resources.table import RESOURCES
from common.api.status import BadRequest, Invalid, StatusError, UnsupportedMediaType

POD = next(r for r in RESOURCES if r.qualified == "pods")
DEPLOYMENT = next(r for r in RESOURCES if r.qualified == "deployments.apps")
CURRENT: dict[str, Any] = {
    "metadata": {"finalizers": ["a", "b"], "labels": {"x": "y"}},
    "spec": {
        "containers": [
            {"name": "a", "image": "1", "ports": [{"containerPort": 80}], "args": ["p"]},
            {"name": "b", "image": "2"},
        ],
        "tolerations": [{"key": "z"}],
    },
}


def patched(patch: Any, content_type: str = STRATEGIC_MERGE_PATCH, current: Any = None, resource: Any = POD) -> Any:
    current = CURRENT if current is None else current
    before = copy.deepcopy(current)
    result = apply_patch(content_type, current, json.dumps(patch).encode(), resource)
    assert current == before
    return result


def names(pod: Any) -> list[str]:
    return [c["name"] for c in pod["spec"]["containers"]]


def test_maps_merge_and_null_deletes() -> None:
    assert patched({"metadata": {"labels": {"x": None, "n": "1"}}})["metadata"]["labels"] == {"n": "1"}


def test_lists_with_a_merge_key_merge_by_it() -> None:
    result = patched({"spec": {"containers": [{"name": "b", "image": "3"}, {"name": "c", "image": "4"}]}})
    assert result["spec"]["containers"] == [
        CURRENT["spec"]["containers"][0],
        {"name": "b", "image": "3"},
        {"name": "c", "image": "4"},
    ]


def test_other_lists_are_replaced() -> None:
    spec = patched({"spec": {"tolerations": [], "containers": [{"name": "a", "args": ["q"]}]}})["spec"]
    assert spec["tolerations"] == []
    assert spec["containers"][0]["args"] == ["q"]


def test_primitive_lists_with_the_merge_strategy_unite() -> None:
    assert set(patched({"metadata": {"finalizers": ["c", "a"]}})["metadata"]["finalizers"]) == {"a", "b", "c"}
    assert patched({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}})["metadata"]["finalizers"] == ["b"]


def test_long_lists_are_merged_by_their_keys_and_not_pair_by_pair() -> None:
    """Pair by pair, these two would take a minute."""
    finalizers = [f"a.b/{i}" for i in range(20_000)]
    owners = [{"uid": str(i), "name": "n"} for i in range(20_000)]
    current = {"metadata": {"finalizers": finalizers[:15_000], "ownerReferences": owners[:15_000]}}
    metadata = {"finalizers": finalizers[5_000:], "ownerReferences": owners[5_000:]}
    merged = patched({"metadata": metadata}, current=current)["metadata"]
    assert sorted(merged["finalizers"]) == sorted(finalizers)
    assert sorted(o["uid"] for o in merged["ownerReferences"]) == sorted(o["uid"] for o in owners)
    left = patched({"metadata": {"$deleteFromPrimitiveList/finalizers": finalizers[:14_999]}}, current=current)
    assert left["metadata"]["finalizers"] == finalizers[14_999:15_000]


def test_patch_directives() -> None:
    assert names(patched({"spec": {"containers": [{"name": "b", "$patch": "delete"}]}})) == ["a"]
    assert names(patched({"spec": {"containers": [{"$patch": "replace"}, {"name": "q"}]}})) == ["q"]
    assert patched({"metadata": {"labels": {"$patch": "replace", "n": "1"}}})["metadata"]["labels"] == {"n": "1"}
    assert patched({"metadata": {"labels": {"$patch": "delete"}}})["metadata"]["labels"] == {}


def test_element_order() -> None:
    order = [{"name": "b"}, {"name": "a"}]
    assert names(patched({"spec": {"$setElementOrder/containers": order}})) == ["b", "a"]
    both = {"$setElementOrder/containers": order, "containers": [{"name": "b", "image": "3"}]}
    assert names(patched({"spec": both})) == ["b", "a"]


def test_retain_keys_drops_what_the_new_strategy_does_not_have() -> None:
    current = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert patched(patch, current=current, resource=DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_directives_never_end_up_in_the_object() -> None:
    volume = {"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {"medium": None}}
    result = patched({"spec": {"$setElementOrder/volumes": [{"name": "v"}], "volumes": [volume]}})
    assert result["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]


def test_an_element_without_its_merge_key_is_refused() -> None:
    with pytest.raises(BadRequest, match="map: map\\[image:q\\] does not contain declared merge key: name"):
        patched({"spec": {"containers": [{"image": "q"}]}})


def test_json_patch() -> None:
    change = [{"op": "replace", "path": "/spec/containers/0/image", "value": "9"}]
    assert patched(change, JSON_PATCH)["spec"]["containers"][0]["image"] == "9"


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ([{"op": "remove", "path": "/spec/nothing"}], 422),
        ([{"op": "test", "path": "/spec/tolerations/0/key", "value": "no"}], 422),
        ([{"op": "nonsense", "path": "/spec"}], 422),
        ({"spec": {}}, 400),
    ],
)
def test_json_patches_that_cannot_be_done(patch: Any, code: int) -> None:
    with pytest.raises(StatusError) as error:
        patched(patch, JSON_PATCH)
    assert error.value.code == code


def test_copies_do_not_fill_the_memory() -> None:
    doubling = [{"op": "copy", "from": "/spec", "path": f"/spec/x{i}"} for i in range(40)]
    with pytest.raises(Invalid):
        patched(doubling, JSON_PATCH)
    assert len(patched(doubling[:3], JSON_PATCH)["spec"]) == 5


@pytest.mark.parametrize("patch", [[1], ["x"], [{}], [{"op": "add", "path": 5, "value": 1}], [{"op": [], "path": ""}]])
def test_json_patches_of_the_wrong_shape(patch: Any) -> None:
    with pytest.raises(Invalid):
        patched(patch, JSON_PATCH)


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"finalizers": [{"a": 1}]}},
        {"spec": {"$setElementOrder/containers": 5}},
        {"spec": {"containers": [{"name": ["a"]}], "$setElementOrder/containers": [{"name": ["a"]}]}},
        {"spec": {"$retainKeys": [{}]}},
    ],
)
def test_strategic_patches_of_the_wrong_shape(patch: Any) -> None:
    with pytest.raises(BadRequest):
        patched(patch)


def test_an_object_cannot_be_patched_away() -> None:
    with pytest.raises(Invalid):
        patched([{"op": "replace", "path": "", "value": 1}], JSON_PATCH)


def test_bodies_and_types_that_are_no_patch() -> None:
    with pytest.raises(BadRequest):
        apply_patch(MERGE_PATCH, {}, b"{", POD)
    with pytest.raises(BadRequest):
        patched([], MERGE_PATCH)
    with pytest.raises(UnsupportedMediaType):
        patched({}, "application/apply-patch+yaml")


values = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=4),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=3), values, max_size=4)


def difference(source: Any, target: Any) -> Any:
    """The merge patch that leads from one object to another."""
    patch = {key: None for key in source if key not in target}
    for key, value in target.items():
        if key not in source:
            patch[key] = value
        elif isinstance(value, dict) and isinstance(source[key], dict):
            patch[key] = difference(source[key], value)
        elif source[key] != value or type(source[key]) is not type(value):
            patch[key] = value
    return patch


@given(objects, objects)
def test_a_computed_merge_patch_gives_its_target(source: dict[str, Any], target: dict[str, Any]) -> None:
    assert patched(difference(source, target), MERGE_PATCH, source) == target


containers = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcde"), "image": st.text(max_size=3)}),
    unique_by=lambda c: c["name"],
    max_size=5,
)


@given(containers, containers)
def test_a_computed_strategic_patch_gives_its_target(source: list[Any], target: list[Any]) -> None:
    """As kubectl apply computes it: changed elements, deletions, and the order wanted."""
    wanted = {c["name"] for c in target}
    patch = {
        "$setElementOrder/containers": [{"name": c["name"]} for c in target],
        "containers": [c for c in target if c not in source]
        + [{"name": c["name"], "$patch": "delete"} for c in source if c["name"] not in wanted],
    }
    once = patched({"spec": patch}, current={"spec": {"containers": source}})
    assert once == {"spec": {"containers": target}}
    assert patched({"spec": patch}, current=once) == once
