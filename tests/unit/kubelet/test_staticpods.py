"""Static pods: what a manifest says, what a folder says, and what the API server is to be shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightkube.resources.core_v1 import Node, Pod

from common.api.status import Conflict, NotFound, ServiceUnavailable
from kubelet.staticpods.files import ManifestFolder
from kubelet.staticpods.manifest import ManifestError, Origin, parse_manifest
from kubelet.staticpods.mirrors import MirrorClient, Mirrors, difference, mirror_of, reflects

NODE = Node.from_dict({"metadata": {"name": "n1", "uid": "node-uid"}})
MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, annotations: {a: b}}
spec:
  containers: [{name: app, image: "i:1"}]
  tolerations: [{key: own}]
"""


def parsed(text: str = MANIFEST, path: str = "/m/web.yaml") -> Pod:
    return parse_manifest(text.encode(), Origin("file", path), "N1", "2026-01-01T00:00:00Z")


def test_a_manifest_is_a_pod_of_this_node() -> None:
    pod = parsed()
    assert pod.metadata is not None and pod.spec is not None
    assert (pod.metadata.name, pod.metadata.namespace, pod.spec.nodeName) == ("web-n1", "default", "N1")
    uid = pod.metadata.uid
    assert uid is not None and len(uid) == 32
    assert pod.metadata.annotations == {
        "a": "b",
        "kubernetes.io/config.source": "file",
        "kubernetes.io/config.hash": uid,
        "kubernetes.io/config.seen": "2026-01-01T00:00:00Z",
    }
    assert [(each.key, each.operator, each.effect) for each in pod.spec.tolerations or ()] == [
        ("own", None, None),
        (None, "Exists", "NoExecute"),
    ]
    assert (pod.spec.restartPolicy, pod.spec.dnsPolicy) == ("Always", "ClusterFirst")


def test_its_uid_says_what_the_file_says() -> None:
    def uid(*args: str) -> str:
        meta = parsed(*args).metadata
        assert meta is not None and meta.uid is not None
        return meta.uid

    as_json = json.dumps(
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"annotations": {"a": "b"}, "name": "web"},
            "spec": {"tolerations": [{"key": "own"}], "containers": [{"name": "app", "image": "i:1"}]},
        }
    )
    assert uid() == uid(as_json)
    assert uid() != uid(MANIFEST.replace("i:1", "i:2"))
    assert uid() != uid(MANIFEST, "/m/other.yaml")
    assert uid(MANIFEST.replace("name: web,", "name: web, uid: mine,")) == "mine"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\t- no: yaml",
        "[]",
        "kind: Pod",
        MANIFEST.replace("kind: Pod", "kind: Service"),
        MANIFEST.replace("name: web", "name: Web_1"),
        MANIFEST.replace("metadata: {name: web, annotations: {a: b}}", ""),
        MANIFEST.replace('containers: [{name: app, image: "i:1"}]', "containers: []"),
        MANIFEST.replace('image: "i:1"', "image: 7"),
        MANIFEST.replace('[{name: app, image: "i:1"}]', "[{name: a, image: i}, {name: a, image: i}]"),
        MANIFEST.replace('[{name: app, image: "i:1"}]', "nonsense"),
        "---\n---\n" + MANIFEST,
    ],
)
def test_what_is_no_manifest_is_said(text: str) -> None:
    with pytest.raises(ManifestError):
        parsed(text)


@given(st.binary(max_size=200))
def test_garbage_is_an_error_and_nothing_else(text: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(text, Origin("file", "/m/x"), "n1", "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=12,
)


@given(JSON, JSON, st.sampled_from(["metadata", "spec", "containers", "tolerations", "volumes", "annotations"]))
def test_a_pod_with_anything_in_it_is_a_pod_or_an_error(first: Any, second: Any, place: str) -> None:
    raw: Any = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "app", "image": "i"}], "extra": second},
    }
    target = raw if place in raw else raw["metadata"] if place == "annotations" else raw["spec"]
    target[place] = first
    try:
        parse_manifest(json.dumps(raw).encode(), Origin("file", "/m/x"), "n1", "")
    except ManifestError:
        pass


def names(pods: list[Pod] | None) -> list[str]:
    return sorted(str(pod.metadata.name) for pod in pods or () if pod.metadata is not None)


def folder_of(path: Path) -> tuple[ManifestFolder, list[str]]:
    said: list[str] = []
    return ManifestFolder(path, "n1", said.append), said


async def look(folder: ManifestFolder) -> list[Pod]:
    """One look, as the loop has it."""
    found: list[list[Pod]] = []
    looking = asyncio.create_task(folder.run(found.append, 3600))
    async with asyncio.timeout(5):
        while not found:  # noqa: ASYNC110 - a thread fills it
            await asyncio.sleep(0.001)
    looking.cancel()
    return found[0]


async def test_a_malformed_file_is_told_of_once_and_touches_nothing(tmp_path: Path) -> None:
    folder, said = folder_of(tmp_path)
    (tmp_path / "web.yaml").write_text(MANIFEST)
    (tmp_path / "other.yaml").write_text(MANIFEST.replace("web", "other"))
    (tmp_path / ".hidden").write_text("nonsense: [")
    (tmp_path / "below").mkdir()
    (tmp_path / "nowhere").symlink_to("nothing")
    first = await look(folder)
    assert names(first) == ["other-n1", "web-n1"] and said == []
    (tmp_path / "web.yaml").write_text("kind: [")
    assert names(await look(folder)) == ["other-n1", "web-n1"]
    await look(folder)
    assert len(said) == 1 and said[0].startswith(f'Could not process manifest file "{tmp_path}/web.yaml": ')
    (tmp_path / "web.yaml").write_text(MANIFEST.replace("i:1", "i:2"))
    changed = await look(folder)
    assert {str(pod.metadata.uid) for pod in changed if pod.metadata} != {
        str(pod.metadata.uid) for pod in first if pod.metadata
    }
    (tmp_path / "web.yaml").unlink()
    assert names(await look(folder)) == ["other-n1"]


