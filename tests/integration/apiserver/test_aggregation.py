"""Groups of other servers behind this one: who serves them, who asks, and what is seen while they are away."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.apiserver.extension_server import GROUP, ExtensionServer
from tests.integration.conftest import ApiServer, Kubectl, eventually

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
NAME = f"v1alpha1.{GROUP}"
BASE = f"/apis/{GROUP}/v1alpha1"


def condition(http: httpx.Client, name: str = NAME) -> dict[str, Any]:
    found = http.get(f"/apis/apiregistration.k8s.io/v1/apiservices/{name}").json()
    return next(iter((found.get("status") or {}).get("conditions") or ()), {})


def available(http: httpx.Client, status: str, reason: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        found = condition(http)
        return found if (found.get("status"), found.get("reason")) == (status, reason) else None

    return dict(eventually(there))


def api_service(service: str, port: int, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "version": "v1alpha1",
            "groupPriorityMinimum": 1500,
            "versionPriority": 10,
            "service": {"namespace": "default", "name": service, "port": port},
            **spec,
        },
    }


@pytest.fixture
def service(http: httpx.Client) -> Iterator[str]:
    """A Service that is this machine itself: servers of tests listen nowhere else."""
    name = f"ext-{uuid.uuid4().hex[:6]}"
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    assert http.post("/api/v1/namespaces/default/services", json=body).status_code == 201
    yield name
    http.delete(f"/api/v1/namespaces/default/services/{name}")


@pytest.fixture
def far(apiserver: ApiServer, service: str, tmp_path: Path) -> Iterator[ExtensionServer]:
    with ExtensionServer(tmp_path, f"{service}.default.svc", apiserver.pki / "front-proxy-ca.crt") as server:
        yield server


@pytest.fixture
def register(http: httpx.Client) -> Iterator[Callable[[dict[str, Any]], None]]:
    def create(body: dict[str, Any]) -> None:
        answer = http.post("/apis/apiregistration.k8s.io/v1/apiservices", json=body)
        assert answer.status_code == 201, answer.text

    yield create
    http.delete(f"/apis/apiregistration.k8s.io/v1/apiservices/{NAME}")


@pytest.fixture
def registered(
    http: httpx.Client, far: ExtensionServer, service: str, tmp_path: Path, register: Callable[[dict[str, Any]], None]
) -> ExtensionServer:
    bundle = base64.b64encode((tmp_path / f"{service}.default.svc.crt").read_bytes()).decode()
    register(api_service(service, far.port, caBundle=bundle))
    available(http, "True", "Passed")
    return far


def test_requests_are_passed_on_for_their_user(
    http: httpx.Client, http_as: Callable[[str | None], httpx.Client], registered: ExtensionServer
) -> None:
    listed = http.get(f"{BASE}/namespaces/default/flavors?limit=5", headers={"x-remote-user": "root", "x-own": "1"})
    assert listed.json()["items"][0]["metadata"]["name"] == "vanilla"
    head = registered.seen(f"GET {BASE}/namespaces/default/flavors?limit=5 ").lower()
    assert "\r\nx-remote-user: kubernetes-admin\r\n" in head
    assert "\r\nx-remote-group: system:masters\r\n" in head and "\r\nx-own: 1\r\n" in head
    assert head.count("x-remote-user") == 1 and "authorization" not in head
    assert set(registered.peers) == {"front-proxy-client"}
    flavor = {"kind": "Flavor", "metadata": {"name": "mint"}}
    assert http.post(f"{BASE}/namespaces/default/flavors", json=flavor).json() == flavor
    missing = http.get(f"{BASE}/namespaces/default/flavors/missing")
    assert (missing.status_code, missing.json()["reason"]) == (404, "NotFound")
    seen = len(registered.heads)
    refused = http_as("scheduler").get(f"{BASE}/namespaces/default/flavors")
    assert refused.status_code == 403
    assert 'cannot list resource "flavors" in API group "test.example.com"' in refused.json()["message"]
    assert http_as(None).get(BASE).status_code == 401
    assert len(registered.heads) == seen


def test_a_watch_streams_and_an_upgrade_is_a_tunnel(
    http: httpx.Client, apiserver: ApiServer, registered: ExtensionServer
) -> None:
    with http.stream("GET", f"{BASE}/flavors?watch=1") as answer:
        lines = answer.iter_lines()
        assert [json.loads(next(lines))["object"]["number"] for _ in range(3)] == [0, 1, 2]
    context = ssl.create_default_context(cafile=str(apiserver.pki / "ca.crt"))
    context.load_cert_chain(
        apiserver.pki / "apiserver-kubelet-client.crt", apiserver.pki / "apiserver-kubelet-client.key"
    )
    host, port = apiserver.url.removeprefix("https://").split(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=host) as raw,
    ):
        raw.sendall(
            f"GET {BASE}/namespaces/default/flavors/x/upgrade HTTP/1.1\r\nhost: x\r\n"
            "connection: upgrade\r\nupgrade: websocket\r\n\r\n".encode()
        )
        head = raw.recv(4000)
        assert head.startswith(b"HTTP/1.1 101"), head
        raw.sendall(b"hello")
        assert raw.recv(100) == b"HELLO"
    assert "x-remote-user: kube-apiserver-kubelet-client" in registered.seen(
        f"GET {BASE}/namespaces/default/flavors/x/"
    )


def test_discovery_shows_all_groups_as_one(http: httpx.Client, kubectl: Kubectl, registered: ExtensionServer) -> None:
    groups = [each["name"] for each in http.get("/apis").json()["groups"]]
    assert groups[0] == "apiregistration.k8s.io" and groups[-1] == GROUP
    own = http.get(f"/apis/{GROUP}").json()
    assert own["preferredVersion"] == {"groupVersion": f"{GROUP}/v1alpha1", "version": "v1alpha1"}
    assert http.get(BASE).json()["resources"][0]["name"] == "flavors"
    items = http.get("/apis", headers={"accept": AGGREGATED}).json()["items"]
    found = next(each for each in items if each["metadata"]["name"] == GROUP)["versions"][0]
    assert found["freshness"] == "Current"
    [flavors] = found["resources"]
    assert (flavors["scope"], flavors["shortNames"]) == ("Namespaced", ["fl"])
    assert flavors["subresources"][0]["subresource"] == "status"
    index = http.get("/openapi/v3").json()["paths"]
    url = index[f"apis/{GROUP}/v1alpha1"]["serverRelativeURL"]
    assert http.get(url).json()["info"]["title"] == "extension"
    assert kubectl("get", "fl", "-n", "default", "-o", "name").stdout.strip() == f"flavor.{GROUP}/vanilla"
    assert "flavors" in kubectl("api-resources", "--api-group", GROUP).stdout


def test_one_that_is_away_is_told_of_and_others_go_on(
    http: httpx.Client, kubectl: Kubectl, registered: ExtensionServer
) -> None:
    registered.healthy = False
    kubectl("label", "apiservice", NAME, "look=now")  # the next look by itself is half a minute away
    told = available(http, "False", "FailedDiscoveryCheck")
    url = f"https://localhost:{registered.port}{BASE}"
    assert told["message"] == f"failing or missing response from {url}: bad status from {url}: 500"
    answer = http.get(f"{BASE}/namespaces/default/flavors")
    assert (answer.status_code, answer.text) == (503, "service unavailable\n")
    items = http.get("/apis", headers={"accept": AGGREGATED}).json()["items"]
    fresh = {each["metadata"]["name"]: each["versions"][0]["freshness"] for each in items}
    assert (fresh[GROUP], fresh["apps"]) == ("Stale", "Current")
    assert http.get("/openapi/v3").json()["paths"].keys().isdisjoint({f"apis/{GROUP}/v1alpha1"})
    shown = kubectl("get", "apiservices", NAME).stdout
    assert "False (FailedDiscoveryCheck)" in shown
    assert "deployments" in kubectl("api-resources", "--api-group", "apps").stdout
    failed = kubectl("get", f"flavors.v1alpha1.{GROUP}", "-n", "default", check=False)
    assert failed.returncode != 0
    kubectl("get", "deployments", "-n", "default")
    registered.healthy = True
    available(http, "True", "Passed")
    assert http.get(f"{BASE}/namespaces/default/flavors").status_code == 200


def test_reasons_of_services_that_lead_nowhere(http: httpx.Client, register: Callable[[dict[str, Any]], None]) -> None:
    name = f"none-{uuid.uuid4().hex[:6]}"
    register(api_service(name, 443, insecureSkipTLSVerify=True))
    told = available(http, "False", "ServiceNotFound")
    assert told["message"] == f'service/{name} in "default" is not present'
    services = "/api/v1/namespaces/default/services"
    spec = {"ports": [{"name": "https", "port": 444, "targetPort": 4443}]}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
    assert http.post(services, json=body).status_code == 201
    try:
        told = available(http, "False", "ServicePortError")
        assert told["message"] == f'service/{name} in "default" is not listening on port 443'
        changed = {"spec": {"ports": [{"name": "https", "port": 443, "targetPort": 4443}]}}
        merge = {"content-type": "application/merge-patch+json"}
        assert http.patch(f"{services}/{name}", json=changed, headers=merge).status_code == 200
        told = available(http, "False", "EndpointsNotFound")
        since = told["lastTransitionTime"]
        slice_ = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [],
            "ports": [{"name": "https", "port": 4443}],
        }
        assert http.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", json=slice_).status_code == 201
        told = available(http, "False", "MissingEndpoints")
        assert (
            told["message"]
            == f'endpointslices for service/{name} in "default" have no addresses with port name "https"'
        )
        assert told["lastTransitionTime"] == since  # it was False all the time
    finally:
        http.delete(f"{services}/{name}")
        http.delete(f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{name}")


def test_a_server_with_another_authority_is_not_spoken_to(
    http: httpx.Client,
    far: ExtensionServer,
    service: str,
    tmp_path: Path,
    register: Callable[[dict[str, Any]], None],
    apiserver: ApiServer,
) -> None:
    bundle = base64.b64encode((apiserver.pki / "ca.crt").read_bytes()).decode()
    register(api_service(service, far.port, caBundle=bundle))
    available(http, "True", "Passed")  # upstream's check does not verify either
    answer = http.get(f"{BASE}/flavors")
    assert answer.status_code == 503
    assert "error trying to reach service: tls: failed to verify certificate" in answer.text


def test_local_ones_are_there_by_themselves(http: httpx.Client, kubectl: Kubectl) -> None:
    items = kubectl("get", "apiservices").stdout.splitlines()[1:]
    rows = {line.split()[0]: line.split()[1:3] for line in items if "Local" in line}
    assert rows["v1."] == ["Local", "True"] and rows["v2.autoscaling"] == ["Local", "True"]
    served = {f"{each['version']}.{group['name']}" for group in http.get("/apis").json()["groups"]
              for each in group["versions"]}  # fmt: skip
    assert served - {"v1.apiregistration.k8s.io"} <= rows.keys()


def remote_user(apiserver: ApiServer, certificate: str, **headers: str) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(apiserver.pki / "ca.crt"))
    context.load_cert_chain(apiserver.pki / f"{certificate}.crt", apiserver.pki / f"{certificate}.key")
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    with httpx.Client(base_url=apiserver.url, verify=context) as client:
        return client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", json=body, headers=headers)


def test_a_front_proxy_says_who_asks(apiserver: ApiServer) -> None:
    named = {"x-remote-user": "jane", "x-remote-group": "devs", "x-remote-extra-Why%2F": "because"}
    answer = remote_user(apiserver, "front-proxy-client", **named)
    assert answer.status_code == 201
    assert answer.json()["status"]["userInfo"] == {
        "username": "jane",
        "groups": ["devs", "system:authenticated"],
        "extra": {"why/": ["because"]},
    }
    # it is nobody by itself, and nobody else's word counts
    assert remote_user(apiserver, "front-proxy-client").status_code == 401
    own = remote_user(apiserver, "apiserver-kubelet-client", **named).json()["status"]["userInfo"]
    assert own["username"] == "kube-apiserver-kubelet-client"


def test_extension_servers_find_whom_to_trust(http: httpx.Client, apiserver: ApiServer) -> None:
    data = http.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").json()["data"]
    assert data["requestheader-client-ca-file"].strip() == (apiserver.pki / "front-proxy-ca.crt").read_text().strip()
    assert json.loads(data["requestheader-allowed-names"]) == ["front-proxy-client"]
    assert json.loads(data["requestheader-username-headers"]) == ["X-Remote-User"]
    assert json.loads(data["requestheader-extra-headers-prefix"]) == ["X-Remote-Extra-"]
