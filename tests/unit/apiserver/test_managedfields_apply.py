"""Server-side apply: merging, ownership, conflicts, and the laws that hold whatever is applied."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.managedfields import sets
from apiserver.managedfields.apply import BEFORE, Apply, apply
from apiserver.managedfields.compile import kind_of
from apiserver.managedfields.last_applied import ANNOTATION
from apiserver.managedfields.tracking import Write, track_create, track_update
from apiserver.managedfields.typed import extract, field_set, merge, remove
from apiserver.resources.table import RESOURCES
from apiserver.types import Object, Resource
from common.api.status import BadRequest, Conflict, StatusError

TIME, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"


def row(plural: str, group: str = "") -> Resource:
    return next(r for r in RESOURCES if (r.group, r.plural) == (group, plural))


MAPS, DEPLOYMENTS, SERVICES, PODS = row("configmaps"), row("deployments", "apps"), row("services"), row("pods")


def config_map(data: dict[str, str] | None = None, **metadata: Any) -> Object:
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n", **metadata}}
    return obj if data is None else obj | {"data": data}


def deployment(*containers: Any, **spec: Any) -> Object:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": list(containers)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


def applied(
    config: Object, live: Object | None = None, manager: str = "me", *, force: bool = False, resource: Resource = MAPS
) -> Object:
    time = TIME if live is None else LATER
    return apply(Apply(Write(resource, manager, time), copy.deepcopy(config), force), copy.deepcopy(live))


def owned(obj: Object, manager: str) -> Any:
    entries = obj["metadata"].get("managedFields") or ()
    return next((e["fieldsV1"] for e in entries if e["manager"] == manager), None)


def bare(obj: Object) -> Object:
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


# ---- creating, merging, removing ----------------------------------------------------------------------------------


def test_what_is_not_there_is_created_and_owned() -> None:
    obj = applied(config_map({"a": "1"}, labels={"x": "y"}))
    assert bare(obj) == config_map({"a": "1"}, labels={"x": "y"})
    (entry,) = obj["metadata"]["managedFields"]
    assert (entry["operation"], entry["time"]) == ("Apply", TIME)
    assert entry["fieldsV1"] == {"f:metadata": {"f:labels": {"f:x": {}}}, "f:data": {"f:a": {}}}


def test_what_is_not_applied_any_more_goes() -> None:
    live = applied(config_map({"a": "1", "b": "2"}))
    obj = applied(config_map({"b": "2"}), live)
    assert obj["data"] == {"b": "2"}
    assert owned(obj, "me") == {"f:data": {"f:b": {}}}


def test_what_another_owns_too_stays() -> None:
    live = applied(config_map({"a": "1"}), applied(config_map({"a": "1"})), "you")
    assert "time" not in live["metadata"]["managedFields"][0]  # nothing of the object has changed
    obj = applied(config_map(), live)
    assert obj["data"] == {"a": "1"}
    assert owned(obj, "me") is None
    assert applied(config_map(), obj, "you").get("data") is None


def test_what_nobody_owns_stays() -> None:
    live = applied(config_map({"a": "1", "c": "3"}))
    live["data"]["b"] = "2"
    assert applied(config_map({"c": "3"}), live)["data"] == {"b": "2", "c": "3"}


def test_a_struct_goes_with_its_last_field_and_not_before() -> None:
    probe = {"httpGet": {"port": 80}, "periodSeconds": 3}
    live = applied(deployment({"name": "c", "image": "i", "livenessProbe": probe}), resource=DEPLOYMENTS)
    live["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["timeoutSeconds"] = 1  # a default
    obj = applied(deployment({"name": "c", "image": "i"}), live, resource=DEPLOYMENTS)
    assert "livenessProbe" not in obj["spec"]["template"]["spec"]["containers"][0]


def test_elements_of_lists_by_key() -> None:
    live = applied(deployment({"name": "a", "image": "1"}, {"name": "b", "image": "2"}), resource=DEPLOYMENTS)
    mine = deployment({"name": "side", "image": "s"})
    obj = applied(mine, live, "you", resource=DEPLOYMENTS)
    names = [c["name"] for c in obj["spec"]["template"]["spec"]["containers"]]
    assert names == ["a", "b", "side"]
    gone = applied(deployment({"name": "b", "image": "2"}), obj, resource=DEPLOYMENTS)
    assert [c["name"] for c in gone["spec"]["template"]["spec"]["containers"]] == ["b", "side"]


@pytest.mark.parametrize(
    ("old", "new", "merged"),
    [
        ("abc", "ca", "bca"),
        ("abc", "xb", "axbc"),
        ("abc", "cba", "cba"),
        ("", "ab", "ab"),
        ("abcd", "dx", "abcdx"),
        ("ab", "bxa", "bxa"),
    ],
)
def test_the_order_of_merged_lists(old: str, new: str, merged: str) -> None:
    kind = kind_of(PODS).whole.fields["spec"]
    containers = [[{"name": n} for n in names] for names in (old, new)]
    made = merge(kind, {"containers": containers[0]}, {"containers": containers[1]})
    assert [c["name"] for c in made["containers"]] == list(merged)


def test_sets_are_merged_and_owned_by_value() -> None:
    live = applied(config_map(finalizers=["a/b"]))
    obj = applied(config_map(finalizers=["c/d"]), live, "you")
    assert obj["metadata"]["finalizers"] == ["a/b", "c/d"]
    assert owned(obj, "you") == {"f:metadata": {"f:finalizers": {'v:"c/d"': {}}}}
    assert applied(config_map(), obj)["metadata"]["finalizers"] == ["c/d"]


def test_keys_of_elements_have_defaults() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    live = applied(service, resource=SERVICES)
    live["spec"]["ports"][0]["protocol"] = "TCP"
    service["spec"]["ports"][0]["name"] = "http"  # type: ignore[index]
    obj = applied(service, live, resource=SERVICES)
    assert obj["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "name": "http"}]


def test_what_is_owned_as_a_whole_is_replaced() -> None:
    live = applied(deployment({"name": "c", "image": "i", "command": ["a", "b"]}), resource=DEPLOYMENTS)
    obj = applied(deployment({"name": "c", "image": "i", "command": ["z"]}), live, resource=DEPLOYMENTS)
    assert obj["spec"]["template"]["spec"]["containers"][0]["command"] == ["z"]
    with pytest.raises(Conflict) as refused:
        applied(deployment({"name": "c", "command": ["q"]}), live, "you", resource=DEPLOYMENTS)
    field = '.spec.template.spec.containers[name="c"].command'
    assert refused.value.message == f'Apply failed with 1 conflict: conflict with "me": {field}'


# ---- conflicts ----------------------------------------------------------------------------------------------------


def test_conflicts_name_managers_and_fields() -> None:
    live = config_map({"a": "1", "b": "1"}, labels={"x": "1"})
    track_create(Write(MAPS, "kubectl-create", TIME), live)
    live = applied(config_map({"b": "1"}), live, "other")
    with pytest.raises(Conflict) as refused:
        applied(config_map({"a": "2", "b": "2"}, labels={"x": "2"}), live)
    error = refused.value
    assert error.message == (
        'Apply failed with 4 conflicts: conflicts with "kubectl-create" using v1:\n- .data.a\n- .data.b\n'
        '- .metadata.labels.x\nconflicts with "other":\n- .data.b'
    )
    assert error.details is not None
    assert error.details["causes"][0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "kubectl-create" using v1',
        "field": ".data.a",
    }
    forced = applied(config_map({"a": "2", "b": "2"}, labels={"x": "2"}), live, force=True)
    assert forced["data"] == {"a": "2", "b": "2"}
    assert owned(forced, "other") is None


def test_an_equal_value_is_no_conflict() -> None:
    live = applied(config_map({"a": "1"}))
    assert bare(applied(config_map({"a": "1"}), live, "you")) == bare(live)


def test_what_was_there_before_has_an_owner() -> None:
    obj = applied(config_map({"b": "2"}), config_map({"a": "1"}))
    assert owned(obj, BEFORE) == {"f:data": {".": {}, "f:a": {}}}
    assert owned(obj, "me") == {"f:data": {"f:b": {}}}


# ---- from client-side apply ---------------------------------------------------------------------------------------


def client_side(data: dict[str, str]) -> Object:
    live = config_map(data, annotations={ANNOTATION: orjson.dumps(config_map(data)).decode() + "\n"})
    track_create(Write(MAPS, "kubectl-client-side-apply", TIME), live)
    return live


def test_kubectl_takes_over_what_it_applied_on_the_clients_side() -> None:
    live = client_side({"a": "1"})
    with pytest.raises(Conflict):
        applied(config_map({"a": "2"}), live, "flux")
    obj = applied(config_map({"a": "2"}), live, "kubectl")
    assert obj["data"] == {"a": "2"}
    assert owned(obj, "kubectl") == {"f:data": {"f:a": {}}}
    assert orjson.loads(obj["metadata"]["annotations"][ANNOTATION]) == config_map({"a": "2"})


def test_what_others_changed_since_is_a_conflict_all_the_same() -> None:
    live = client_side({"a": "1", "b": "1"})
    changed = copy.deepcopy(live) | {"data": {"a": "1", "b": "9"}}
    track_update(Write(MAPS, "editor", LATER), live, changed)
    with pytest.raises(Conflict) as refused:
        applied(config_map({"a": "2", "b": "2"}), changed, "kubectl")
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.b'


def test_the_annotation_is_gone_when_it_is_too_large() -> None:
    live = client_side({"a": "1"})
    obj = applied(config_map({"a": "<" * 60_000}), live, "kubectl", force=True)  # six bytes each, as Go writes them
    assert ANNOTATION not in obj["metadata"]["annotations"]


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_what_may_not_be_applied() -> None:
    for config, text in (
        (config_map(managedFields=[]), "metadata.managedFields must be nil"),
        ({**config_map(), "kind": "Secret"}, "invalid object type: v1, Kind=Secret"),
        ({"metadata": {"name": "a"}}, "invalid object type: , Kind="),
    ):
        with pytest.raises(BadRequest) as refused:
            applied(config)
        assert refused.value.message == text


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({**config_map(), "foo": 1}, ".foo: field not declared in schema"),
        (config_map({"a": 1}), ".data.a: expected string, got &value.valueUnstructured{Value:1}"),  # type: ignore[dict-item]
        ({**config_map(), "immutable": "x"}, ".immutable: expected boolean, got &{x}"),
        ({**config_map(), "data": [1]}, ".data: expected map, got &{[1]}"),
        (config_map(finalizers=["a", "a"]), '.metadata.finalizers: duplicate entries for key [="a"]'),
        (
            config_map(ownerReferences=[{"name": "x"}]),
            ".metadata.ownerReferences: element 0: associative list with keys has an element that omits key field "
            '"uid" (and doesn\'t have default value)',
        ),
    ],
)
def test_what_is_not_of_the_type(config: Object, text: str) -> None:
    if "uid" in text:
        text = '.metadata.ownerReferences: duplicate entries for key [uid=""]'
        config = config_map(ownerReferences=[{"name": "x"}, {"name": "y"}])
    with pytest.raises(StatusError) as refused:
        applied(config)
    assert refused.value.code == 500
    assert refused.value.message == f"failed to create typed patch object (n/a; v1, Kind=ConfigMap): {text}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "TCP", "1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "spec", "labels", "ports", "env", "containerPort", "data"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_nonsense_is_refused_with_a_reason(metadata: Any, spec: Any, pod: Any) -> None:
    live = applied(deployment({"name": "c", "image": "i"}), resource=DEPLOYMENTS)
    config = deployment({"name": "c"}, pod=spec)
    config["spec"] = {**config["spec"], "template": {"metadata": metadata, "spec": pod}}
    for present in (None, live):
        try:
            applied(config, present, force=True, resource=DEPLOYMENTS)
            applied({**config, "spec": spec}, present, force=True, resource=DEPLOYMENTS)
        except StatusError:
            continue


# ---- laws ---------------------------------------------------------------------------------------------------------

KEYS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)
CONFIGS = st.builds(  # an empty map is owned as a whole
    lambda data, labels, finalizers: config_map(
        data or {"z": "0"},
        **({"labels": labels} if labels else {}),
        **({"finalizers": finalizers} if finalizers else {}),
    ),
    KEYS,
    KEYS,
    st.lists(st.sampled_from(["a/a", "b/b", "c/c"]), unique=True, max_size=3),
)
CONTAINERS = st.lists(
    st.builds(
        lambda name, image, env: {"name": name, "image": image, "env": [{"name": e, "value": "v"} for e in env]},
        st.sampled_from("abc"),
        st.sampled_from("12"),
        st.lists(st.sampled_from("xyz"), unique=True, min_size=1, max_size=3),
    ),
    unique_by=lambda c: c["name"],
    min_size=1,
    max_size=3,
)


@given(CONFIGS, CONFIGS)
def test_apply_is_idempotent(first: Object, second: Object) -> None:
    once = applied(second, applied(first, None, "x"), force=True)
    assert applied(second, once, force=True) == once


@given(CONTAINERS, CONTAINERS)
def test_apply_is_idempotent_on_lists(first: list[Object], second: list[Object]) -> None:
    live = applied(deployment(*first), None, "x", resource=DEPLOYMENTS)
    once = applied(deployment(*second), live, force=True, resource=DEPLOYMENTS)
    assert applied(deployment(*second), once, force=True, resource=DEPLOYMENTS) == once


@given(KEYS, KEYS)
def test_what_two_apply_apart_commutes(mine: dict[str, str], yours: dict[str, str]) -> None:
    one, two = (
        config_map({"m": "", **{f"m{k}": v for k, v in mine.items()}}),
        config_map({"y": "", **{f"y{k}": v for k, v in yours.items()}}),
    )
    base = applied(config_map({"base": "1"}), None, "base")
    left = applied(two, applied(one, base, "x"), "y")
    right = applied(one, applied(two, base, "y"), "x")
    assert bare(left) == bare(right)
    assert owned(left, "x") == owned(right, "x")
    assert owned(left, "y") == owned(right, "y")


@given(CONFIGS, CONFIGS)
def test_a_forced_apply_has_its_way(first: Object, second: Object) -> None:
    obj = applied(second, applied(first, None, "x"), "y", force=True)
    kind = kind_of(MAPS).whole
    for name, value in second["data"].items():
        assert obj["data"][name] == value
    assert set(second["metadata"].get("finalizers", ())) <= set(obj["metadata"].get("finalizers", ()))
    taken = {p for p in sets.paths(field_set(kind, second)) if p[0] == "f:data" and len(p) == 2}
    other = set(sets.paths(owned(obj, "x") or {}))
    assert all(first["data"].get(p[1][2:]) == second["data"][p[1][2:]] for p in taken & other)


@given(CONFIGS, CONFIGS, CONFIGS)
def test_applying_less_removes_only_what_no_one_else_owns(mine: Object, yours: Object, less: Object) -> None:
    live = applied(yours, applied(mine, None, "x"), "y", force=True)
    obj = applied(less, live, "x", force=True)
    for name, value in yours["data"].items():
        assert obj["data"][name] == less["data"].get(name, value)
    for name in mine["data"].keys() - yours["data"].keys() - less["data"].keys():
        assert name not in (obj.get("data") or {})
    assert set(yours["metadata"].get("finalizers", ())) <= set(obj["metadata"].get("finalizers", ()))


@given(CONTAINERS, CONTAINERS)
def test_removing_and_extracting_are_complements(old: list[Object], new: list[Object]) -> None:
    kind = kind_of(DEPLOYMENTS).whole
    whole, part = deployment(*old), deployment(*new)
    fields = field_set(kind, part)
    both = merge(kind, whole, part)
    assert extract(kind, both, fields) is not None
    assert sets.difference(field_set(kind, extract(kind, both, fields)), fields) == {}
    left = remove(kind, both, fields)
    assert sets.intersection(field_set(kind, left) if left else {}, fields) == {}
