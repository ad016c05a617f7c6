"""``kubectl create`` of everything it has a word for, then ``get`` and ``describe`` of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.clients.conftest import Walker
from tests.integration.clients.kubectl import Kubectl, ends, every


@pytest.mark.parametrize("version", ends())
def test_workloads(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    assert kubectl("create", "deployment", "web", "--image=httpd:v1", "--replicas=2", "--port=80") == (
        "deployment.apps/web created\n"
    )
    kubectl("create", "job", "once", "--image=busybox", "--", "sh", "-c", "true")
    kubectl("create", "cronjob", "often", "--image=busybox", "--schedule=*/5 * * * *", "--", "date")
    kubectl("create", "job", "now", "--from=cronjob/often")
    kubectl("run", "box", "--image=busybox", "--restart=Never", "--env=A=1", "--labels=x=y", "--", "sleep", "9")
    web = kubectl.get("deployment", "web")
    assert web["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert kubectl.get("job", "once")["spec"]["template"]["spec"]["containers"][0]["command"] == ["sh", "-c", "true"]
    now = kubectl.get("job", "now")["metadata"]
    assert now["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    assert [(owner["kind"], owner["name"]) for owner in now["ownerReferences"]] == [("CronJob", "often")]
    assert kubectl.get("pod", "box")["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    listed = kubectl("get", "all", "-o", "name").split()
    assert listed == [
        "pod/box", "deployment.apps/web", "cronjob.batch/often", "job.batch/now", "job.batch/once",
    ]  # fmt: skip
    for name in listed:
        assert kubectl("describe", name).startswith(f"Name:  {' ' * 4}")


SERVICES = {
    "plain": (("clusterip", "--tcp=80:8080"), {"type": "ClusterIP"}),
    "headless": (("clusterip", "--clusterip=None"), {"type": "ClusterIP", "clusterIP": "None"}),
    "node": (("nodeport", "--tcp=80"), {"type": "NodePort", "externalTrafficPolicy": "Cluster"}),
    "balanced": (("loadbalancer", "--tcp=80"), {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": True}),
    "elsewhere": (("externalname", "--external-name=example.com"), {"type": "ExternalName"}),
}


@pytest.mark.parametrize("version", every())
def test_services_and_ingresses(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    for name, ((kind, *flags), wanted) in SERVICES.items():
        kubectl("create", "service", kind, name, *flags)
        spec = kubectl.get("service", name)["spec"]
        assert spec | wanted == spec, name
    assert kubectl.get("service", "node")["spec"]["ports"][0]["nodePort"] >= 30000
    rules = ("--rule=a.example/b=plain:80,tls=secret", "--rule=a.example/c*=plain:80", "--default-backend=plain:80")
    kubectl("create", "ingress", "way", *rules, "--class=default")
    spec = kubectl.get("ingress", "way")["spec"]
    paths = [(path["path"], path["pathType"]) for path in spec["rules"][0]["http"]["paths"]]
    assert paths == [("/b", "Exact"), ("/c", "Prefix")]
    assert spec["tls"] == [{"hosts": ["a.example"], "secretName": "secret"}]
    assert spec["ingressClassName"] == "default"
    table = kubectl("get", "services", "elsewhere")
    assert table.split()[6:11] == ["elsewhere", "ExternalName", "<none>", "example.com", "<none>"]
    for name in [*(f"service/{name}" for name in SERVICES), "ingress/way"]:
        assert kubectl("describe", name).startswith("Name:")


@pytest.mark.parametrize("version", ends())
def test_access(walker: Walker, version: str, remove: Callable[[str], None]) -> None:
    kubectl = walker(version)
    own = kubectl.namespace
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,deployments.apps,pods/log")
    subjects = ("--user=joe", "--group=crew", f"--serviceaccount={own}:default")
    kubectl("create", "rolebinding", "readers", "--role=reader", *subjects)
    try:
        kubectl("create", "clusterrole", own, "--verb=get", "--non-resource-url=/logs/*")
        kubectl("create", "clusterrole", f"{own}-all", "--aggregation-rule=example.com/all=true")
        kubectl("create", "clusterrolebinding", own, f"--clusterrole={own}", "--user=joe")
        rules = kubectl.get("role", "reader")["rules"]
        assert {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]} in rules
        assert kubectl("auth", "can-i", "get", "/logs/x", "--as=joe") == "yes\n"
        wide = kubectl("get", "rolebinding", "readers", "-o", "wide").splitlines()[1].split()
        assert wide == ["readers", "Role/reader", wide[2], "joe", "crew", f"{own}/default"]
        for name in ("role/reader", "rolebinding/readers", f"clusterrole/{own}", f"clusterrolebinding/{own}"):
            assert kubectl("describe", name).startswith("Name:")
        kubectl("create", "serviceaccount", "robot")
        kubectl("create", "secret", "generic", "held")
        bound = ("--bound-object-kind=Secret", "--bound-object-name=held")
        token = kubectl("create", "token", "robot", "--duration=1h", "--audience=x", *bound).strip()
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert claims["sub"] == f"system:serviceaccount:{own}:robot"
        assert (claims["aud"], claims["exp"] - claims["iat"]) == (["x"], 3600)
        assert claims["kubernetes.io"]["secret"]["name"] == "held"
        assert kubectl("describe", "serviceaccount", "robot").startswith("Name:")
    finally:
        for path in ("clusterroles", "clusterrolebindings"):
            remove(f"/apis/rbac.authorization.k8s.io/v1/{path}/{own}")
        remove(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{own}-all")


@pytest.mark.parametrize("version", ends())
def test_limits(walker: Walker, version: str, remove: Callable[[str], None]) -> None:
    kubectl = walker(version)
    kubectl("create", "quota", "some", "--hard=configmaps=2,pods=20", "--dry-run=server")
    kubectl("create", "quota", "long", "--hard=cpu=10,pods=20", "--scopes=NotTerminating")
    kubectl("create", "pdb", "least", "--selector=app=web", "--min-available=1")
    kubectl("create", "pdb", "most", "--selector=app=web", "--max-unavailable=0")
    assert kubectl.get("quota", "long")["spec"] == {"hard": {"cpu": "10", "pods": "20"}, "scopes": ["NotTerminating"]}
    assert kubectl.refused("get", "quota", "some").startswith('Error from server (NotFound): resourcequotas "some"')
    table = [line.split()[:4] for line in kubectl("get", "pdb").splitlines()[1:]]
    assert table == [["least", "1", "N/A", "0"], ["most", "N/A", "0", "0"]]
    name = kubectl.namespace
    try:
        kubectl("create", "priorityclass", name, "--value=0", "--description=x", "--preemption-policy=Never")
        made = kubectl.get("priorityclass", name)
        assert (made["value"], made["preemptionPolicy"], made["description"]) == (0, "Never", "x")
        for described in ("quota/long", "pdb/least", "pdb/most", f"priorityclass/{name}", f"namespace/{name}"):
            assert kubectl("describe", described).startswith("Name:")
    finally:
        remove(f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}")


@pytest.mark.parametrize("version", ends())
def test_secrets_and_configmaps(walker: Walker, version: str, tmp_path: Path, certificates: Path) -> None:
    kubectl = walker(version)
    variables = tmp_path / "env"
    variables.write_text("A=1\nB=2\n")
    kubectl("create", "configmap", "file", f"--from-file={variables}", f"--from-file=own={variables}")
    kubectl("create", "configmap", "lines", f"--from-env-file={variables}")
    kubectl("create", "configmap", "words", "--from-literal=a=b", "--append-hash")
    assert kubectl.get("configmap", "file")["data"] == {"env": "A=1\nB=2\n", "own": "A=1\nB=2\n"}
    assert kubectl.get("configmap", "lines")["data"] == {"A": "1", "B": "2"}
    kubectl("create", "secret", "generic", "any", "--from-literal=a=b", "--type=example.com/any")
    kubectl("create", "secret", "docker-registry", "pull", *("--docker-server=s", "--docker-username=u"),
            "--docker-password=p")  # fmt: skip
    files = (f"--cert={certificates / 'apiserver.crt'}", f"--key={certificates / 'apiserver.key'}")
    kubectl("create", "secret", "tls", "pair", *files)
    rows = {line.split()[0]: line.split()[1:3] for line in kubectl("get", "secrets").splitlines()[1:]}
    assert rows == {
        "any": ["example.com/any", "1"],
        "pull": ["kubernetes.io/dockerconfigjson", "1"],
        "pair": ["kubernetes.io/tls", "2"],
    }
    assert kubectl("describe", "secret", "any").endswith("Data\n====\na:  1 bytes\n")
    assert "A=1\nB=2" in kubectl("describe", "configmap", "file")


@pytest.mark.parametrize("version", ends())
def test_namespaces(walker: Walker, version: str, remove: Callable[[str], None]) -> None:
    kubectl = walker(version)
    name = f"{kubectl.namespace}-more"
    try:
        assert kubectl("create", "namespace", name, "-o", "name") == f"namespace/{name}\n"
        assert kubectl.get("namespace", name)["metadata"]["labels"] == {"kubernetes.io/metadata.name": name}
    finally:
        remove(f"/api/v1/namespaces/{name}")


@pytest.mark.parametrize("version", ends())
def test_a_dry_run_of_the_server_defaults_and_keeps_nothing(walker: Walker, version: str) -> None:
    kubectl = walker(version)
    dry = _yaml_of(kubectl, "--dry-run=client")
    assert "imagePullPolicy" not in dry
    served = _yaml_of(kubectl, "--dry-run=server")
    assert "imagePullPolicy: Always" in served
    assert "uid: " in served
    assert "NotFound" in kubectl.refused("get", "deployment", "web")


def _yaml_of(kubectl: Kubectl, dry_run: str) -> str:
    return kubectl("create", "deployment", "web", "--image=httpd", dry_run, "-o", "yaml")
