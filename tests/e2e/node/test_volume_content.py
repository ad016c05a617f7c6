"""Volumes whose content the API server holds: configMap, secret, downwardAPI and projected, their files, modes, owners
and updates; and what is told of those that cannot be made.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from tests.e2e.node.machine import Machine
from tests.e2e.node.support import Kubectl, eventually

KEYS = 3000


def config_map(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def secret(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def volume(name: str, **source: Any) -> dict[str, Any]:
    return {"name": name, **source}


def mount(name: str, path: str = "", **fields: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path or f"/{name}", **fields}


def field(path: str, name: str) -> dict[str, Any]:
    return {"path": name, "fieldRef": {"fieldPath": path}}


def amount(resource: str, name: str, divisor: str = "1") -> dict[str, Any]:
    reference = {"containerName": "app", "resource": resource, "divisor": divisor}
    return {"path": name, "resourceFieldRef": reference}


def lines(kubectl: Kubectl, script: str, name: str = "web") -> list[str]:
    return kubectl.sh(script, name).splitlines()


def projected(kubectl: Kubectl) -> dict[str, Any]:
    token = {"path": "token", "audience": "somebody", "expirationSeconds": 1200}
    return {
        "defaultMode": 0o440,
        "sources": [
            {"configMap": {"name": "settings", "items": [{"key": "a", "path": "map/a", "mode": 0o400}]}},
            {"secret": {"name": "hidden"}},
            {"downwardAPI": {"items": [field("metadata.namespace", "namespace")]}},
            {"serviceAccountToken": token},
            {"configMap": {"name": "never", "optional": True}},
        ],
    }


def test_files_modes_owners_and_updates(kubectl: Kubectl, machine: Machine) -> None:
    binary = base64.b64encode(b"\x00\xff").decode()
    kubectl.apply(
        config_map("settings", data={"a": "1", "b": "1"}, binaryData={"bin": binary}),
        config_map("big", data={"big": "x" * 1_000_000}),
        config_map("many", data={f"key-{number}": str(number) for number in range(KEYS)}),
        config_map("fixed", data={"a": "fixed"}, immutable=True),
        secret("hidden", password="hunter2"),
    )
    items = [{"key": "a", "path": "deep/er/a", "mode": 0o400}, {"key": "bin", "path": "bin"}]
    down = [
        field("metadata.name", "name"),
        field("metadata.uid", "uid"),
        field("metadata.labels", "labels"),
        field("metadata.annotations['note']", "note"),
        amount("limits.cpu", "cpu", "1m"),
        amount("requests.memory", "memory", "1Mi"),
        amount("limits.memory", "allocatable"),
    ]
    sources = {
        "all": {"configMap": {"name": "settings"}},
        "chosen": {"configMap": {"name": "settings", "items": items, "defaultMode": 0o440}},
        "big": {"configMap": {"name": "big"}},
        "many": {"configMap": {"name": "many"}},
        "fixed": {"configMap": {"name": "fixed"}},
        "hidden": {"secret": {"secretName": "hidden", "defaultMode": 0o400}},
        "down": {"downwardAPI": {"items": down}},
        "some": {"projected": projected(kubectl)},
        "later": {"configMap": {"name": "later", "optional": True}},
    }
    mounts = [*(mount(name) for name in sources), mount("all", "/sub/a", subPath="a")]
    resources = {"limits": {"cpu": "250m"}, "requests": {"memory": "64Mi"}}
    kubectl.pod(
        command="""
        trap 'exit 0' TERM
        while true; do
          cd -P /all/..data 2>/dev/null && x=$(cat a 2>/dev/null) && y=$(cat b 2>/dev/null) && [ "$x" != "$y" ] &&
            echo "torn $x $y"
          usleep 1000
        done""",
        metadata={"labels": {"app": "web"}, "annotations": {"note": 'a "note"'}},
        securityContext={"fsGroup": 2000},
        volumes=[volume(name, **source) for name, source in sources.items()],
        container={"volumeMounts": mounts, "resources": resources},
    )
    pod = kubectl.running()
    assert lines(kubectl, "ls /all; od -An -tx1 /all/bin; readlink /all/a; stat -L -c '%a %g' /all/a") == [
        *("a", "b", "bin"),
        " 00 ff",
        "..data/a",
        "644 2000",
    ]
    assert lines(
        kubectl, "cd /chosen; find . -follow -type f | grep -v '/\\.\\.' | sort; stat -L -c %a deep/er/a bin"
    ) == [
        "./bin",
        "./deep/er/a",
        "440",
        "440",
    ]
    assert lines(
        kubectl, "wc -c < /big/big; ls /many | wc -l; cat /many/key-2999; ls -A /later | grep -v '^[.]'; true"
    ) == [
        "1000000",
        str(KEYS),
        "2999",
    ]
    assert lines(kubectl, "cat /hidden/password; echo; stat -L -c %a /hidden/password; stat -f -c %T /hidden") == [
        "hunter2",
        "440",
        "tmpfs",
    ]
    memory = kubectl.get("node", machine.node)["status"]["allocatable"]["memory"]
    assert memory.endswith("Ki")
    down_files = "for f in name uid labels note cpu memory allocatable; do cat /down/$f; echo; done"
    shown = lines(kubectl, down_files)
    assert shown[:6] == ["web", pod["metadata"]["uid"], 'app="web"', 'a "note"', "250", "64"]
    assert abs(int(shown[6]) // 1024 - int(memory[:-2])) < 2
    some = lines(kubectl, "cd /some; ls -R . | grep -v ^$; cat namespace; echo; stat -L -c %a map/a password token")
    assert {"map", "namespace", "password", "token"} <= set(some)
    assert some[-4:] == [kubectl.namespace, "440", "440", "640"]
    token = kubectl.sh("cat /some/token")
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["aud"] == ["somebody"] and claims["exp"] - claims["iat"] == 1200
    assert claims["kubernetes.io"]["pod"] == {"name": "web", "uid": pod["metadata"]["uid"]}
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    options = next(line for line in table if f"{pod['metadata']['uid']}/volumes/kubernetes.io~secret/hidden " in line)
    assert "noswap" in options or tuple(map(int, os.uname().release.split(".")[:2])) < (6, 4)
    # Nobody writes into them, and nothing of a secret is on the disk.
    for path in ("/all/new", "/hidden/new", "/down/new", "/some/new"):
        assert "Read-only file system" in kubectl.attempt("exec", "web", "--", "touch", path).err
    on_disk = machine.run(
        "grep", "-rl", "--exclude-dir=kubernetes.io~*", "hunter2", str(machine.kubelet_root), check=False
    )
    assert on_disk == ""

    before = kubectl.sh("readlink /all/..data")
    for number in range(2, 5):
        kubectl("patch", "configmap", "settings", "-p", json.dumps({"data": {"a": str(number), "b": str(number)}}))
    kubectl("patch", "secret", "hidden", "-p", json.dumps({"stringData": {"password": "changed"}}))
    kubectl("delete", "configmap", "fixed")
    kubectl.apply(config_map("later", data={"a": "came"}), config_map("fixed", data={"a": "other"}))
    kubectl("label", "pod", "web", "tier=front")
    wanted = ["4", "changed", "changed", "came", 'app="web"', 'tier="front"', "4"]
    script = """for f in /all/a /hidden/password /some/password /later/a /down/labels /chosen/deep/er/a; do
        cat $f; echo; done"""
    eventually("the files follow", lambda: lines(kubectl, script) == wanted)
    assert kubectl.sh("cat /sub/a") == "1"  # mounted by subPath: stays
    assert kubectl.sh("cat /fixed/a") == "fixed"
    assert kubectl.sh("readlink /all/..data") != before
    assert kubectl.sh("ls -A /all | grep -c '^[.][.]2'") == "1"
    assert "torn" not in kubectl("logs", "web")

    # A kubelet that was restarted goes on where its predecessor was.
    machine.kubelet.restart()
    kubectl("patch", "configmap", "settings", "-p", json.dumps({"data": {"a": "9", "b": "9"}}))
    read = ("exec", "web", "--", "cat", "/all/a")
    eventually("the file follows", lambda: kubectl.attempt(*read).out == "9")


def test_what_cannot_be_made_is_told_and_tried_again(kubectl: Kubectl) -> None:
    kubectl.apply(config_map("settings", data={"a": "1"}), secret("hidden", password="p"))
    none = {"items": [{"key": "none", "path": "x"}]}
    missing = [{"configMap": {"name": "gone"}}, {"secret": {"name": "gone"}}]
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "map": ({"configMap": {"name": "soon"}}, 'configmap "soon" not found'),
        "secret": ({"secret": {"secretName": "soon"}}, 'secret "soon" not found'),
        "key": ({"configMap": {"name": "settings", **none}}, "configmap references non-existent config key: none"),
        "hidden": ({"secret": {"secretName": "hidden", **none}}, "references non-existent secret key: none"),
        "both": ({"projected": {"sources": missing}}, '[configmap "gone" not found, secret "gone" not found]'),
        "csi": (
            {"csi": {"driver": "example.com"}},
            "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], "
            'failed to process volumes=[v]: failed to get Plugin from volumeSpec for volume "v" '
            "err=no volume plugin matched",
        ),
    }
    for name, (source, _) in wrong.items():
        kubectl.pod(name, volumes=[volume("v", **source)], container={"volumeMounts": [mount("v")]})
    for name, (_, text) in wrong.items():
        event = kubectl.event("FailedMount", name, text)
        prefix = 'MountVolume.SetUp failed for volume "v" : '
        assert event["message"] == (text if text.startswith("Unable") else prefix + text)
        state = kubectl.status(name)["containerStatuses"][0]["state"]
        assert state == {"waiting": {"reason": "ContainerCreating"}}
    kubectl.apply(config_map("soon", data={"a": "1"}), secret("soon", a="2"))
    kubectl.running("map")
    kubectl.running("secret")
    assert (kubectl.sh("cat /v/a", "map"), kubectl.sh("cat /v/a", "secret")) == ("1", "2")
    refused = kubectl.attempt("create", "-f", "-", stdin=json.dumps(_escaping(kubectl)))
    assert refused.code == 1 and "must not contain '..'" in refused.err


def _escaping(kubectl: Kubectl) -> dict[str, Any]:
    source = {"name": "settings", "items": [{"key": "a", "path": "../../etc/passwd"}]}
    container = {"name": "c", "image": "i", "volumeMounts": [mount("v")]}
    spec = {"containers": [container], "volumes": [volume("v", configMap=source)]}
    metadata = {"name": "escape", "namespace": kubectl.namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
