"""What fuzzing found: each was answered with 500, or did something that was not asked for."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

REVISIONS = "/apis/apps/v1/namespaces/{namespace}/controllerrevisions"


@pytest.mark.parametrize("data", ["text", 1, [1, {"a": None}], True])
def test_a_raw_extension_is_any_json(http: httpx.Client, namespace: str, data: Any) -> None:
    """Its schema says it is a map, and field tracking believed it."""
    path = REVISIONS.format(namespace=namespace)
    body = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "r"},
        "revision": 1,
        "data": data,
    }
    answer = http.post(path, json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["data"] == data
    changed = http.put(f"{path}/r", json={**answer.json(), "revision": 2})
    assert changed.status_code == 200, changed.text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_old_watch_paths_are_read_only(http: httpx.Client, namespace: str, method: str) -> None:
    answer = http.request(method, f"/api/v1/watch/namespaces/{namespace}/configmaps", json={})
    assert answer.status_code == 405


def test_a_lease_may_come_without_its_spec(http: httpx.Client, namespace: str) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    stored = http.post(path, json=lease).json()
    del stored["spec"]
    answer = http.put(f"{path}/l", json=stored)
    assert answer.status_code == 200, answer.text


def test_an_update_that_leaves_the_spec_out_is_refused(http: httpx.Client, namespace: str) -> None:
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": spec}
    stored = http.post(path, json=body).json()
    del stored["spec"]
    answer = http.put(f"{path}/d", json=stored)
    assert answer.status_code == 422, answer.text
