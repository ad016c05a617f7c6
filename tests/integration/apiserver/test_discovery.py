"""What the server tells of itself: discovery, schema documents, health, metrics, the state of other components."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest

from tests.integration.conftest import Kubectl, eventually

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
As = Callable[[str | None], httpx.Client]


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
@pytest.mark.parametrize("path", ["/api", "/apis"])
def test_all_of_discovery_in_one_document(http: httpx.Client, path: str, version: str) -> None:
    accept = AGGREGATED.format(version)
    answer = http.get(path, headers={"accept": f"{accept},application/json"})
    assert answer.headers["content-type"] == accept
    document = answer.json()
    assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", f"apidiscovery.k8s.io/{version}")
    names = [group["metadata"].get("name", "") for group in document["items"]]
    assert names == [""] if path == "/api" else "apps" in names
    again = http.get(path, headers={"accept": accept, "if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get(path, headers={"accept": accept, "if-none-match": '"other"'}).status_code == 200


def test_both_discoveries_tell_the_same(http: httpx.Client) -> None:
    document = http.get("/apis", headers={"accept": AGGREGATED.format("v2")}).json()
    for group in document["items"]:
        for version in group["versions"]:
            listed = http.get(f"/apis/{group['metadata']['name']}/{version['version']}").json()["resources"]
            told = {resource["resource"]: sorted(resource["verbs"]) for resource in version["resources"]}
            told |= {
                f"{resource['resource']}/{sub['subresource']}": sorted(sub["verbs"])
                for resource in version["resources"]
                for sub in resource.get("subresources", ())
            }
            assert {r["name"]: sorted(r["verbs"]) for r in listed} == told


def test_documents_are_fetched_once(http: httpx.Client) -> None:
    index = http.get("/openapi/v3").json()["paths"]
    for name in ("api/v1", "apis/apps/v1", "version"):
        first = http.get(index[name]["serverRelativeURL"])
        assert "immutable" in first.headers["cache-control"]
        etag = {"if-none-match": first.headers["etag"]}
        assert http.get(f"/openapi/v3/{name}", headers=etag).status_code == 304
    whole = http.get("/openapi/v2")
    assert http.get("/openapi/v2", headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    protobuf = {"accept": "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"}
    assert http.get("/openapi/v2", headers=protobuf).headers["content-type"] == protobuf["accept"]


def test_every_path_that_discovery_tells_is_in_the_document(http: httpx.Client) -> None:
    paths = http.get("/openapi/v2").json()["paths"]
    for group in http.get("/apis").json()["groups"]:
        for version in group["versions"]:
            base = f"/apis/{version['groupVersion']}"
            for resource in http.get(base).json()["resources"]:
                plural, _, sub = resource["name"].partition("/")
                root = base + ("/namespaces/{namespace}" if resource["namespaced"] else "")
                assert f"{root}/{plural}" + (f"/{{name}}/{sub}" if sub else "") in paths


def test_the_page_of_what_is_no_resource(http: httpx.Client) -> None:
    assert "swagger-ui" in http.get("/docs").text
    assert {"/version", "/metrics", "/livez"} <= http.get("/docs/openapi.json").json()["paths"].keys()


def test_the_list_of_paths_is_for_those_who_may(http: httpx.Client, http_as: As) -> None:
    paths = http.get("/").json()["paths"]
    assert {"/api/v1", "/apis/apps", "/livez/ping", "/readyz/shutdown", "/openapi/v2", "/metrics"} <= set(paths)
    assert paths == sorted(paths)
    gone = [path for path in paths if http.get(path).status_code != 200]
    assert gone == []
    assert http_as("scheduler").get("/").status_code == 403
    assert http_as(None).get("/").status_code == 401


def test_version(http: httpx.Client, http_as: As) -> None:
    version = http_as(None).get("/version").json()
    assert (version["major"], version["minor"]) == ("1", "32")
    assert version["gitVersion"].startswith("v1.32.")


@pytest.mark.parametrize("probe", ["livez", "readyz", "healthz"])
def test_health(http_as: As, probe: str) -> None:
    nobody = http_as(None)
    short = nobody.get(f"/{probe}")
    assert (short.text, short.headers["content-type"]) == ("ok", "text/plain; charset=utf-8")
    assert short.headers["x-content-type-options"] == "nosniff"
    lines = nobody.get(f"/{probe}?verbose").text.splitlines()
    assert lines[:2] == ["[+]ping ok", "[+]etcd ok"]
    assert lines[-1] == f"{probe} check passed"
    assert ("[+]shutdown ok" in lines) == (probe == "readyz")
    excluded = nobody.get(f"/{probe}?verbose&exclude=etcd&exclude=nothing").text.splitlines()
    assert "[+]etcd excluded: ok" in excluded
    assert 'warn: some health checks cannot be excluded: no matches for "nothing"' in excluded
    assert nobody.get(f"/{probe}/etcd").text == "ok"
    assert nobody.get(f"/{probe}/nothing").status_code == 404
    assert nobody.head(f"/{probe}").status_code == 200


def test_metrics_have_upstreams_names(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    http.get(f"{path}/nothing")
    http.post(f"{path}?dryRun=All", json={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    http.get(f"{path}/x/made-up-by-the-client")
    with http.stream("GET", path, params={"watch": "1"}):
        metrics = http.get("/metrics").text
    common = 'group="",resource="configmaps",scope="{}",subresource="",verb="{}",version="v1"'
    for wanted in (
        'apiserver_request_total{code="404",component="apiserver",dry_run="",' + common.format("resource", "GET"),
        'apiserver_request_total{code="201",component="apiserver",dry_run="All",' + common.format("namespace", "POST"),
        'apiserver_longrunning_requests{component="apiserver",' + common.format("namespace", "WATCH"),
        'apiserver_request_duration_seconds_bucket{component="apiserver",dry_run="",',
        'apiserver_response_sizes_sum{component="apiserver",',
        'apiserver_current_inflight_requests{request_kind="readOnly"} 1.0',
        'apiserver_storage_objects{resource="namespaces"}',
        'apiserver_storage_objects{resource="deployments.apps"}',
        'apiserver_watch_cache_events_received_total{resource="configmaps"}',
        'apiserver_watch_cache_capacity{resource="configmaps"}',
        'apiserver_watch_events_total{group="",kind="ConfigMap",version="v1"}',
        "etcd_request_duration_seconds_bucket{",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
    ):
        assert any(line.startswith(wanted) for line in metrics.splitlines()), wanted
    assert "made-up" not in metrics, "what clients make up must not fill the memory"


def test_component_statuses(http: httpx.Client, kubectl: Kubectl) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
    lease = {"metadata": {"name": "kube-scheduler"}, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 3600}}
    lease["spec"] |= {"renewTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")}
    assert http.post(path, json=lease).status_code == 201
    try:

        def shown() -> bool:
            lines = kubectl("get", "cs", "--no-headers").stdout.splitlines()
            found = {line.split()[0]: line.strip().split(maxsplit=2)[1:] for line in lines}
            assert found["scheduler"] == ["Healthy", "ok"]
            assert found["etcd-0"] == ["Healthy", "ok"]
            assert found["controller-manager"][0] == "Unhealthy"
            return True

        eventually(shown)
        answer = http.get("/api/v1/componentstatuses/controller-manager")
        condition = answer.json()["conditions"][0]
        assert (condition["type"], condition["status"]) == ("Healthy", "False")
        assert "ComponentStatus is deprecated" in answer.headers["warning"]
        assert http.get("/api/v1/componentstatuses/nothing").status_code == 404
        one = http.get("/api/v1/componentstatuses", params={"fieldSelector": "metadata.name=etcd-0"}).json()
        assert [item["metadata"]["name"] for item in one["items"]] == ["etcd-0"]
        watch = http.get("/api/v1/componentstatuses", params={"watch": "1"})
        assert watch.status_code == 405
        assert watch.json()["message"] == 'watch is not supported on resources of kind "componentstatuses"'
        old = {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}
        patch = {"content-type": "application/merge-patch+json"}
        http.patch(f"{path}/kube-scheduler", content=json.dumps(old), headers=patch)
        eventually(lambda: "Unhealthy" in kubectl("get", "cs", "scheduler").stdout)
    finally:
        http.delete(f"{path}/kube-scheduler")
