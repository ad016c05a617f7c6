"""Mistakes, and the answers that people know from Kubernetes: same code, same words."""

from __future__ import annotations

import json

import pytest

from tests.e2e.cluster.support import KUBECONFIG, ROOT, Kubectl, command, eventually

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}


def refused(kubectl: Kubectl, *words: str, stdin: str = "") -> str:
    result = kubectl.attempt(*words, stdin=stdin)
    assert result.code != 0, result
    return result.err


def server() -> str:
    return str(json.loads(KUBECONFIG.read_text())["clusters"][0]["cluster"]["server"])


def manifest(**changes: object) -> str:
    return json.dumps({**POD, **changes})


def test_invalid_yaml(kubectl: Kubectl) -> None:
    assert "error parsing" in refused(kubectl, "apply", "-f", "-", stdin="apiVersion: v1\n\tkind: Pod\n")


def test_unknown_field(kubectl: Kubectl) -> None:
    spec = {"containers": [{"name": "c", "image": "i", "imagee": "x"}]}
    error = refused(kubectl, "create", "--validate=strict", "-f", "-", stdin=manifest(spec=spec))
    assert 'strict decoding error: unknown field "spec.containers[0].imagee"' in error


def test_wrong_type(kubectl: Kubectl) -> None:
    spec = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": "http"}]}]}
    error = refused(kubectl, "create", "--validate=false", "-f", "-", stdin=manifest(spec=spec))
    assert "cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort" in error


def test_invalid_name(kubectl: Kubectl) -> None:
    error = refused(kubectl, "create", "-f", "-", stdin=manifest(metadata={"name": "Not_Valid"}))
    assert (
        'The Pod "Not_Valid" is invalid: metadata.name: Invalid value: "Not_Valid": a lowercase RFC 1123 subdomain'
        in error
    )


def test_missing_image(kubectl: Kubectl) -> None:
    error = refused(kubectl, "create", "-f", "-", stdin=manifest(spec={"containers": [{"name": "c"}]}))
    assert 'The Pod "p" is invalid: spec.containers[0].image: Required value' in error


def test_duplicate_create(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "twice")
    error = refused(kubectl, "create", "configmap", "twice")
    assert error.strip() == 'error: failed to create configmap: configmaps "twice" already exists'


def test_stale_update(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "stale")
    old = kubectl("get", "configmap", "stale", "-o", "json")
    kubectl("label", "configmap", "stale", "a=b")
    error = refused(kubectl, "replace", "-f", "-", stdin=old)
    assert 'Operation cannot be fulfilled on configmaps "stale": the object has been modified; please apply' in error


def test_unknown_kind(kubectl: Kubectl) -> None:
    assert 'the server doesn\'t have a resource type "gadgets"' in refused(kubectl, "get", "gadgets")
    error = refused(kubectl, "get", "--raw", "/api/v1/gadgets")
    assert "the server could not find the requested resource" in error


def test_no_credentials(cluster: None) -> None:
    words = ["curl", "-sS", "--cacert", str(ROOT / ".cox" / "ca.crt"), f"{server()}/api/v1/pods"]
    status = json.loads(command(words).out)
    assert (status["code"], status["reason"], status["message"]) == (401, "Unauthorized", "Unauthorized")


def test_wrong_role(kubectl: Kubectl, namespace: str) -> None:
    user = f"system:serviceaccount:{namespace}:default"
    token = kubectl("create", "token", "default").strip()
    flags = [f"--server={server()}", f"--certificate-authority={ROOT / '.cox' / 'ca.crt'}", f"--token={token}"]
    error = command(["kubectl", "--kubeconfig=/dev/null", *flags, "-n", namespace, "get", "pods"]).err
    action = 'cannot list resource "pods" in API group ""'
    expected = f'pods is forbidden: User "{user}" {action} in the namespace "{namespace}"'
    assert expected in error
    assert expected in refused(kubectl, "get", "pods", f"--as={user}")


@pytest.mark.parametrize("image", ["nosuch:v9"])
def test_image_that_does_not_exist(kubectl: Kubectl, image: str) -> None:
    kubectl("run", "broken", f"--image={image}")
    eventually("ImagePullBackOff", lambda: "ImagePullBackOff" in kubectl("get", "pods"), 60)
    described = kubectl("describe", "pod", "broken")
    assert f'Failed to pull image "{image}"' in described
    assert f'Back-off pulling image "{image}"' in described
