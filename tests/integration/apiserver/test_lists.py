"""Lists: selectors, pages, revisions, Tables."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.integration.conftest import Kubectl

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@pytest.fixture
def path(http: httpx.Client, namespace: str) -> str:
    """Five ConfigMaps, a to e."""
    where = f"/api/v1/namespaces/{namespace}/configmaps"
    for index, name in enumerate("abcde"):
        body = {"metadata": {"name": name, "labels": {"n": str(index), "odd": str(index % 2)}}}
        assert http.post(where, json={"apiVersion": "v1", "kind": "ConfigMap", **body}).status_code == 201
    return where


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["metadata"]["name"] for item in answer.json()["items"]]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "abcde"),
        ({"labelSelector": "odd=1"}, "bd"),
        ({"labelSelector": "odd=0,n!=0"}, "ce"),
        ({"labelSelector": "n in (1,2,9)"}, "bc"),
        ({"labelSelector": "!odd"}, ""),
        ({"fieldSelector": "metadata.name=c"}, "c"),
        ({"fieldSelector": "metadata.name!=c"}, "abde"),
        ({"resourceVersion": "0", "labelSelector": "n=nothing"}, ""),
    ],
)
def test_selectors(http: httpx.Client, path: str, params: dict[str, str], expected: str) -> None:
    assert names(http.get(path, params=params)) == list(expected)


def test_pages_show_one_moment(http: httpx.Client, path: str) -> None:
    first = http.get(path, params={"limit": 2})
    assert names(first) == ["a", "b"]
    meta = first.json()["metadata"]
    assert meta["remainingItemCount"] == 3
    http.delete(f"{path}/d")
    second = http.get(path, params={"limit": 2, "continue": meta["continue"]})
    assert names(second) == ["c", "d"]
    assert second.json()["metadata"]["resourceVersion"] == meta["resourceVersion"]
    third = http.get(path, params={"limit": 2, "continue": second.json()["metadata"]["continue"]})
    assert names(third) == ["e"]
    assert "continue" not in third.json()["metadata"]
    selected = http.get(path, params={"limit": 1, "labelSelector": "odd=0"})
    assert names(selected) == ["a"]
    assert "remainingItemCount" not in selected.json()["metadata"]


def test_revisions(http: httpx.Client, path: str) -> None:
    before = http.get(path).json()["metadata"]["resourceVersion"]
    http.delete(f"{path}/a")
    exact = {"resourceVersion": before, "resourceVersionMatch": "Exact"}
    assert names(http.get(path, params=exact)) == list("abcde")
    assert names(http.get(path)) == list("bcde")
    future = http.get(path, params={"resourceVersion": str(int(before) + 1_000_000)})
    assert future.status_code == 504
    assert "Too large resource version" in future.json()["message"]


def test_tables(http: httpx.Client, path: str) -> None:
    table = http.get(path, headers={"accept": TABLE}).json()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table["columnDefinitions"]][:2] == ["Name", "Data"]
    assert [row["cells"][0] for row in table["rows"]] == list("abcde")
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    one = http.get(f"{path}/a", headers={"accept": TABLE}).json()
    assert len(one["rows"]) == 1


def test_metadata_only(http: httpx.Client, path: str) -> None:
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    answer: dict[str, Any] = http.get(path, headers={"accept": accept}).json()
    assert answer["kind"] == "PartialObjectMetadataList"
    assert answer["items"][0].keys() == {"kind", "apiVersion", "metadata"}


def test_kubectl_prints_them(kubectl: Kubectl, path: str) -> None:
    namespace = path.split("/")[4]
    out = kubectl("get", "configmaps", "-n", namespace).stdout.splitlines()
    assert out[0].split() == ["NAME", "DATA", "AGE"]
    assert [line.split()[0] for line in out[1:]] == list("abcde")
    wide = kubectl("get", "cm", "-n", namespace, "-l", "odd=1", "--no-headers").stdout.splitlines()
    assert len(wide) == 2


def test_kubectl_discovers_and_writes(kubectl: Kubectl, namespace: str) -> None:
    assert "deployments.apps" in kubectl("api-resources", "-o", "name").stdout.split()
    kubectl("create", "configmap", "made", "--from-literal=a=b", "-n", namespace)
    kubectl("label", "configmap", "made", "x=y", "-n", namespace)
    kubectl("patch", "configmap", "made", "-n", namespace, "--type=json", "-p", '[{"op":"remove","path":"/data/a"}]')
    shown = kubectl("get", "configmap", "made", "-n", namespace, "-o", "jsonpath={.metadata.labels.x}{.data}").stdout
    assert shown.startswith("y")
    kubectl("delete", "configmap", "made", "-n", namespace)
    missing = kubectl("get", "configmap", "made", "-n", namespace, check=False)
    assert missing.stderr.strip() == 'Error from server (NotFound): configmaps "made" not found'


def test_both_event_versions_are_one(http: httpx.Client, namespace: str) -> None:
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": namespace},
        "reason": "Tried",
        "message": "hello",
        "type": "Normal",
    }
    assert http.post(f"/api/v1/namespaces/{namespace}/events", json=event).status_code == 201
    new = http.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e").json()
    assert (new["apiVersion"], new["note"], new["regarding"]["name"]) == ("events.k8s.io/v1", "hello", "p")
