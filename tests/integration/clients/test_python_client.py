"""The official Python client as it is: typed, dynamic, watches, utilities and leader election."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from tests.integration.conftest import ApiServer


@pytest.fixture
def api(apiserver: ApiServer) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(apiserver.kubeconfig())) as made:
        yield made


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


def config_map(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"made": "here"}), data=data)


def deployment(name: str) -> client.V1Deployment:
    labels = {"app": name}
    container = client.V1Container(name="c", image="httpd", ports=[client.V1ContainerPort(container_port=80)])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels=labels), template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name=name), spec=spec)


def test_typed_objects(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, config_map("c", a="1"))
    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("c", namespace, made)
    assert replaced.data == {"a": "1", "b": "2"}
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map("c", namespace, made)
    assert (stale.value.status, stale.value.reason) == (409, "Conflict")
    patched = core.patch_namespaced_config_map("c", namespace, {"data": {"a": None}})
    assert patched.data == {"b": "2"}
    json_patch = [{"op": "add", "path": "/data/c", "value": "3"}]
    assert core.patch_namespaced_config_map("c", namespace, json_patch).data == {"b": "2", "c": "3"}
    assert core.read_namespaced_config_map("c", namespace).metadata.uid == made.metadata.uid
    deleted = core.delete_namespaced_config_map("c", namespace)
    assert (deleted["status"], deleted["details"]["uid"]) == ("Success", made.metadata.uid)
    with pytest.raises(ApiException) as gone:
        core.read_namespaced_config_map("c", namespace)
    assert gone.value.status == 404


def test_typed_workloads(api: client.ApiClient, core: client.CoreV1Api, namespace: str) -> None:
    apps = client.AppsV1Api(api)
    made = apps.create_namespaced_deployment(namespace, deployment("web"))
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    assert made.metadata.creation_timestamp.tzinfo is not None
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    scale.spec.replicas = 4
    assert apps.replace_namespaced_deployment_scale("web", namespace, scale).spec.replicas == 4
    status = {"status": {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2}}
    assert apps.patch_namespaced_deployment_status("web", namespace, status).status.available_replicas == 2
    (found,) = apps.list_namespaced_deployment(namespace).items
    assert (found.spec.replicas, found.status.replicas) == (4, 2)
    body = client.V1DeleteOptions(propagation_policy="Foreground")
    apps.delete_namespaced_deployment("web", namespace, body=body)
    assert apps.read_namespaced_deployment("web", namespace).metadata.finalizers == ["foregroundDeletion"]
    pod = client.V1Pod(metadata=client.V1ObjectMeta(name="p"), spec=made.spec.template.spec)
    assert core.create_namespaced_pod(namespace, pod, dry_run="All").spec.containers[0].image == "httpd"
    assert core.list_namespaced_pod(namespace).items == []
    review = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="get", resource="pods")
        )
    )
    assert client.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed is True


def test_pages(core: client.CoreV1Api, namespace: str) -> None:
    for number in range(7):
        core.create_namespaced_config_map(namespace, config_map(f"c-{number}"))
    names: list[str] = []
    remaining: list[int | None] = []
    token = None
    while True:
        page = core.list_namespaced_config_map(namespace, limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        remaining.append(page.metadata.remaining_item_count)
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"c-{number}" for number in range(7)]
    assert remaining == [4, 1, None]
    core.delete_collection_namespaced_config_map(namespace, label_selector="made=here")
    assert core.list_namespaced_config_map(namespace).items == []


def test_a_watch_goes_on_where_it_was(core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, config_map("a"))
    stream = watch.Watch()
    seen = []
    for event in stream.stream(core.list_namespaced_config_map, namespace, timeout_seconds=10):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 1:
            core.patch_namespaced_config_map("a", namespace, {"data": {"x": "y"}})
        else:
            stream.stop()
    assert seen == [("ADDED", "a"), ("MODIFIED", "a")]
    version = stream.resource_version
    core.create_namespaced_config_map(namespace, config_map("b"))
    core.delete_namespaced_config_map("a", namespace)
    again = watch.Watch().stream(
        core.list_namespaced_config_map, namespace, resource_version=version, timeout_seconds=1
    )
    assert [(event["type"], event["object"].metadata.name) for event in again] == [("ADDED", "b"), ("DELETED", "a")]


def test_a_watch_with_bookmarks_and_one_of_too_old_a_version(core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, config_map("a"))
    more: dict[str, Any] = {"allow_watch_bookmarks": True, "send_initial_events": True, "timeout_seconds": 5}
    stream = watch.Watch()
    types = []
    for event in stream.stream(
        core.list_namespaced_config_map, namespace, resource_version_match="NotOlderThan", **more
    ):
        types.append(event["type"])
        if event["type"] == "BOOKMARK":
            marks = event["raw_object"]["metadata"]["annotations"]
            assert marks["k8s.io/initial-events-end"] == "true"
            stream.stop()
    assert types == ["ADDED", "BOOKMARK"]
    with pytest.raises(ApiException) as expired:
        list(watch.Watch().stream(core.list_namespaced_config_map, namespace, resource_version="1", timeout_seconds=5))
    assert expired.value.status == 410


def test_dynamic(api: client.ApiClient, namespace: str, tmp_path: Path) -> None:
    dynamic = DynamicClient(api, cache_file=str(tmp_path / "cache.json"))
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    assert {"Deployment", "StatefulSet"} <= {r.kind for r in dynamic.resources.search(group="apps", api_version="v1")}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"a": "1"}}
    made = maps.create(body=body, namespace=namespace)
    assert made.data.a == "1"
    merged = maps.patch(
        name="d", namespace=namespace, body={"data": {"b": "2"}}, content_type="application/merge-patch+json"
    )
    assert merged.to_dict()["data"] == {"a": "1", "b": "2"}
    stale = made.to_dict()
    with pytest.raises(ConflictError):
        maps.replace(body=stale, namespace=namespace)
    assert [item.metadata.name for item in maps.get(namespace=namespace).items] == ["d"]
    event = next(iter(maps.watch(namespace=namespace, timeout=5)))
    assert (event["type"], event["object"].metadata.name) == ("ADDED", "d")
    maps.delete(name="d", namespace=namespace)
    with pytest.raises(NotFoundError):
        maps.get(name="d", namespace=namespace)
    deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    deployments.create(body=api.sanitize_for_serialization(deployment("web")), namespace=namespace)
    assert deployments.scale.get(name="web", namespace=namespace).spec.replicas == 1


def test_create_from_yaml(api: client.ApiClient, core: client.CoreV1Api, namespace: str, tmp_path: Path) -> None:
    objects = [api.sanitize_for_serialization(thing) for thing in (deployment("web"), config_map("c"))]
    objects[0] |= {"apiVersion": "apps/v1", "kind": "Deployment"}
    objects[1] |= {"apiVersion": "v1", "kind": "ConfigMap"}
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    utils.create_from_yaml(api, str(file), namespace=namespace)
    with pytest.raises(utils.FailToCreateError) as again:
        utils.create_from_yaml(api, str(file), namespace=namespace)
    assert "AlreadyExists" in str(again.value)
    assert core.read_namespaced_config_map("c", namespace).metadata.name == "c"


class EnoughLed(Exception):
    """Ends the leadership of whoever has seen it."""


def test_leader_election(apiserver: ApiServer, namespace: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of two candidates one leads at a time, and the other after it."""
    config.load_kube_config(str(apiserver.kubeconfig()))
    caplog.set_level(logging.CRITICAL, "leaderelection")
    led: list[tuple[str, str]] = []

    def lead(name: str) -> None:
        lease = client.CoordinationV1Api().read_namespaced_lease("lock", namespace)
        led.append((name, lease.spec.holder_identity))
        raise EnoughLed

    def run(name: str) -> None:
        settings = electionconfig.Config(
            LeaseLock("lock", namespace, name),
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=lambda: lead(name),
            onstopped_leading=None,
        )
        leaderelection.LeaderElection(settings).run()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(run, name) for name in ("a", "b")]:
            done.result(30)
    assert sorted(led) == [("a", "a"), ("b", "b")]