async def test_the_first_of_two_files_has_the_name(tmp_path: Path) -> None:
    folder, said = folder_of(tmp_path)
    (tmp_path / "a.yaml").write_text(MANIFEST)
    (tmp_path / "b.yaml").write_text(MANIFEST.replace("i:1", "i:2"))
    [pod] = await look(folder)
    assert pod.spec is not None and pod.spec.containers[0].image == "i:1"
    assert said == [f'Could not process manifest file "{tmp_path}/b.yaml": duplicate pod name "web-n1", ignoring']


async def test_one_file_and_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    folder, _ = folder_of(file)
    assert await look(folder) == []
    file.write_text(MANIFEST)
    assert names(await look(folder)) == ["web-n1"]


def test_a_mirror_shows_the_pod_and_its_hash() -> None:
    pod = parsed()
    mirror = mirror_of(pod, NODE)
    assert mirror.metadata is not None and pod.metadata is not None and mirror.metadata.annotations is not None
    assert mirror.metadata.uid is None and mirror.spec == pod.spec
    assert mirror.metadata.annotations["kubernetes.io/config.mirror"] == pod.metadata.uid
    [owner] = mirror.metadata.ownerReferences or []
    assert (owner.kind, owner.name, owner.uid, owner.controller) == ("Node", "n1", "node-uid", True)
    assert pod.metadata.ownerReferences is None
    assert reflects(mirror, pod)


def test_what_has_to_be_done_for_the_mirrors() -> None:
    pod, changed = parsed(), parsed(MANIFEST.replace("i:1", "i:2"))
    mirror = mirror_of(pod, NODE)
    deleted = mirror_of(pod, NODE)
    assert deleted.metadata is not None
    deleted.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"  # type: ignore[assignment]
    plain = Pod.from_dict({"metadata": {"name": "api", "namespace": "default"}})

    def todo(static: list[Pod], shown: list[Pod]) -> tuple[int, int]:
        found = difference(static, shown)
        return len(found.create), len(found.delete)

    assert todo([pod], []) == (1, 0)
    assert todo([pod], [mirror, plain]) == (0, 0)
    assert todo([], [mirror, plain]) == (0, 1)
    assert todo([changed], [mirror]) == (1, 1)
    assert todo([pod], [deleted]) == (1, 1)


class Server:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls: list[tuple[str, Any]] = []

    async def create(self, pod: Pod) -> Pod:
        return self._call("create", pod)

    async def delete(self, kind: Any, name: str, namespace: str, **options: Any) -> None:
        self._call("delete", options)

    async def patch(self, kind: Any, name: str, patch: Any, namespace: str, **options: Any) -> Any:
        return self._call("patch", patch)

    def _call(self, verb: str, body: Any) -> Any:
        self.calls.append((verb, body))
        if self.errors:
            raise self.errors.pop(0)
        return body


async def test_mirrors_wait_for_the_server() -> None:
    server: Any = Server(ServiceUnavailable("away"))
    shown: list[Pod] | None = None
    mirrors = Mirrors(server, lambda: [parsed()], lambda: shown, lambda: NODE)
    assert not await mirrors.sync() and server.calls == []
    shown = []
    assert not await mirrors.sync()
    assert await mirrors.sync()
    old = mirror_of(parsed(MANIFEST.replace("i:1", "i:0")), NODE)
    assert old.metadata is not None
    old.metadata.uid = "old-uid"
    shown = [old]
    server.errors = [NotFound("gone")]
    server.calls.clear()
    assert await mirrors.sync()
    assert [verb for verb, _ in server.calls] == ["delete", "create"]
    assert server.calls[0][1] == {"grace_period_seconds": 0, "uid": "old-uid"}


async def test_a_status_reaches_the_mirror_and_never_another() -> None:
    pod = parsed()
    mirror: Pod | None = None
    server: Any = Server()
    client = MirrorClient(server, pod, lambda: mirror)
    patch = {"metadata": {"uid": "static"}, "status": {"phase": "Running"}}
    with pytest.raises(ServiceUnavailable):
        await client.patch(Pod, "web-n1", patch, "default", subresource="status")
    mirror = mirror_of(parsed(MANIFEST.replace("i:1", "i:2")), NODE)
    with pytest.raises(ServiceUnavailable):
        await client.patch(Pod, "web-n1", patch, "default", subresource="status")
    mirror = mirror_of(pod, NODE)
    assert mirror.metadata is not None
    mirror.metadata.uid = "mirror-uid"
    await client.patch(Pod, "web-n1", patch, "default", subresource="status")
    assert server.calls == [("patch", {"metadata": {"uid": "mirror-uid"}, "status": {"phase": "Running"}})]
    for error in (NotFound("gone"), Conflict("another")):  # the worker must not take that for its own pod's end
        server.errors = [error]
        with pytest.raises(ServiceUnavailable):
            await client.patch(Pod, "web-n1", patch, "default", subresource="status")
