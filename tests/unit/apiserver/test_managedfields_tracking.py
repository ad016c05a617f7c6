"""Who owns what after creates and updates."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apiserver.managedfields import sets
from apiserver.managedfields.compile import kind_of
from apiserver.managedfields.entries import MAX_UPDATERS, base, cap_updaters, check_entries, entry_of, manager_of_agent
from apiserver.managedfields.reconcile import reconcile
from apiserver.managedfields.scale import path_of, to_parent, to_scale
from apiserver.managedfields.tracking import Write, track_create, track_update
from apiserver.resources.table import RESOURCES
from apiserver.types import Object, Resource, ScalePaths

TIME, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"


def row(plural: str, group: str = "", version: str = "v1") -> Resource:
    return next(r for r in RESOURCES if (r.group, r.version, r.plural) == (group, version, plural))


PODS, MAPS, DEPLOYMENTS = row("pods"), row("configmaps"), row("deployments", "apps")


def pod(**spec: Any) -> Object:
    container = {"name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {}}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "a", "namespace": "n", "uid": "u", "labels": {"app": "x"}, "creationTimestamp": TIME},
        "spec": {"containers": [container], "nodeSelector": {"a": "b"}, **spec},
    }


def created(obj: Object, resource: Resource = PODS, manager: str = "maker") -> Object:
    assert track_create(Write(resource, manager, TIME), obj) == []
    return obj


def owners(obj: Object) -> dict[str, Any]:
    return {e["manager"]: e["fieldsV1"] for e in obj["metadata"].get("managedFields", ())}


def test_a_create_owns_what_it_wrote() -> None:
    (entry,) = created(pod())["metadata"]["managedFields"]
    assert list(entry) == ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1"]
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:containers": {
                'k:{"name":"c"}': {
                    ".": {},
                    "f:name": {},
                    "f:image": {},
                    "f:ports": {
                        ".": {},
                        'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
                    },
                    "f:resources": {},
                }
            },
            "f:nodeSelector": {},
        },
    }


def test_the_status_is_not_the_writers_of_the_object() -> None:
    assert "f:status" not in owners(created({**pod(), "status": {"phase": "Running"}}))["maker"]


def test_an_update_takes_what_it_changes_and_frees_what_it_removes() -> None:
    live = created(pod())
    obj = copy.deepcopy(live)
    obj["metadata"]["labels"] = {"app": "y", "new": "1"}
    del obj["spec"]["nodeSelector"]
    track_update(Write(PODS, "changer", LATER), live, obj)
    found = owners(obj)
    assert found["changer"] == {"f:metadata": {"f:labels": {"f:app": {}, "f:new": {}}}}
    assert "f:nodeSelector" not in found["maker"]["f:spec"]
    assert found["maker"]["f:metadata"] == {"f:labels": {}}


def test_entries_that_a_write_does_not_concern_are_not_touched() -> None:
    live = created(pod())
    obj = copy.deepcopy(live)
    obj["metadata"]["annotations"] = {"a": "b"}
    mine = live["metadata"]["managedFields"][0]
    track_update(Write(PODS, "other", LATER), live, obj)
    assert obj["metadata"]["managedFields"][0] is mine
    assert len(obj["metadata"]["managedFields"]) == 2


def test_a_write_of_nothing_changes_nothing() -> None:
    live = created(pod())
    obj = copy.deepcopy(live)
    track_update(Write(PODS, "other", LATER), live, obj)
    assert obj["metadata"]["managedFields"] is live["metadata"]["managedFields"]


def test_the_own_entry_is_renewed() -> None:
    live = created(pod())
    obj = copy.deepcopy(live)
    obj["spec"]["containers"][0]["image"] = "j"
    track_update(Write(PODS, "maker", LATER), live, obj)
    (entry,) = obj["metadata"]["managedFields"]
    assert entry["time"] == LATER
    assert entry["fieldsV1"] == live["metadata"]["managedFields"][0]["fieldsV1"]


def test_writers_of_the_status_are_apart() -> None:
    live = created(pod())
    obj = copy.deepcopy(live) | {"status": {"phase": "Running"}}
    track_update(Write(PODS, "maker", LATER, "status"), live, obj)
    entry = obj["metadata"]["managedFields"][1]
    assert entry["subresource"] == "status"
    assert entry["fieldsV1"] == {"f:status": {"f:phase": {}}}


def test_an_element_by_its_keys_and_one_that_comes_twice() -> None:
    live = created(pod())
    obj = copy.deepcopy(live)
    twice = {"containerPort": 81, "protocol": "TCP"}
    obj["spec"]["containers"][0]["ports"] += [twice, {**twice, "name": "z"}]
    track_update(Write(PODS, "other", LATER), live, obj)
    ports = owners(obj)["other"]["f:spec"]["f:containers"]['k:{"name":"c"}']["f:ports"]
    assert ports == {'k:{"containerPort":81,"protocol":"TCP"}': {}}


def test_an_element_without_its_key_leaves_the_object_to_nobody() -> None:
    account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "a"}, "secrets": [{}]}
    assert "managedFields" not in created(account, row("serviceaccounts"))["metadata"]


def test_an_object_that_nobody_owns_stays_so() -> None:
    live = pod()
    obj = copy.deepcopy(live)
    obj["metadata"]["labels"] = {}
    track_update(Write(PODS, "other", LATER), live, obj)
    assert "managedFields" not in obj["metadata"]


def test_a_client_may_clear_the_list_and_knows_nothing_of_it() -> None:
    live = created(pod())
    for sent, kept in (([], False), ([{}], False), (None, True)):
        obj = copy.deepcopy(live)
        obj["metadata"]["managedFields"] = sent
        track_update(Write(PODS, "other", LATER), live, obj)
        assert ("managedFields" in obj["metadata"]) == kept
    obj = copy.deepcopy(live)
    obj["metadata"]["managedFields"] = []
    track_update(Write(PODS, "other", LATER, "status"), live, obj)
    assert obj["metadata"]["managedFields"]  # a subresource's client has no say


def test_what_a_client_sends_is_taken_when_it_is_sensible() -> None:
    live = created(pod())["metadata"]["managedFields"]
    mine = entry_of("me", "Update", "v1", {"f:spec": {"f:x": {}}}, TIME)
    assert base([mine], live, "") == [mine]
    for wrong in ({"operation": "Delete"}, {"apiVersion": ""}, {"fieldsType": "V2"}, {"fieldsV1": {"zz": {}}}):
        assert base([{**mine, **wrong}], live, "") is live
    (error,) = check_entries([{**mine, "manager": "a" * 129}])
    assert error.field == "metadata.managedFields[0].manager"


def test_old_updaters_are_folded_together() -> None:
    entries = [
        entry_of(f"m{i:02}", "Update", "v1", {f"f:{i}": {}}, f"2026-01-01T00:00:{i:02}Z")
        for i in range(MAX_UPDATERS + 2)
    ]
    applied = entry_of("ap", "Apply", "v1", {"f:q": {}}, TIME)
    found = {e["manager"]: e for e in cap_updaters([applied, *entries])}
    assert len(found) == MAX_UPDATERS + 1
    assert found["ancient-changes"]["fieldsV1"] == {"f:0": {}, "f:1": {}, "f:2": {}}
    assert found["ancient-changes"]["time"] == "2026-01-01T00:00:02Z"
    assert found["ap"] is applied


def test_managers_by_the_name_of_the_client() -> None:
    assert manager_of_agent("kubectl/v1.32.0 (linux/amd64) kubernetes/abc") == "kubectl"
    assert manager_of_agent("a\tb") == "ab"
    assert len(manager_of_agent("ä" * 200).encode()) == 128
    live = created(pod(), manager="")
    assert live["metadata"]["managedFields"][0]["manager"] == "unknown"


def test_entries_of_another_version_are_compared_in_it() -> None:
    old, new = (
        row("horizontalpodautoscalers", "autoscaling", "v1"),
        row("horizontalpodautoscalers", "autoscaling", "v2"),
    )
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    live = {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v2",
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "metrics": [metric]},
    }
    created(live, old)
    assert "f:targetCPUUtilizationPercentage" in owners(live)["maker"]["f:spec"]
    obj = copy.deepcopy(live)
    obj["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 60
    track_update(Write(new, "other", LATER), live, obj)
    assert owners(obj)["other"] == {"f:spec": {"f:metrics": {}}}
    assert "f:targetCPUUtilizationPercentage" not in owners(obj)["maker"]["f:spec"]


def test_entries_of_a_version_that_is_gone_are_dropped() -> None:
    live = created(pod())
    live["metadata"]["managedFields"].append(entry_of("old", "Update", "v1beta9", {"f:x": {}}, TIME))
    obj = copy.deepcopy(live)
    obj["metadata"]["labels"]["app"] = "z"
    track_update(Write(PODS, "other", LATER), live, obj)
    assert set(owners(obj)) == {"maker", "other"}


def test_replicas_through_scale() -> None:
    path = path_of(ScalePaths())
    entries = [
        entry_of("a", "Update", "apps/v1", {"f:spec": {"f:replicas": {}, "f:paused": {}}}, TIME),
        entry_of("b", "Update", "apps/v1", {"f:spec": {"f:paused": {}}}, TIME),
    ]
    scale = to_scale(entries, path)
    assert [(e["manager"], e["apiVersion"]) for e in scale] == [("a", "autoscaling/v1")]
    assert to_parent(DEPLOYMENTS, entries, scale, path) == entries
    taken = [entry_of("hpa", "Update", "autoscaling/v1", {"f:spec": {"f:replicas": {}}}, LATER, "scale")]
    found = to_parent(DEPLOYMENTS, entries, taken, path)
    assert {e["manager"]: e["fieldsV1"] for e in found} == {
        "a": {"f:spec": {"f:paused": {}}},
        "b": {"f:spec": {"f:paused": {}}},
        "hpa": {"f:spec": {"f:replicas": {}}},
    }


def test_types_that_were_owned_in_another_way() -> None:
    kind = kind_of(MAPS).whole
    live = {"metadata": {"ownerReferences": [{"uid": "1"}]}, "data": {"a": "1", "b": "2"}}
    assert reconcile(kind, {"f:data": {}}, live) == {"f:data": {".": {}, "f:a": {}, "f:b": {}}}
    was = {"f:metadata": {"f:ownerReferences": {'k:{"uid":"1"}': {".": {}, "f:name": {}}}}}
    assert reconcile(kind, was, live) == {"f:metadata": {"f:ownerReferences": {'k:{"uid":"1"}': {}}}}
    same = {"f:data": {"f:a": {}}}
    assert reconcile(kind, same, live) is same


LABELS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)


@given(LABELS, LABELS)
def test_each_field_has_the_owner_that_wrote_it_last(first: dict[str, str], second: dict[str, str]) -> None:
    def config_map(data: dict[str, str]) -> Object:
        return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": data, "immutable": False}

    live = created(config_map(first), MAPS)
    obj = copy.deepcopy(live) | {"data": dict(second)}
    track_update(Write(MAPS, "second", LATER), live, obj)
    found = owners(obj)
    for name, fields in (("maker", found["maker"]), ("second", found.get("second", {}))):
        keys = {path[1][2:] for path in sets.paths(fields) if path[0] == "f:data" and len(path) == 2}
        kept = {k for k, v in second.items() if (first.get(k) == v) == (name == "maker")}
        assert keys == kept
    changed = replace(Write(MAPS, "second", LATER), subresource="")
    again = copy.deepcopy(obj)
    track_update(changed, obj, again)
    assert again == obj
