"""What clients seldom ask, answered as upstream answers it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


@pytest.fixture
def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("regarding.kind=Pod", True),
        ("regarding.kind=Node", False),
        ("regarding.name=p,reason=Odd", True),
        ("reportingController=tester", True),
        ("reportingController!=tester", False),
        ("type=Warning", False),
    ],
)
def test_an_event_is_selected_by_its_newer_names(
    http: httpx.Client, namespace: str, selector: str, selected: bool
) -> None:
    """It is stored by the older ones, whichever API wrote it."""
    about = {"kind": "Pod", "name": "p", "namespace": namespace}
    older = {"reason": "Odd", "type": "Normal", "reportingComponent": "tester", "involvedObject": about}
    metadata = {"name": "older", "namespace": namespace}
    created = http.post(f"/api/v1/namespaces/{namespace}/events", json={"metadata": metadata, **older})
    assert created.status_code == 201, created.text
    newer = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    found = http.get(newer, params={"fieldSelector": selector}).json()["items"]
    assert [event["metadata"]["name"] for event in found] == (["older"] if selected else [])
    watched = http.get(newer, params={"fieldSelector": selector, "watch": "1", "timeoutSeconds": "1"})
    assert ('"name":"older"' in watched.text) is selected


def test_pods_are_selected_by_the_old_name_of_their_node(http: httpx.Client, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "odd-node"}
    assert http.post(pods, json={"metadata": {"name": "p"}, "spec": spec}).status_code == 201
    for selector, count in (("spec.host=odd-node", 1), ("spec.host!=odd-node", 0), ("spec.host=x", 0)):
        assert len(http.get(pods, params={"fieldSelector": selector}).json()["items"]) == count
    http.request("DELETE", f"{pods}/p", json={"gracePeriodSeconds": 0})


def test_what_was_read_is_not_new(http: httpx.Client, path: str) -> None:
    """Upstream's storage refuses it, whatever else becomes of it."""
    refused = http.post(path, json={"metadata": {"name": "a", "resourceVersion": "5"}})
    assert refused.status_code == 500
    assert refused.json()["message"] == "resourceVersion should not be set on objects to be created"
    assert http.post(path, json={"metadata": {"name": "a", "resourceVersion": "0"}}).status_code == 201


def test_a_list_is_no_object(http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={"kind": "ConfigMapList", "apiVersion": "v1", "items": []})
    assert answer.status_code == 400
    assert answer.json()["message"].endswith("converting (v1.ConfigMapList) to (core.ConfigMap): unknown conversion")


def test_what_is_wrong_with_a_name_is_told_before_what_is_wrong_with_options(
    http: httpx.Client, namespace: str
) -> None:
    answer = http.get(f"/api/v1/namespaces/{namespace}/pods/none/exec")
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")


def test_a_delete_may_name_the_uid_in_its_query(http: httpx.Client, path: str) -> None:
    uid = http.post(path, json={"metadata": {"name": "a"}}).json()["metadata"]["uid"]
    refused = http.delete(f"{path}/a", params={"uid": "other"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "Conflict")
    assert http.delete(f"{path}/a", params={"uid": uid}).status_code == 200


@pytest.mark.parametrize("query", ["gracePeriodSeconds=", "gracePeriodSeconds=x"])
def test_a_grace_period_that_is_no_number(http: httpx.Client, path: str, query: str) -> None:
    answer = http.delete(f"{path}/a?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
    assert answer.json()["message"].startswith("strconv.ParseInt: parsing ")


@pytest.mark.parametrize(
    ("content", "media_type", "code", "message"),
    [
        (
            b"",
            "application/json",
            400,
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; "
            "json parse error: unexpected end of JSON input (<empty>)",
        ),
        (
            b"{}",
            "text/plain",
            415,
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ),
    ],
)
def test_bodies_that_are_none(
    http: httpx.Client, path: str, content: bytes, media_type: str, code: int, message: str
) -> None:
    answer = http.post(path, content=content, headers={"content-type": media_type})
    assert (answer.status_code, answer.json()["message"]) == (code, message)


def test_an_old_schema_is_asked_for_by_its_hash(http: httpx.Client) -> None:
    """Clients keep the address of a schema; the schema changes with the server."""
    url = http.get("/openapi/v3").json()["paths"]["apis/apps/v1"]["serverRelativeURL"]
    moved = http.get("/openapi/v3/apis/apps/v1", params={"hash": "OLD"})
    assert (moved.status_code, moved.headers["location"]) == (301, url)
    assert "immutable" in http.get(url).headers["cache-control"]


def test_pages_of_a_past_revision_stay_there(http: httpx.Client, path: str) -> None:
    for name in "abcd":
        http.post(path, json={"metadata": {"name": name}})
    revision = http.get(path).json()["metadata"]["resourceVersion"]
    http.delete(f"{path}/c")
    query: dict[str, Any] = {"limit": 2, "resourceVersion": revision, "resourceVersionMatch": "Exact"}
    page = http.get(path, params=query).json()
    assert page["metadata"]["remainingItemCount"] == 2
    http.delete(f"{path}/d")
    rest = http.get(path, params={"limit": 2, "continue": page["metadata"]["continue"]}).json()
    assert [item["metadata"]["name"] for item in page["items"] + rest["items"]] == list("abcd")
    assert page["metadata"]["resourceVersion"] == rest["metadata"]["resourceVersion"] == revision


def test_a_page_of_a_collection_is_deleted(http: httpx.Client, path: str) -> None:
    for name in "abc":
        http.post(path, json={"metadata": {"name": name}})
    dry = http.delete(path, params={"limit": "2", "dryRun": "All"}).json()
    assert [item["metadata"]["name"] for item in dry["items"]] == ["a", "b"]
    gone = http.delete(path, params={"limit": "2"}).json()
    assert [item["metadata"]["name"] for item in gone["items"]] == ["a", "b"]
    assert gone["metadata"]["remainingItemCount"] == 1
    assert [item["metadata"]["name"] for item in http.get(path).json()["items"]] == ["c"]


def test_owned_objects_of_a_deleted_collection(http: httpx.Client, path: str) -> None:
    http.post(path, json={"metadata": {"name": "a"}})
    http.request("DELETE", path, json={"propagationPolicy": "Foreground"})
    waiting = http.get(f"{path}/a").json()["metadata"]
    assert waiting["finalizers"] == ["foregroundDeletion"] and "deletionTimestamp" in waiting
    http.request("DELETE", path, json={"propagationPolicy": "Background"})
    assert http.get(f"{path}/a").status_code == 404
