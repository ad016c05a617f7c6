"""The pure parts of the verbs."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.endpoints import autoscalers, metadata
from apiserver.endpoints.conversion import conversion_of
from apiserver.endpoints.delete import grace_period, mark_deleted, wanted_finalizers
from apiserver.endpoints.negotiation import YAML, Accepted, parse_accept
from apiserver.endpoints.options import DeleteOptions, parse_delete_options, parse_int, parse_revision
from apiserver.endpoints.paths import ResourcePath, parse
from apiserver.endpoints.request import Request, Target, warning_header
from apiserver.endpoints.scale import scale_of, with_scale
from apiserver.endpoints.update import check_revision
from apiserver.resources.strategy import KindStrategy
from apiserver.resources.table import RESOURCES
from apiserver.storage import continuation
from apiserver.storage.store import is_gone
from apiserver.types import Object, Resource, ScalePaths
from common.api.status import BadRequest, Conflict, Invalid

PODS = Resource("", "v1", "pods", "Pod", "pod", True, KindStrategy(), graceful=True)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", "namespace", False, KindStrategy())
DEPLOYMENTS = Resource(
    "apps",
    "v1",
    "deployments",
    "Deployment",
    "deployment",
    True,
    KindStrategy(),
    has_generation=True,
    scale=ScalePaths(),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1", ResourcePath("", "v1")),
        ("/apis/apps/v1/", ResourcePath("apps", "v1")),
        ("/api/v1/pods", ResourcePath("", "v1", "", "pods")),
        ("/api/v1/namespaces/a", ResourcePath("", "v1", "a", "namespaces", "a")),
        ("/api/v1/namespaces/a/status", ResourcePath("", "v1", "a", "namespaces", "a", "status")),
        ("/api/v1/namespaces/a/pods/b", ResourcePath("", "v1", "a", "pods", "b")),
        (
            "/apis/apps/v1/namespaces/a/deployments/b/scale",
            ResourcePath("apps", "v1", "a", "deployments", "b", "scale"),
        ),
        ("/api/v1/nodes/n/proxy/a/b", ResourcePath("", "v1", "", "nodes", "n", "proxy", "a/b")),
        ("/api/v1/nodes/n/proxy/a/b/", ResourcePath("", "v1", "", "nodes", "n", "proxy", "a/b/")),
        ("/api/v1/nodes/n/proxy/", ResourcePath("", "v1", "", "nodes", "n", "proxy")),
        ("/api/v1/watch/namespaces/a/pods/b", ResourcePath("", "v1", "a", "pods", "b", watch=True)),
        ("/api", None),
        ("/apis/apps", None),
        ("/healthz", None),
        ("/api/v1//pods", None),
    ],
)
def test_paths(path: str, expected: ResourcePath | None) -> None:
    assert parse(path) == expected


@given(st.text())
def test_any_path_is_understood_or_refused(text: str) -> None:
    assert isinstance(parse("/api/" + text), ResourcePath | None)


@given(st.integers(1, 2**60), st.text(st.characters(categories=["Ll", "Nd"]), min_size=1))
def test_continue_tokens_come_back(revision: int, start: str) -> None:
    token = continuation.Continuation(revision, start)
    assert continuation.decode(token.encode()) == token


@given(st.text())
def test_other_tokens_are_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="continue key is not valid"):
        continuation.decode(text)


def test_the_accept_header_in_order_of_preference() -> None:
    table = "application/json;as=Table;v={};g=meta.k8s.io"
    kubectl = f"{table.format('v1')},{table.format('v1beta1')},application/json"
    assert parse_accept(kubectl) == (
        Accepted("Table", "meta.k8s.io", "v1"),
        Accepted("Table", "meta.k8s.io", "v1beta1"),
        Accepted(),
    )
    assert parse_accept("application/vnd.kubernetes.protobuf, application/json") == (Accepted(),)
    assert parse_accept("application/vnd.kubernetes.protobuf") == ()
    assert parse_accept("application/json;q=0.5,application/yaml")[0] == Accepted(media=YAML)
    assert parse_accept("*/*, application/yaml")[0] == Accepted(media=YAML), "what is named comes before a wildcard"
    assert parse_accept("application/json;q=0.5, */*;as=Table;v=v1;g=meta.k8s.io")[0].kind == "Table"
    assert parse_accept("") == (Accepted(), Accepted(media=YAML))
    assert parse_accept("text/html") == ()


def pod(**more: Any) -> Object:
    return {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 20}, **more}


@pytest.mark.parametrize(
    ("obj", "asked", "expected"),
    [
        (pod(), None, 20),
        (pod(), 3, 3),
        (pod(), 0, 0),
        (pod(), -1, 1),
        (pod(spec={"nodeName": "n"}), None, 30),
        (pod(spec={}), 50, 0),
        (pod(status={"phase": "Succeeded"}), None, 0),
    ],
)
def test_grace_periods(obj: Object, asked: int | None, expected: int) -> None:
    assert grace_period(PODS, obj, asked) == expected


def test_deleting_twice_only_shortens() -> None:
    obj = pod()
    assert mark_deleted(PODS, obj, DeleteOptions())
    first = obj["metadata"]["deletionTimestamp"]
    assert not is_gone(PODS, obj)
    assert not mark_deleted(PODS, obj, DeleteOptions())
    assert not mark_deleted(PODS, obj, DeleteOptions(grace_period_seconds=60))
    assert mark_deleted(PODS, obj, DeleteOptions(grace_period_seconds=5))
    assert obj["metadata"]["deletionTimestamp"] < first
    assert mark_deleted(PODS, obj, DeleteOptions(grace_period_seconds=0))
    assert is_gone(PODS, obj)


def test_namespaces_wait_for_both_kinds_of_finalizers() -> None:
    obj: Object = {"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    mark_deleted(NAMESPACES, obj, DeleteOptions())
    assert obj["status"]["phase"] == "Terminating"
    assert not is_gone(NAMESPACES, obj)
    obj["spec"]["finalizers"] = []
    assert is_gone(NAMESPACES, obj)


@pytest.mark.parametrize(
    ("present", "policy", "expected"),
    [
        ([], None, []),
        (["x"], "Background", ["x"]),
        (["x"], "Orphan", ["x", "orphan"]),
        (["orphan"], "Foreground", ["foregroundDeletion"]),
        (["foregroundDeletion", "x"], "Foreground", ["foregroundDeletion", "x"]),
        (["foregroundDeletion"], None, ["foregroundDeletion"]),
    ],
)
def test_finalizers_of_a_policy(present: list[str], policy: str | None, expected: list[str]) -> None:
    assert wanted_finalizers(present, policy) == expected


def test_delete_options() -> None:
    options = parse_delete_options({"orphanDependents": True, "preconditions": {"uid": "u"}, "dryRun": ["All"]})
    assert (options.propagation_policy, options.uid, options.dry_run) == ("Orphan", "u", True)
    for bad in (
        {"propagationPolicy": "x"},
        {"propagationPolicy": "Orphan", "orphanDependents": True},
        {"dryRun": ["x"]},
    ):
        with pytest.raises(Invalid):
            parse_delete_options(bad)
    with pytest.raises(BadRequest):
        parse_delete_options({"gracePeriodSeconds": "1"})


def test_revisions() -> None:
    assert (parse_revision(""), parse_revision("12")) == (0, 12)
    for bad in ("x", "-1", "1.0", "²"):
        with pytest.raises(BadRequest):
            parse_revision(bad)


@pytest.mark.parametrize("text", ["", "x", "1_0", " 1", "\u0661", "9" * 19, "9" * 5000])
def test_numbers_are_those_of_go(text: str) -> None:
    with pytest.raises(BadRequest, match=r"invalid syntax|value out of range"):
        parse_int(text)
    if text:
        with pytest.raises(BadRequest, match=r"invalid syntax|value out of range"):
            parse_revision(text)


def test_a_pod_that_asks_for_a_million_years_can_be_deleted() -> None:
    pod: Object = {"metadata": {}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 1 << 50}}
    mark_deleted(PODS, pod, parse_delete_options({}))
    mark_deleted(PODS, pod, parse_delete_options({"gracePeriodSeconds": 5}))
    assert pod["metadata"]["deletionGracePeriodSeconds"] == 5


def test_nothing_depends_on_an_event() -> None:
    for policy in ("Foreground", "Orphan"):
        event: Object = {"metadata": {}}
        mark_deleted(served("", "v1", "events"), event, parse_delete_options({"propagationPolicy": policy}))
        assert "finalizers" not in event["metadata"]


def test_what_clients_cannot_change_is_carried_over() -> None:
    old: Object = {"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3}}
    new: Object = {"metadata": {"name": "a", "uid": "", "generation": 9, "labels": {}}}
    metadata.carry_over(new, old, DEPLOYMENTS, "")
    assert new["metadata"] == old["metadata"]


def test_what_a_client_may_not_say_of_an_object_that_is_there() -> None:
    plain = {"name": "a", "namespace": "n"}
    deleted: Object = {"metadata": {**plain, "deletionTimestamp": "t", "deletionGracePeriodSeconds": 30}}

    def wrong(new: Object, old: Object) -> list[str]:
        sent = {"metadata": {**plain, **new}}
        metadata.carry_over(sent, old, PODS, "")
        return [error.field for error in metadata.validate_update(sent, old)]

    assert wrong({"generateName": "a/"}, {"metadata": plain}) == ["metadata.generateName"]
    assert wrong({}, deleted) == wrong({"deletionTimestamp": "later"}, deleted) == []
    assert wrong({"deletionGracePeriodSeconds": 1}, deleted) == ["metadata.deletionGracePeriodSeconds"]
    assert wrong({"deletionTimestamp": "t"}, {"metadata": plain}) == ["metadata.deletionTimestamp"]


@pytest.mark.parametrize(("revision", "conflicts"), [("", False), ("0", False), ("5", False), ("4", True), ("x", True)])
def test_an_update_of_no_revision_in_particular(revision: str, conflicts: bool) -> None:
    old = {"metadata": {"name": "a", "resourceVersion": "5"}}
    with pytest.raises(Conflict) if conflicts else nullcontext():
        check_revision({"metadata": {"resourceVersion": revision}}, old, PODS)


def test_generation_counts_changes_of_the_spec() -> None:
    old: Object = {"metadata": {"generation": 1}, "spec": {"a": 1}, "status": {"x": 1}}
    new: Object = {"metadata": {"generation": 1, "labels": {"a": "b"}}, "spec": {"a": 1}, "status": {"x": 2}}
    metadata.raise_generation(new, old, DEPLOYMENTS)
    assert new["metadata"]["generation"] == 1
    new["spec"] = {"a": 2}
    metadata.raise_generation(new, old, DEPLOYMENTS)
    assert new["metadata"]["generation"] == 2


def test_annotations_of_a_deployment_count_for_its_generation() -> None:
    def after(subresource: str) -> int:
        old: Object = {"metadata": {"generation": 1}, "spec": {"a": 1}}
        new: Object = {"metadata": {"generation": 1, "annotations": {"a": "b"}}, "spec": {"a": 1}}
        deployments = served("apps", "v1", "deployments")
        deployments.strategy.prepare_for_update(new, old, subresource)
        metadata.raise_generation(new, old, deployments)
        return int(new["metadata"]["generation"])

    assert (after(""), after("status")) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": ""}, "metadata.name: Required value: name or generateName is required"),
        ({"name": "A"}, 'metadata.name: Invalid value: "A"'),
        ({"labels": {"-": "x"}}, 'metadata.labels: Invalid value: "-"'),
        ({"labels": {"a": "-"}}, 'metadata.labels: Invalid value: "-"'),
        ({"annotations": {"a b": ""}}, 'metadata.annotations: Invalid value: "a b"'),
        ({"annotations": {"a": "x" * 262145}}, "metadata.annotations: Too long"),
        ({"annotations": {"a": "\u00e9" * 131072}}, "metadata.annotations: Too long"),
        ({"generateName": "Ax-"}, 'metadata.generateName: Invalid value: "Ax-"'),
        ({"generateName": "a" * 300}, "metadata.generateName: Invalid value"),
        ({"finalizers": ["orphan", "foregroundDeletion"]}, "orphan and foregroundDeletion cannot be both set"),
        (
            {"ownerReferences": [{"apiVersion": "a/b/c"}]},
            'apiVersion: Invalid value: "a/b/c": version must not be empty',
        ),
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Event"}]},
            "/v1, Kind=Event is disallowed from being an owner",
        ),
        ({"finalizers": ["x"]}, "name is neither a standard finalizer name nor is it fully qualified"),
        ({"ownerReferences": [{"kind": "A"}]}, "metadata.ownerReferences.uid: Invalid value"),
    ],
)
def test_metadata_that_is_not_valid(changes: dict[str, Any], text: str) -> None:
    obj: Object = {"metadata": {"name": "a", "namespace": "n"} | changes}
    assert any(text in error.message() for error in metadata.validate(obj, PODS))


def test_a_prefix_of_a_name_may_end_with_a_dash() -> None:
    assert metadata.validate({"metadata": {"name": "a-x", "generateName": "a-", "namespace": "n"}}, PODS) == []


def test_generated_names_fit() -> None:
    assert len(metadata.generate_name("x" * 70)) == 63
    assert metadata.generate_name("web-").startswith("web-")


def test_a_scale_is_read_and_written() -> None:
    target = Target(DEPLOYMENTS, "n", "d", "scale")
    obj: Object = {
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": "5", "labels": {"a": "b"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}},
        "status": {"replicas": 1},
    }
    scale = scale_of(obj, ScalePaths())
    assert scale["metadata"] == {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": "5"}
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    assert with_scale(obj, {"spec": {"replicas": 7}}, target)["spec"]["replicas"] == 7
    with pytest.raises(Conflict):
        with_scale(obj, {"metadata": {"resourceVersion": "4"}, "spec": {"replicas": 7}}, target)
    with pytest.raises(Invalid):
        with_scale(obj, {"spec": {"replicas": -1}}, target)


def served(group: str, version: str, plural: str) -> Resource:
    return next(r for r in RESOURCES if (r.group, r.version, r.plural) == (group, version, plural))


def test_an_autoscaler_survives_the_older_version() -> None:
    conversion = conversion_of(served("autoscaling", "v1", "horizontalpodautoscalers"))
    assert conversion is not None
    memory = {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 5}},
    }
    cpu = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    stored: Object = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "metrics": [memory, cpu], "behavior": {"scaleUp": {"selectPolicy": "Max"}}},
        "status": {
            "conditions": [{"type": "AbleToScale", "status": "True"}],
            "currentReplicas": 0,
            "desiredReplicas": 0,
        },
    }
    old = conversion.to_served(copy.deepcopy(stored))
    assert old["spec"] == {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}
    assert old["metadata"]["annotations"] == {
        "autoscaling.alpha.kubernetes.io/metrics": (
            '[{"type":"Resource","resource":{"name":"memory","targetAverageUtilization":5}}]'
        ),
        "autoscaling.alpha.kubernetes.io/behavior": '{"ScaleUp":{"SelectPolicy":"Max"}}',
        "autoscaling.alpha.kubernetes.io/conditions": '[{"type":"AbleToScale","status":"True"}]',
    }
    assert conversion.to_stored(old) == stored


def test_an_event_survives_the_newer_version() -> None:
    conversion = conversion_of(served("events.k8s.io", "v1", "events"))
    assert conversion is not None
    stored: Object = {"apiVersion": "v1", "metadata": {"name": "e"}, "message": "m", "count": 2, "involvedObject": {}}
    shown = conversion.to_served(dict(stored))
    assert shown["note"] == "m"
    assert conversion.to_stored(shown) == stored


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (b"limit=1;2&a=b", {"a": ["b"]}),
        (b"limit=%zz&limit=1", {"limit": ["1"]}),
        (b"a=%3B&b=%25&c=+&d", {"a": [";"], "b": ["%"], "c": [" "], "d": [""]}),
        (b"%=1&a=%4", {}),
        (b"&".join([b"a=%25"] * 10_000), {"a": ["%"] * 10_000}),
    ],
)
def test_parameters_that_go_leaves_out(text: bytes, query: dict[str, list[str]]) -> None:
    async def receive() -> dict[str, Any]:
        return {}

    scope = {"method": "GET", "path": "/", "headers": [], "query_string": text}
    assert Request(scope, receive).query == query
    assert scope["query_string"] == text  # others read it for themselves


def test_a_long_warning_is_cut() -> None:
    assert len(warning_header("x" * 5000)[1]) < 300


def test_warnings_are_quoted() -> None:
    assert warning_header('a "b"\n') == (b"warning", b'299 - "a \\"b\\" "')


OBJECT = {"kind": "Service", "name": "s"}


@pytest.mark.parametrize(
    ("metric", "older"),
    [
        (
            {
                "type": "Object",
                "object": {
                    "describedObject": OBJECT,
                    "metric": {"name": "q"},
                    "target": {"type": "Value", "value": "5"},
                },
            },
            {"type": "Object", "object": {"target": OBJECT, "metricName": "q", "targetValue": "5"}},
        ),
        (
            {
                "type": "Object",
                "object": {
                    "describedObject": OBJECT,
                    "metric": {"name": "q"},
                    "target": {"type": "AverageValue", "averageValue": "5"},
                },
            },
            {
                "type": "Object",
                "object": {"target": OBJECT, "metricName": "q", "targetValue": "0", "averageValue": "5"},
            },
        ),
        (
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "q", "selector": {}},
                    "target": {"type": "AverageValue", "averageValue": "5"},
                },
            },
            {"type": "Pods", "pods": {"metricName": "q", "targetAverageValue": "5", "selector": {}}},
        ),
        (
            {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "5"}}},
            {"type": "External", "external": {"metricName": "q", "targetValue": "5"}},
        ),
        (
            {
                "type": "ContainerResource",
                "containerResource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 5},
                    "container": "c",
                },
            },
            {
                "type": "ContainerResource",
                "containerResource": {"name": "cpu", "targetAverageUtilization": 5, "container": "c"},
            },
        ),
    ],
)
def test_metrics_are_kept_in_the_older_form(metric: Object, older: Object) -> None:
    stored: Object = {"apiVersion": "autoscaling/v2", "kind": "X", "metadata": {}, "spec": {"metrics": [metric]}}
    served_form = autoscalers.to_served(copy.deepcopy(stored))
    assert orjson.loads(served_form["metadata"]["annotations"][autoscalers.METRICS]) == [older]
    assert autoscalers.to_stored(served_form)["spec"] == stored["spec"]


@pytest.mark.parametrize("name", autoscalers.ANNOTATIONS)
@pytest.mark.parametrize(
    "text", ["", "{", "5", "[5]", '[{"type":5}]', '[{"type":"Pods","pods":{"selector":{"matchLabels":7}}}]']
)
def test_what_others_write_into_the_annotations_counts_for_nothing(name: str, text: str) -> None:
    obj: Object = {"apiVersion": "autoscaling/v1", "kind": "X", "metadata": {"annotations": {name: text}}, "spec": {}}
    stored = autoscalers.to_stored(obj)
    assert (stored["metadata"], stored["spec"]) == ({}, {})
