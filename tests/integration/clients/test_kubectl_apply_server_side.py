"""``kubectl apply --server-side``: ownership, conflicts, and what becomes of objects that were applied client-side."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from kubernetes import client, config
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError

from tests.integration.clients.conftest import Walker
from tests.integration.clients.kubectl import Kubectl, ends, every
from tests.integration.conftest import ApiServer


def deployment(replicas: int | None = 1, **env: str) -> dict[str, Any]:
    container = {"name": "c", "image": "httpd", "env": [{"name": key, "value": value} for key, value in env.items()]}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def apply(kubectl: Kubectl, obj: dict[str, Any], *more: str) -> str:
    return kubectl("apply", "--server-side", "-f", "-", *more, stdin=yaml.safe_dump(obj))


def managers(kubectl: Kubectl) -> dict[str, dict[str, Any]]:
    """``manager operation`` -> entry."""
    entries = kubectl.get("deployment", "web", "--show-managed-fields")["metadata"]["managedFields"]
    return {f"{entry['manager']} {entry['operation']}": entry for entry in entries}


@pytest.mark.parametrize("version", every())
def test_ownership(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    assert apply(kubectl, deployment(A="1", B="2")) == "deployment.apps/web serverside-applied\n"
    assert apply(kubectl, deployment(A="1", B="2")) == "deployment.apps/web serverside-applied\n"
    owned = managers(kubectl)
    assert set(owned) == {"kubectl Apply"}
    assert owned["kubectl Apply"]["fieldsV1"]["f:spec"]["f:replicas"] == {}
    shown = kubectl.get("deployment", "web")["metadata"]
    assert "managedFields" not in shown, "kubectl leaves them out unless asked"

    kubectl("scale", "deployment", "web", "--replicas=3")
    (scaled,) = (entry for entry in managers(kubectl).values() if entry["operation"] == "Update")
    assert (scaled["subresource"], scaled["fieldsV1"]) == ("scale", {"f:spec": {"f:replicas": {}}})
    kubectl("set", "image", "deployment/web", "c=httpd:v2", "--field-manager=other")
    refused = kubectl.refused("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(deployment(A="1")))
    assert "Apply failed with 2 conflicts" in refused
    assert '.spec.template.spec.containers[name="c"].image' in refused
    apply(kubectl, deployment(A="1"), "--force-conflicts")
    spec = kubectl.get("deployment", "web")["spec"]
    assert (spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]) == (1, "httpd")

    apply(kubectl, deployment(None, B="2"))
    spec = kubectl.get("deployment", "web")["spec"]
    assert spec["template"]["spec"]["containers"][0]["env"] == [{"name": "B", "value": "2"}]
    assert spec["replicas"] == 1, "nobody wants it any more: it has its default"


@pytest.mark.parametrize("version", ends())
def test_from_client_side_and_back(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(deployment(2, A="1", B="2")))
    assert set(managers(kubectl)) == {"kubectl-client-side-apply Update"}
    apply(kubectl, deployment(2, A="1"))
    assert set(managers(kubectl)) == {"kubectl Apply", "kubectl-last-applied Apply"}
    stored = kubectl.get("deployment", "web")
    assert stored["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    last = json.loads(stored["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert len(last["spec"]["template"]["spec"]["containers"][0]["env"]) == 1
    assert kubectl("apply", "-f", "-", stdin=yaml.safe_dump(deployment(2, A="3"))).endswith(" configured\n")
    env = kubectl.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert env == [{"name": "A", "value": "3"}]


@pytest.mark.parametrize("version", ends())
def test_a_dry_run_and_a_difference(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    dry = apply(kubectl, deployment(), "--dry-run=server")
    assert dry == "deployment.apps/web serverside-applied (server dry run)\n"
    assert "NotFound" in kubectl.refused("get", "deployment", "web")
    apply(kubectl, deployment())
    same = kubectl.attempt("diff", "--server-side", "-f", "-", stdin=yaml.safe_dump(deployment()))
    assert same.returncode == 0, same.stdout
    shown = kubectl.refused("diff", "--server-side", "-f", "-", stdin=yaml.safe_dump(deployment(5)))
    assert "+  replicas: 5" in shown
    strict = kubectl.refused("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(deployment() | {"x": 1}))
    assert ".x: field not declared in schema" in strict


def test_the_python_client(apiserver: ApiServer, namespace: str) -> None:
    with config.new_client_from_config(str(apiserver.kubeconfig())) as api:
        maps = DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")

        def applied(manager: str, **data: str) -> dict[str, Any]:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}
            done = maps.server_side_apply(body=body, namespace=namespace, field_manager=manager)
            found: dict[str, Any] = done.to_dict()
            return found

        applied("one", a="1", b="1")
        both = applied("two", b="1", c="1")
        assert both["data"] == {"a": "1", "b": "1", "c": "1"}
        with pytest.raises(ConflictError):
            applied("two", b="2", c="1")
        assert applied("one", a="1")["data"] == {"a": "1", "b": "1", "c": "1"}, "the other still wants b"
        assert applied("two", c="1")["data"] == {"a": "1", "c": "1"}
        entries = client.CoreV1Api(api).read_namespaced_config_map("c", namespace).metadata.managed_fields
        assert [entry.manager for entry in entries] == ["one", "two"]
