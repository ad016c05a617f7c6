"""Images from a registry: pull policies, credentials, bounded pulls, and what is said about each."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress

import docker
import pytest

from tests.e2e.node.machine import Machine, image_archive
from tests.e2e.node.registry import Registry
from tests.e2e.node.support import Kubectl, container_status, eventually

SLEEP = ["sleep", "600"]
PULLED = r"in [\dms.]+ \([\dms.]+ including waiting\)\. Image size: \d+ bytes\."


@pytest.fixture(scope="module")
def layer() -> bytes:
    return image_archive()


@pytest.fixture
def registry(machine: Machine, layer: bytes) -> Iterator[Registry]:
    with Registry() as registry:
        yield registry
        forget(machine, registry)


def forget(machine: Machine, registry: Registry) -> None:
    client = machine.docker()
    for image in client.images():
        names = [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]
        for name in names:
            if name.startswith(f"{registry.host}/"):
                with suppress(docker.errors.ImageNotFound):
                    client.remove_image(name, force=True)
    client.close()


def messages(kubectl: Kubectl, name: str, reason: str) -> list[str]:
    return [event["message"] for event in kubectl.events(name) if event["reason"] == reason]


def test_policies_and_what_is_said(kubectl: Kubectl, machine: Machine, registry: Registry, layer: bytes) -> None:
    digest = registry.add("team/app", layer, Cmd=SLEEP)
    image = f"{registry.host}/team/app"
    kubectl.pod("first", container={"image": f"{image}:v1"})
    first = kubectl.running("first")
    kubectl.event("Pulling", "first", f'Pulling image "{image}:v1"')
    assert re.search(PULLED, kubectl.event("Pulled", "first", "Successfully pulled")["message"])
    status = container_status(first)
    assert status["image"] == f"{image}:v1"
    assert status["imageID"] == f"docker-pullable://{image}@{digest}"
    pulls = len(registry.pulls)
    kubectl.pod("again", container={"image": f"{image}:v1"})
    kubectl.pod("digest", container={"image": f"{image}@{digest}"})
    kubectl.running("again")
    kubectl.running("digest")
    for name, shown in (("again", f"{image}:v1"), ("digest", f"{image}@{digest}")):
        assert messages(kubectl, name, "Pulled") == [f'Container image "{shown}" already present on machine']
    assert len(registry.pulls) == pulls
    kubectl.pod("always", container={"image": f"{image}:v1", "imagePullPolicy": "Always"})
    kubectl.pod("never", container={"image": f"{image}:v2", "imagePullPolicy": "Never"})
    kubectl.pod("wrong", container={"image": f"{image}:v2"})
    kubectl.pod("invalid", container={"image": "Team/App:v1"})
    kubectl.running("always")
    assert len(registry.pulls) > pulls
    text = f'Container image "{image}:v2" is not present with pull policy of Never'
    assert kubectl.waiting("never", "ErrImageNeverPull") == text
    assert kubectl.event("ErrImageNeverPull", "never")["message"] == text
    assert kubectl.event("Failed", "never")["message"] == "Error: ErrImageNeverPull"
    assert "manifest unknown" in kubectl.waiting("wrong", "ErrImagePull")
    kubectl.event("Failed", "wrong", f'Failed to pull image "{image}:v2": ')
    back_off = kubectl.waiting("wrong", "ImagePullBackOff")
    assert back_off.startswith(f'Back-off pulling image "{image}:v2": ErrImagePull: ')
    assert kubectl.event("BackOff", "wrong")["type"] == "Normal"
    why = 'couldn\'t parse image name "Team/App:v1": invalid reference format: repository name must be lowercase'
    assert kubectl.waiting("invalid", "InvalidImageName") == f'Failed to apply default image tag "Team/App:v1": {why}'
    kubectl.event("InspectFailed", "invalid", why)
    registry.add("team/app", layer, "v2", Cmd=SLEEP)
    kubectl.running("wrong")  # it tries again by itself

    images = kubectl.get("node", machine.node)["status"]["images"]
    assert any(machine.image in each["names"] and each["sizeBytes"] > 0 for each in images)
    assert 0 < len(images) <= 50
    assert images == sorted(images, key=lambda each: -each["sizeBytes"])


def secret(name: str, host: str, user: str, password: str, *, old: bool = False) -> dict[str, object]:
    entry = {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}
    key, content = (".dockercfg", entry) if old else (".dockerconfigjson", {"auths": entry})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/dockercfg" if old else "kubernetes.io/dockerconfigjson",
        "stringData": {key: json.dumps(content)},
    }


def test_credentials(kubectl: Kubectl, machine: Machine, layer: bytes) -> None:
    with Registry({"ann": "one", "bob": "two"}) as registry:
        for name in ("plain", "old", "wide", "several", "nobody"):
            registry.add(name, layer, Cmd=SLEEP, Labels={"for": name})
        port = registry.host.rpartition(":")[2]
        kubectl.apply(
            secret("good", f"http://{registry.host}", "ann", "one"),
            secret("old", registry.host, "bob", "two", old=True),
            secret("wide", f"127.*.0.1:{port}", "ann", "one"),
            secret("bad", registry.host, "ann", "wrong"),
            secret("other", "registry.example", "ann", "one"),
        )

        def start(name: str, *secrets: str) -> None:
            wanted = [{"name": each} for each in secrets]
            kubectl.pod(name, container={"image": f"{registry.host}/{name}:v1"}, imagePullSecrets=wanted)

        start("plain", "missing", "good")
        start("old", "old")
        start("wide", "wide")
        start("several", "bad", "other", "old")
        start("nobody", "bad", "other")
        for name in ("plain", "old", "wide", "several"):
            kubectl.running(name)
        text = "Unable to retrieve some image pull secrets (missing); attempting to pull the image may not succeed."
        assert kubectl.event("FailedToRetrieveImagePullSecret", "plain")["message"] == text
        assert kubectl.waiting("nobody", "ImagePullBackOff")
        assert not messages(kubectl, "old", "FailedToRetrieveImagePullSecret")
        assert registry.seen == {"ann", "bob"}
        kubectl("delete", "pods", "--all", "--grace-period=1")
        forget(machine, registry)


def test_pulls_are_bounded_and_one_for_all(kubectl: Kubectl, registry: Registry, layer: bytes) -> None:
    for i in range(6):
        registry.add(f"app{i}", layer, Cmd=SLEEP, Labels={"number": str(i)})
    registry.free.clear()
    for i in range(6):
        kubectl.pod(f"app{i}", container={"image": f"{registry.host}/app{i}:v1"})
    kubectl.pod("twin", container={"image": f"{registry.host}/app0:v1"})
    eventually("as many pulls as may be", lambda: registry.at_once == 4)
    eventually("all want to pull", lambda: all(messages(kubectl, f"app{i}", "Pulling") for i in range(6)))
    assert registry.at_once == 4
    registry.free.set()
    for name in (*(f"app{i}" for i in range(6)), "twin"):
        kubectl.running(name)
    assert registry.most_at_once == 4
