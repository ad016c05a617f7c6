"""Apply, diff, edit, replace, patch and the words that are patches in disguise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.clients.conftest import Walker
from tests.integration.clients.kubectl import Kubectl, ends, every


def deployment(**spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "httpd:v1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


def manifest(*objects: dict[str, Any]) -> str:
    return yaml.safe_dump_all(objects)


def container_of(kubectl: Kubectl) -> dict[str, Any]:
    found: dict[str, Any] = kubectl.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("version", every())
def test_apply(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    wanted = deployment()
    assert kubectl("apply", "-f", "-", stdin=manifest(wanted)) == "deployment.apps/web created\n"
    assert kubectl("apply", "-f", "-", stdin=manifest(wanted)) == "deployment.apps/web unchanged\n"
    assert kubectl("diff", "-f", "-", stdin=manifest(wanted)) == ""
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl("label", "deployment/web", "kept=yes")
    del wanted["spec"]["replicas"]
    wanted["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "B", "value": "3"}]
    shown = kubectl.refused("diff", "-f", "-", stdin=manifest(wanted))
    assert "-        - name: A\n" in shown
    assert '+          value: "3"\n' in shown
    dry = kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest(wanted))
    assert dry == "deployment.apps/web configured (server dry run)\n"
    assert len(container_of(kubectl)["env"]) == 2
    assert kubectl("apply", "-f", "-", stdin=manifest(wanted)) == "deployment.apps/web configured\n"
    stored = kubectl.get("deployment", "web")
    assert stored["metadata"]["labels"] == {"app": "web", "kept": "yes"}
    assert stored["spec"]["replicas"] == 1, "what was applied once and is no more goes back to the default"
    assert container_of(kubectl)["env"] == [{"name": "B", "value": "3"}]
    last = json.loads(kubectl("apply", "view-last-applied", "deployment/web", "-o", "json"))
    assert "replicas" not in last["spec"]
    assert kubectl("delete", "-f", "-", "--wait=false", stdin=manifest(wanted)) == 'deployment.apps "web" deleted\n'


@pytest.mark.parametrize("version", ends())
def test_apply_complains_as_upstream_does(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    wrong = kubectl.refused("apply", "-f", "-", stdin=manifest(deployment(replica=1)))
    assert 'strict decoding error: unknown field "spec.replica"' in wrong
    kubectl("create", "-f", "-", stdin=manifest(deployment()))
    again = kubectl.attempt("apply", "-f", "-", stdin=manifest(deployment(replicas=2)))
    assert "missing the kubectl.kubernetes.io/last-applied-configuration annotation" in again.stderr
    assert again.stdout == "deployment.apps/web configured\n"
    moved = deployment(selector={"matchLabels": {"app": "other"}})
    assert "field is immutable" in kubectl.refused("apply", "-f", "-", stdin=manifest(moved))
    invalid = deployment(replicas=-1)
    text = kubectl.refused("apply", "-f", "-", stdin=manifest(invalid))
    assert 'The Deployment "web" is invalid: spec.replicas: Invalid value: -1' in text
    assert "AlreadyExists" in kubectl.refused("create", "-f", "-", stdin=manifest(deployment()))


@pytest.mark.parametrize("version", ends())
def test_kustomize_and_prune(walker: Walker, version: str, tmp_path: Path) -> None:
    kubectl = walker(version)
    (tmp_path / "web.yaml").write_text(manifest(deployment()))

    def kustomization(**more: Any) -> None:
        content = {"resources": ["web.yaml"], "namePrefix": "my-", "commonLabels": {"team": "a"}, **more}
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content))

    kustomization(configMapGenerator=[{"name": "settings", "literals": ["a=b"]}])
    prune = ("apply", "-k", str(tmp_path), "--prune", "-l", "team=a", "--prune-allowlist=core/v1/ConfigMap")
    created = kubectl(*prune).splitlines()
    assert [line.split()[-1] for line in created] == ["created", "created"]
    kustomization()
    pruned = kubectl(*prune).splitlines()
    assert [line.split()[-1] for line in pruned] == ["unchanged", "pruned"]
    assert kubectl("get", "configmaps,deployments", "-o", "name") == "deployment.apps/my-web\n"


@pytest.mark.parametrize("version", ends())
def test_edit(walker: Walker, version: str, tmp_path: Path) -> None:
    kubectl = walker(version)
    kubectl("create", "configmap", "c", "--from-literal=a=old")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/a: old/a: new/" "$1"\n')
    editor.chmod(0o755)
    kubectl.environment["KUBE_EDITOR"] = str(editor)
    assert kubectl("edit", "configmap", "c") == "configmap/c edited\n"
    assert kubectl.get("configmap", "c")["data"] == {"a": "new"}
    unchanged = kubectl.attempt("edit", "configmap", "c")
    assert (unchanged.returncode, unchanged.stderr) == (0, "Edit cancelled, no changes made.\n")


@pytest.mark.parametrize("version", ends())
def test_replace(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    first = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    kubectl("create", "--save-config", "-f", "-", stdin=manifest(first))
    old = kubectl.get("configmap", "c")
    assert kubectl("replace", "-f", "-", stdin=manifest(first | {"data": {"b": "2"}})) == "configmap/c replaced\n"
    now = kubectl.get("configmap", "c")
    assert (now["data"], now["metadata"]["uid"]) == ({"b": "2"}, old["metadata"]["uid"])
    assert "the object has been modified" in kubectl.refused("replace", "-f", "-", stdin=json.dumps(old))
    forced = kubectl("replace", "--force", "-f", "-", stdin=manifest(first))
    assert forced == 'configmap "c" deleted\nconfigmap/c replaced\n'
    assert kubectl.get("configmap", "c")["metadata"]["uid"] != old["metadata"]["uid"]
    assert "NotFound" in kubectl.refused("replace", "-f", "-", stdin=manifest(first | {"metadata": {"name": "d"}}))


@pytest.mark.parametrize("version", every())
def test_patch(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    kubectl("create", "-f", "-", stdin=manifest(deployment()))

    def patch(kind: str, change: object, *more: str) -> str:
        return kubectl("patch", "deployment", "web", f"--type={kind}", "-p", json.dumps(change), *more)

    template: dict[str, Any] = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "httpd:v2"}]}}}}
    assert patch("strategic", template) == "deployment.apps/web patched\n"
    assert patch("strategic", template) == "deployment.apps/web patched (no change)\n"
    kept = container_of(kubectl)
    assert (kept["image"], len(kept["env"])) == ("httpd:v2", 2)
    gone = {"name": "c", "env": [{"name": "A", "$patch": "delete"}]}
    patch("strategic", {"spec": {"template": {"spec": {"containers": [gone]}}}})
    assert container_of(kubectl)["env"] == [{"name": "B", "value": "2"}]
    patch("merge", {"spec": {"paused": True}, "metadata": {"labels": {"app": None}}})
    stored = kubectl.get("deployment", "web")
    assert stored["spec"]["paused"] is True
    assert "labels" not in stored["metadata"]
    test = {"op": "test", "path": "/spec/replicas", "value": 1}
    patch("json", [test, {"op": "replace", "path": "/spec/replicas", "value": 4}])
    assert kubectl.get("deployment", "web")["spec"]["replicas"] == 4
    failed = kubectl.refused("patch", "deployment", "web", "--type=json", "-p", json.dumps([test]))
    assert failed.startswith("The request is invalid: the server rejected our request")
    patch("merge", {"status": {"replicas": 2}}, "--subresource=status")
    assert kubectl.get("deployment", "web")["status"]["replicas"] == 2
    assert "replicas: 4" in kubectl("get", "deployment", "web", "--subresource=scale", "-o", "yaml")


@pytest.mark.parametrize("version", ends())
def test_labels_and_annotations(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    kubectl("create", "configmap", "c")
    assert kubectl("label", "cm", "c", "a=1", "b=2") == "configmap/c labeled\n"
    assert "already has a value (1), and --overwrite is false" in kubectl.refused("label", "cm", "c", "a=3")
    assert kubectl("label", "cm", "c", "a=3", "b-", "--overwrite") == "configmap/c labeled\n"
    assert kubectl("annotate", "cm", "--all", "note=x y").count("annotate") == 1
    metadata = kubectl.get("cm", "c")["metadata"]
    assert metadata["labels"] == {"a": "3"}
    assert metadata["annotations"] == {"note": "x y"}
    assert kubectl("label", "cm", "c", "--list") == "a=3\n"
    assert "invalid label value" in kubectl.refused("label", "cm", "c", "a=-")
    assert "the object has been modified" in kubectl.refused("label", "cm", "c", "d=1", "--resource-version=1")


@pytest.mark.parametrize("version", ends())
def test_scale_and_autoscale(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    kubectl("create", "-f", "-", stdin=manifest(deployment()))
    assert kubectl("scale", "deploy", "web", "--replicas=5", "--current-replicas=1") == ("deployment.apps/web scaled\n")
    assert "Expected replicas to be 1, was 5" in kubectl.refused(
        "scale", "deploy", "web", "--replicas=2", "--current-replicas=1"
    )
    kubectl("autoscale", "deploy", "web", "--min=1", "--max=3", "--cpu-percent=50")
    row = kubectl("get", "hpa", "--no-headers").split()
    assert row[:6] == ["web", "Deployment/web", "cpu:", "<unknown>/50%", "1", "3"]
    assert kubectl.get("horizontalpodautoscalers.v1.autoscaling", "web")["spec"]["targetCPUUtilizationPercentage"] == 50
    assert kubectl("describe", "hpa", "web").startswith("Name:")
    kubectl("expose", "deploy", "web", "--port=80", "--target-port=8080", "--name=front", "--type=NodePort")
    assert kubectl.get("service", "front")["spec"]["selector"] == {"app": "web"}


@pytest.mark.parametrize("version", ends())
def test_set(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    kubectl("create", "-f", "-", stdin=manifest(deployment()))
    kubectl("set", "image", "deploy/web", "c=httpd:v3")
    kubectl("set", "env", "deploy/web", "A-", "C=3")
    kubectl("set", "resources", "deploy/web", "--requests=cpu=100m", "--limits=memory=1Gi")
    kubectl("set", "serviceaccount", "deploy/web", "robot")
    container = container_of(kubectl)
    assert container["image"] == "httpd:v3"
    assert container["env"] == [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]
    assert container["resources"] == {"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m"}}
    assert kubectl.get("deploy", "web")["spec"]["template"]["spec"]["serviceAccountName"] == "robot"
    kubectl("create", "service", "clusterip", "front", "--tcp=80")
    kubectl("set", "selector", "service", "front", "app=web")
    assert kubectl.get("service", "front")["spec"]["selector"] == {"app": "web"}
    kubectl("create", "rolebinding", "view", "--clusterrole=view", "--user=joe")
    kubectl("set", "subject", "rolebinding", "view", "--user=ann", "--group=crew")
    subjects = [subject["name"] for subject in kubectl.get("rolebinding", "view")["subjects"]]
    assert subjects == ["joe", "ann", "crew"]


@pytest.mark.parametrize("version", ends())
def test_rollout(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    kubectl("create", "-f", "-", stdin=manifest(deployment()))
    assert kubectl("rollout", "pause", "deploy/web") == "deployment.apps/web paused\n"
    assert kubectl("rollout", "resume", "deploy/web") == "deployment.apps/web resumed\n"
    kubectl("rollout", "restart", "deploy/web")
    stored = kubectl.get("deploy", "web")
    assert "kubectl.kubernetes.io/restartedAt" in stored["spec"]["template"]["metadata"]["annotations"]
    assert stored["metadata"]["generation"] == 4
    assert "no rollout history found" not in kubectl("rollout", "history", "deploy/web")
    status = {"observedGeneration": 4, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1, "readyReplicas": 1}
    patch = json.dumps({"status": status})
    kubectl("patch", "deploy", "web", "--subresource=status", "--type=merge", "-p", patch)
    done = kubectl("rollout", "status", "deploy/web", "--timeout=20s")
    assert done == 'deployment "web" successfully rolled out\n'
