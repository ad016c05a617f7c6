"""What kubectl finds out about the server, and ``get`` in all its forms."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.clients.conftest import Walker
from tests.integration.clients.kubectl import Kubectl, ends, every


@pytest.mark.parametrize("version", every())
def test_discovery(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    resources = {line.split()[0]: line for line in kubectl("api-resources").splitlines()[1:]}
    assert resources["deployments"].split() == ["deployments", "deploy", "apps/v1", "true", "Deployment"]
    assert resources["nodes"].split() == ["nodes", "no", "v1", "false", "Node"]
    assert kubectl("api-resources", "--api-group=batch", "--verbs=patch", "-o", "name").split() == [
        "cronjobs.batch", "jobs.batch",
    ]  # fmt: skip
    versions = kubectl("api-versions").split()
    assert {"v1", "apps/v1", "autoscaling/v1", "autoscaling/v2", "events.k8s.io/v1"} <= set(versions)
    assert json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"].startswith("v1.32.")
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert json.loads(kubectl("get", "--raw", "/apis"))["kind"] == "APIGroupList"


@pytest.mark.parametrize("version", every())
def test_explain(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    deployment = kubectl("explain", "deployment.spec.strategy.rollingUpdate")
    assert re.search(r"maxSurge\s+<IntOrString>", deployment)
    assert "GROUP:      apps" in deployment
    old = kubectl("explain", "hpa", "--api-version=autoscaling/v1", "--recursive")
    assert re.search(r"targetCPUUtilizationPercentage\s+<integer>", old)
    assert "does not exist" in kubectl.refused("explain", "pod.spec.nothing")


@pytest.mark.parametrize("version", ends()[-1:])
def test_explain_of_every_kind(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    names = kubectl("api-resources", "-o", "name").split()
    # kubectl itself takes the group for fields of the older events
    names = ["events --api-version=events.k8s.io/v1" if name == "events.events.k8s.io" else name for name in names]

    def fields(name: str) -> int:
        return kubectl("explain", "--recursive", *name.split()).count("<")

    with ThreadPoolExecutor(3) as threads:
        counts = dict(zip(names, threads.map(fields, names), strict=True))
    assert {name for name, count in counts.items() if count < 10} == set()
    assert counts["pods"] > 900


@pytest.fixture
def some(http: httpx.Client, namespace: str) -> str:
    """Seven ConfigMaps, c-0 to c-6, and two Secrets."""
    for number in range(7):
        labels = {"odd": str(number % 2 == 1).lower(), "n": str(number)}
        body = {"metadata": {"name": f"c-{number}", "labels": labels}, "data": {"n": str(6 - number)}}
        assert http.post(f"/api/v1/namespaces/{namespace}/configmaps", json=body).status_code == 201
    for name, kind in (("s-0", "Opaque"), ("s-1", "example.com/any")):
        body = {"metadata": {"name": name}, "type": kind}
        assert http.post(f"/api/v1/namespaces/{namespace}/secrets", json=body).status_code == 201
    return namespace


@pytest.mark.parametrize("version", ends())
def test_outputs(walker: Walker, version: str, some: str) -> None:
    kubectl = walker(version)
    names = [f"c-{number}" for number in range(7)]
    table = kubectl("get", "configmaps").splitlines()
    assert table[0].split() == ["NAME", "DATA", "AGE"]
    assert [line.split()[:2] for line in table[1:]] == [[name, "1"] for name in names]
    assert kubectl("get", "configmap/c-0", "secret/s-0", "-o", "name") == "configmap/c-0\nsecret/s-0\n"
    assert kubectl("get", "cm", "-o", "jsonpath={.items[*].metadata.name}").split() == names
    assert kubectl("get", "cm", "c-1", "-o", "go-template={{.data.n}}") == "5"
    columns = kubectl("get", "cm", "c-1", "-o", "custom-columns=WHO:.metadata.name,ODD:.metadata.labels.odd")
    assert [line.split() for line in columns.splitlines()] == [["WHO", "ODD"], ["c-1", "true"]]
    assert "\n  name: c-1\n" in kubectl("get", "cm", "c-1", "-o", "yaml")
    shown = kubectl("get", "cm", "c-1", "--show-labels", "-L", "n", "--no-headers").split()
    assert [shown[0], *shown[3:]] == ["c-1", "1", "n=1,odd=true"]
    wide = kubectl("get", "secrets", "-A", "-o", "wide", "--field-selector=type=example.com/any").splitlines()
    assert [some, "s-1", "example.com/any"] in [line.split()[:3] for line in wide]


@pytest.mark.parametrize("version", ends())
def test_selection_and_order(walker: Walker, version: str, some: str) -> None:
    kubectl = walker(version)

    def names(*words: str) -> list[str]:
        return [line.removeprefix("configmap/") for line in kubectl("get", "cm", *words, "-o", "name").split()]

    assert names("-l", "odd=true") == ["c-1", "c-3", "c-5"]
    assert names("-l", "odd!=true,n notin (0,2)") == ["c-4", "c-6"]
    assert names("--field-selector=metadata.name!=c-0", "-l", "n in (0,1)") == ["c-1"]
    assert names("--sort-by={.data.n}") == [f"c-{number}" for number in range(6, -1, -1)]
    assert names("--chunk-size=3") == [f"c-{number}" for number in range(7)]
    assert len(kubectl("get", "cm", "--chunk-size=2", "--no-headers").splitlines()) == 7
    assert kubectl("get", "cm", "nobody", "--ignore-not-found") == ""
    assert '"data.n" is not a known field selector' in kubectl.refused("get", "cm", "--field-selector=data.n=1")
    assert kubectl.refused("get", "cm", "nobody") == 'Error from server (NotFound): configmaps "nobody" not found\n'
    assert "the server doesn't have a resource type" in kubectl.refused("get", "nothings")


def follow(kubectl: Kubectl, *words: str, until: int) -> list[str]:
    """The first ``until`` lines of a command that does not end."""
    process = kubectl.start(*words)
    assert process.stdout is not None
    try:
        return [process.stdout.readline().rstrip() for _ in range(until)]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("version", every())
def test_watch(walker: Walker, version: str, some: str, http: httpx.Client) -> None:
    kubectl = walker(version)
    words = ("get", "cm", "-l", "odd=true", "--watch", "--output-watch-events")
    process = kubectl.start(*words)
    assert process.stdout is not None
    try:
        head = [process.stdout.readline().split() for _ in range(4)]
        assert [line[:2] for line in head] == [["EVENT", "NAME"], *(["ADDED", f"c-{n}"] for n in (1, 3, 5))]
        path = f"/api/v1/namespaces/{some}/configmaps/c-1"
        merge = {"content-type": "application/merge-patch+json"}
        http.patch(path, json={"data": {"more": "x"}}, headers=merge)
        assert process.stdout.readline().split()[:3] == ["MODIFIED", "c-1", "2"]
        http.patch(path, json={"metadata": {"labels": {"odd": "no"}}}, headers=merge)
        assert process.stdout.readline().split()[:2] == ["DELETED", "c-1"]
        http.delete(f"/api/v1/namespaces/{some}/configmaps/c-3")
        assert process.stdout.readline().split()[:2] == ["DELETED", "c-3"]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert follow(kubectl, "get", "cm", "c-5", "-w", "-o", "name", until=1) == ["configmap/c-5"]


@pytest.mark.parametrize("version", ends())
def test_events(walker: Walker, version: str, http: httpx.Client) -> None:
    kubectl = walker(version)
    own = kubectl.namespace
    kubectl("create", "configmap", "c")
    uid = kubectl("get", "configmap", "c", "-o", "jsonpath={.metadata.uid}")
    about = {"kind": "ConfigMap", "apiVersion": "v1", "namespace": own, "name": "c", "uid": uid}
    body = {
        "metadata": {"name": "c.1"},
        "involvedObject": about,
        "reason": "Seen",
        "message": "it was seen",
        "type": "Warning",
        "count": 2,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "source": {"component": "test"},
    }
    assert http.post(f"/api/v1/namespaces/{own}/events", json=body).status_code == 201
    for words in (("get", "events"), ("events",), ("events", "--types=Warning", "--for=configmap/c")):
        row = kubectl(*words).splitlines()[1].split()
        assert [row[-6], row[-5], row[-4].lower(), *row[-3:]] == ["Warning", "Seen", "configmap/c", "it", "was", "seen"]
    assert kubectl("get", "events.events.k8s.io", "-o", "name") == "event.events.k8s.io/c.1\n"
    assert kubectl("get", "events", "--field-selector=involvedObject.name=c,type=Warning", "-o", "name") == (
        "event/c.1\n"
    )
    last = kubectl("describe", "configmap", "c").splitlines()[-1].split()
    assert (last[:2], last[-4:]) == (["Warning", "Seen"], ["test", "it", "was", "seen"])


@pytest.mark.parametrize("version", ends())
def test_what_the_command_itself_knows(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    assert "Kubernetes control plane" in kubectl("cluster-info")
    assert '"kind": "EventList"' in kubectl("cluster-info", "dump", f"--namespaces={kubectl.namespace}")
    assert "kubernetes-admin" in kubectl("config", "view", "--minify")


@pytest.mark.parametrize("version", ends())
def test_proxy(walker: Walker, version: str, some: str) -> None:
    process = walker(version).start("proxy", "--port=0")
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        address = re.search(r"127\.0\.0\.1:\d+", line)
        assert address, line
        with httpx.Client(base_url=f"http://{address[0]}", timeout=20) as client:
            path = f"/api/v1/namespaces/{some}/configmaps"
            assert client.get("/version").json()["minor"] == "32"
            assert len(client.get(path).json()["items"]) == 7
            assert client.post(path, json={"metadata": {"name": "through"}}).status_code == 201
            with client.stream("GET", path, params={"watch": "1", "labelSelector": "n=4"}) as answer:
                event = json.loads(next(answer.iter_lines()))
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "c-4")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
