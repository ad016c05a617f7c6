"""What a container's environment is made of, right and wrong."""

from __future__ import annotations

from typing import Any

from tests.e2e.node.support import SLEEP, Kubectl, container_status, eventually


def environment(kubectl: Kubectl, name: str) -> dict[str, str]:
    kubectl.running(name)
    lines = kubectl("exec", name, "--", "env").splitlines()  # a shell would drop names that it does not like
    return dict(line.partition("=")[::2] for line in lines)


def refers(name: str, kind: str, source: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "valueFrom": {f"{kind}KeyRef": {"name": source, "key": key, **more}}}


def test_values(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=k=v", "--from-literal=1.odd-key=odd")
    kubectl("create", "secret", "generic", "s", "--from-literal=password=hidden")
    kubectl("create", "service", "clusterip", "my-svc", "--tcp=80:8080")
    fields = {
        "NAME": "metadata.name", "NAMESPACE": "metadata.namespace", "UID": "metadata.uid", "NODE": "spec.nodeName",
        "ACCOUNT": "spec.serviceAccountName", "HOST": "status.hostIP", "HOSTS": "status.hostIPs", "IP": "status.podIP",
        "IPS": "status.podIPs", "LABEL": "metadata.labels['app']", "NOTE": "metadata.annotations['example.com/n']",
        "NONE": "metadata.labels['none']",
    }  # fmt: skip
    resources = {
        "CPU": ("limits.cpu", "1m"), "CPUS": ("limits.cpu", "1"), "MEMORY": ("limits.memory", "1Mi"),
        "BYTES": ("requests.memory", "1"), "ASKED": ("requests.cpu", "1m"),
        "DISK": ("limits.ephemeral-storage", "1Mi"),
    }  # fmt: skip
    env: list[dict[str, Any]] = [{"name": n, "valueFrom": {"fieldRef": {"fieldPath": p}}} for n, p in fields.items()]
    for name, (resource, divisor) in resources.items():
        reference = {"resource": resource, "divisor": divisor}
        env.append({"name": name, "valueFrom": {"resourceFieldRef": reference}})
    env += [
        refers("KEY", "configMap", "c", "k"),
        refers("SECRET", "secret", "s", "password"),
        refers("MAYBE", "configMap", "c", "missing", optional=True),
        refers("MAYBE2", "secret", "missing", "k", optional=True),
        {"name": "TEXT", "value": "$(KEY)-$(MY_SVC_SERVICE_PORT)-$(NAME)-$$(KEY)-$(UNKNOWN)-$(LATER)-$KEY-$"},
        {"name": "LATER", "value": "x"},
        {"name": "OWN", "value": "mine"},
    ]
    sources = [
        {"prefix": "C_", "configMapRef": {"name": "c"}},
        {"secretRef": {"name": "s"}},
        {"configMapRef": {"name": "missing", "optional": True}},
        {"prefix": "O", "configMapRef": {"name": "own"}},
    ]
    kubectl("create", "configmap", "own", "--from-literal=WN=theirs")
    limits = {"limits": {"cpu": "1500m", "memory": "64Mi", "ephemeral-storage": "2Mi"}, "requests": {"cpu": "250m"}}
    eventually("the service has an address", lambda: kubectl.get("service", "my-svc")["spec"]["clusterIP"])
    kubectl.pod(
        "values",
        container={"command": ["sh", "-c", 'echo "$@"; exec sleep 600', "-"],
                   "args": ["$(KEY)", "$$(KEY)", "$(NOT)"], "env": env, "envFrom": sources,
                   "resources": limits},
        metadata={"labels": {"app": "web"}, "annotations": {"example.com/n": "a note"}},
    )  # fmt: skip
    kubectl.pod("without", SLEEP, enableServiceLinks=False)
    pod, seen = kubectl.running("values"), environment(kubectl, "values")
    ip, address = pod["status"]["podIP"], kubectl.get("service", "my-svc")["spec"]["clusterIP"]
    expected = {
        "NAME": "values", "NAMESPACE": kubectl.namespace, "UID": pod["metadata"]["uid"],
        "NODE": kubectl.machine.node, "ACCOUNT": "default", "HOST": "192.0.2.10", "HOSTS": "192.0.2.10", "IP": ip,
        "IPS": ip, "LABEL": "web", "NOTE": "a note", "NONE": "", "CPU": "1500", "CPUS": "2", "MEMORY": "64",
        "BYTES": str(64 << 20), "ASKED": "250", "DISK": "2", "KEY": "v", "SECRET": "hidden", "password": "hidden",
        "C_k": "v", "C_1.odd-key": "odd", "OWN": "mine", "LATER": "x",
        "TEXT": "v-80-values-$(KEY)-$(UNKNOWN)-$(LATER)-$KEY-$",
        "MY_SVC_SERVICE_HOST": address, "MY_SVC_SERVICE_PORT": "80", "MY_SVC_SERVICE_PORT_80_8080": "80",
        "MY_SVC_PORT": f"tcp://{address}:80", "MY_SVC_PORT_80_TCP_ADDR": address, "MY_SVC_PORT_80_TCP_PROTO": "tcp",
    }  # fmt: skip
    assert {name: seen.get(name) for name in expected} == expected
    assert not {"MAYBE", "MAYBE2"} & set(seen)
    assert "KUBERNETES_SERVICE_HOST" in seen
    assert kubectl("logs", "values") == "v $(KEY) $(NOT)\n"
    alone = environment(kubectl, "without")
    assert not any(name.startswith("MY_SVC") for name in alone)
    assert "KUBERNETES_SERVICE_HOST" in alone


def test_what_is_missing_is_waited_for(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "there", "--from-literal=k=v")
    waiting = {
        "nomap": ({"env": [refers("A", "configMap", "late", "k")]}, 'configmap "late" not found'),
        "nokey": (
            {"env": [refers("A", "configMap", "there", "late")]},
            f"couldn't find key late in ConfigMap {kubectl.namespace}/there",
        ),
        "nosecret": ({"envFrom": [{"secretRef": {"name": "late"}}]}, 'secret "late" not found'),
    }
    for name, (container, _) in waiting.items():
        kubectl.pod(name, SLEEP, container=container)
    for name, (_, message) in waiting.items():

        def state(name: str = name) -> Any:
            return container_status(kubectl.status(name)).get("state", {}).get("waiting", {}).get("message")

        assert eventually(f"{name} waits", state) == message
        found = container_status(kubectl.status(name))["state"]["waiting"]
        assert found["reason"] == "CreateContainerConfigError"
        assert kubectl.event("Failed", name)["message"] == f"Error: {message}"
    kubectl("create", "configmap", "late", "--from-literal=k=v")
    kubectl("create", "secret", "generic", "late", "--from-literal=k=v")
    kubectl("patch", "configmap", "there", "-p", '{"data":{"late":"v"}}')
    for name in waiting:
        kubectl.running(name)
