"""Each plugin on its own."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from apiserver.admission import build_chain, service_account
from apiserver.admission.default_storage_class import DefaultStorageClass
from apiserver.admission.default_toleration_seconds import missing_tolerations
from apiserver.admission.limit_ranger import LimitRanger
from apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from apiserver.admission.priority import Priority
from apiserver.admission.quota_usage import in_scope
from apiserver.admission.resource_quota import ResourceQuota
from apiserver.admission.runtime_class import RuntimeClass
from apiserver.admission.service_account import ServiceAccount, mount_token
from apiserver.admission.taint_nodes_by_condition import TaintNodesByCondition
from common.api.status import Forbidden, NotFound
from tests.unit.apiserver.fakes import MemoryRegistry, commit, review


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [{"name": "c"}], **spec}}


async def test_a_pod_gets_its_account_and_token() -> None:
    registry = MemoryRegistry()
    registry.put("", "serviceaccounts", "default", "default", imagePullSecrets=[{"name": "pull"}])
    obj = pod(initContainers=[{"name": "i"}])
    await ServiceAccount(registry).admit(review("CREATE", "", "pods", obj))
    spec = obj["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    volume = spec["volumes"][0]
    assert re.fullmatch(r"kube-api-access-[bcdfghjklmnpqrstvwxz2456789]{5}", volume["name"])
    assert volume["projected"]["sources"][0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    for container in (*spec["containers"], *spec["initContainers"]):
        assert container["volumeMounts"] == [
            {"name": volume["name"], "readOnly": True, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        ]


@pytest.mark.parametrize(
    ("of_pod", "of_account", "mounted"),
    [(None, None, True), (None, False, False), (True, False, True), (False, True, False)],
)
async def test_automount(of_pod: bool | None, of_account: bool | None, mounted: bool) -> None:
    registry = MemoryRegistry()
    registry.put("", "serviceaccounts", "default", "default", automountServiceAccountToken=of_account)
    obj = pod(automountServiceAccountToken=of_pod)
    await ServiceAccount(registry).admit(review("CREATE", "", "pods", obj))
    assert bool(obj["spec"].get("volumes")) is mounted


def test_a_token_is_mounted_once_and_not_over_a_mount_of_the_pods_own() -> None:
    spec = pod()["spec"]
    mount_token(spec)
    before = repr(spec)
    mount_token(spec)
    assert repr(spec) == before


async def test_a_missing_account_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_account, "TRY_SECONDS", 0)
    for name in ("default", "other"):
        with pytest.raises(Forbidden, match=f'default/{name}: serviceaccount "{name}" not found'):
            request = review("CREATE", "", "pods", pod(serviceAccountName=name))
            await ServiceAccount(MemoryRegistry()).admit(request)


SECRET_ENV = {"name": "E", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}


@pytest.mark.parametrize(
    ("spec", "refused"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "own"}}], "imagePullSecrets": [{"name": "pull"}]}, ""),
        ({"volumes": [{"name": "v", "secret": {"secretName": "other"}}]}, 'volume with secret.secretName="other"'),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "other"}}]}}]},
            'volume with projected secret.name="other"',
        ),
        (
            {"initContainers": [{"name": "i", "env": [SECRET_ENV]}]},
            'init container i with envVar E referencing secret.secretName="other"',
        ),
        (
            {"ephemeralContainers": [{"name": "e", "envFrom": [{"secretRef": {"name": "other"}}]}]},
            'ephemeral container e with envFrom referencing secret.name="other"',
        ),
        ({"imagePullSecrets": [{"name": "other"}]}, 'imagePullSecrets[0].name="other"'),
    ],
)
@pytest.mark.parametrize("said", ["true", "false"])
async def test_an_account_may_name_the_secrets_of_its_pods(spec: dict[str, Any], refused: str, said: str) -> None:
    registry = MemoryRegistry()
    account: dict[str, Any] = {"secrets": [{"name": "own"}], "imagePullSecrets": [{"name": "pull"}]}
    metadata = {"annotations": {"kubernetes.io/enforce-mountable-secrets": said}}
    registry.put("", "serviceaccounts", "default", "default", metadata=metadata, **account)
    plugin = ServiceAccount(registry)
    for request in (
        review("CREATE", "", "pods", pod(**spec)),
        review("UPDATE", "", "pods", pod(**spec), old=pod(), subresource="ephemeralcontainers"),
    ):
        assert plugin.handles(request)
        if refused and said == "true":
            with pytest.raises(Forbidden, match=re.escape(f"{refused} is not allowed because service account default")):
                await plugin.validate(request)
        else:
            await plugin.validate(request)


async def test_mirror_pods_have_no_account() -> None:
    obj = pod()
    obj["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    plugin = ServiceAccount(MemoryRegistry())
    await plugin.admit(review("CREATE", "", "pods", obj))
    assert "volumes" not in obj["spec"]
    obj["spec"]["serviceAccountName"] = "a"
    with pytest.raises(Forbidden, match="a mirror pod may not reference service accounts"):
        await plugin.validate(review("CREATE", "", "pods", obj))


def test_default_tolerations() -> None:
    assert [t["key"] for t in missing_tolerations([])] == [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ]
    own = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}]
    assert [t["key"] for t in missing_tolerations(own)] == ["node.kubernetes.io/unreachable"]
    assert missing_tolerations([{"operator": "Exists"}]) == []


async def test_namespaces() -> None:
    registry = MemoryRegistry()
    registry.put("", "namespaces", "default", status={"phase": "Terminating"})
    plugin = NamespaceLifecycle(registry)
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        await plugin.admit(review("CREATE", "", "pods", pod(), namespace="nowhere"))
    with pytest.raises(Forbidden, match="because it is being terminated") as refused:
        await plugin.admit(review("CREATE", "", "pods", pod()))
    assert refused.value.details is not None
    assert refused.value.details["causes"][0]["reason"] == "NamespaceTerminating"
    await plugin.admit(review("UPDATE", "", "pods", pod(), old=pod()))
    gone = {"metadata": {"name": "kube-system"}}
    with pytest.raises(Forbidden, match="this namespace may not be deleted"):
        await plugin.validate(review("DELETE", "", "namespaces", None, old=gone, namespace=""))


async def test_priority() -> None:
    registry = MemoryRegistry()
    plugin = Priority(registry)
    plain = pod()
    await plugin.admit(review("CREATE", "", "pods", plain))
    assert (plain["spec"]["priority"], plain["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    registry.put(
        "scheduling.k8s.io", "priorityclasses", "high", value=100, preemptionPolicy="Never", globalDefault=True
    )
    defaulted = pod()
    await plugin.admit(review("CREATE", "", "pods", defaulted))
    assert defaulted["spec"]["priorityClassName"] == "high"
    assert (defaulted["spec"]["priority"], defaulted["spec"]["preemptionPolicy"]) == (100, "Never")
    with pytest.raises(Forbidden, match=r"the integer value of priority \(7\) must not be provided in pod spec"):
        await plugin.admit(review("CREATE", "", "pods", pod(priorityClassName="high", priority=7)))
    with pytest.raises(Forbidden, match="no PriorityClass with name low was found"):
        await plugin.admit(review("CREATE", "", "pods", pod(priorityClassName="low")))
    second = {"metadata": {"name": "second"}, "value": 1, "globalDefault": True}
    with pytest.raises(Forbidden, match="PriorityClass high is already marked as default"):
        await plugin.validate(review("CREATE", "scheduling.k8s.io", "priorityclasses", second, namespace=""))


async def test_a_new_node_is_not_ready() -> None:
    node = {"metadata": {"name": "n"}}
    plugin = TaintNodesByCondition()
    for _ in range(2):
        await plugin.admit(review("CREATE", "", "nodes", node))
    assert node["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]  # type: ignore[index]


async def test_the_newest_default_class_is_taken() -> None:
    registry = MemoryRegistry()
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    for name, time in (("old", "2020-01-01T00:00:00Z"), ("new", "2021-01-01T00:00:00Z")):
        metadata = {"annotations": default, "creationTimestamp": time}
        registry.put("storage.k8s.io", "storageclasses", name, metadata=metadata)
    for given, wanted in ((None, "new"), ("", ""), ("mine", "mine")):
        claim: dict[str, Any] = {
            "metadata": {"name": "c"},
            "spec": {} if given is None else {"storageClassName": given},
        }
        await DefaultStorageClass(registry).admit(review("CREATE", "", "persistentvolumeclaims", claim))
        assert claim["spec"]["storageClassName"] == wanted


async def test_runtime_class() -> None:
    registry = MemoryRegistry()
    scheduling = {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k"}]}
    registry.put("node.k8s.io", "runtimeclasses", "vm", overhead={"podFixed": {"cpu": "1"}}, scheduling=scheduling)
    obj = pod(runtimeClassName="vm")
    await RuntimeClass(registry).admit(review("CREATE", "", "pods", obj))
    assert obj["spec"]["overhead"] == {"cpu": "1"}
    assert obj["spec"]["nodeSelector"] == {"a": "b"}
    with pytest.raises(Forbidden, match="conflict: runtimeClass"):
        await RuntimeClass(registry).admit(
            review("CREATE", "", "pods", pod(runtimeClassName="vm", nodeSelector={"a": "c"}))
        )
    with pytest.raises(Forbidden, match='RuntimeClass "none" not found'):
        await RuntimeClass(registry).admit(review("CREATE", "", "pods", pod(runtimeClassName="none")))


def limits(registry: MemoryRegistry, kind: str, **item: Any) -> LimitRanger:
    registry.put("", "limitranges", f"limits-{kind}", "default", spec={"limits": [{"type": kind, **item}]})
    return LimitRanger(registry)


async def test_limit_ranges_fill_in_what_is_left_open() -> None:
    plugin = limits(MemoryRegistry(), "Container", default={"cpu": "1"}, defaultRequest={"memory": "64Mi"})
    obj = pod()
    await plugin.admit(review("CREATE", "", "pods", obj))
    assert obj["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "1"},
        "requests": {"cpu": "1", "memory": "64Mi"},
    }
    assert obj["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    )


@pytest.mark.parametrize(
    ("kind", "item", "resources", "message"),
    [
        (
            "Container",
            {"max": {"cpu": "1"}},
            {"limits": {"cpu": "2"}},
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        ("Container", {"max": {"cpu": "1"}}, {}, "maximum cpu usage per Container is 1.  No limit is specified"),
        (
            "Container",
            {"min": {"cpu": "100m"}},
            {"requests": {"cpu": "50m"}},
            "minimum cpu usage per Container is 100m, but request is 50m",
        ),
        (
            "Container",
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            "Pod",
            {"max": {"memory": "1Gi"}},
            {"limits": {"memory": "2Gi"}},
            "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
        ),
    ],
)
async def test_limit_ranges_refuse(kind: str, item: dict[str, Any], resources: dict[str, Any], message: str) -> None:
    plugin = limits(MemoryRegistry(), kind, **item)
    obj = pod()
    obj["spec"]["containers"][0]["resources"] = resources
    with pytest.raises(Forbidden) as refused:
        await plugin.validate(review("CREATE", "", "pods", obj))
    assert refused.value.message == f'pods "p" is forbidden: {message}'


async def test_a_resize_stays_within_the_limits() -> None:
    plugin = limits(MemoryRegistry(), "Container", max={"cpu": "1"})
    large = pod(containers=[{"name": "c", "resources": {"limits": {"cpu": "2"}}}])
    request = review("UPDATE", "", "pods", large, old=pod(), subresource="resize")
    assert plugin.handles(request)
    await plugin.admit(request)
    assert large == pod(containers=[{"name": "c", "resources": {"limits": {"cpu": "2"}}}]), "a resize sets no defaults"
    with pytest.raises(Forbidden, match="maximum cpu usage per Container is 1, but limit is 2"):
        await plugin.validate(request)
    assert not plugin.handles(review("UPDATE", "", "pods", large, old=pod()))


@pytest.mark.parametrize(
    ("term", "reaches"), [({}, False), ({"namespaces": ["x"]}, True), ({"namespaceSelector": {}}, True)]
)
def test_pods_that_look_into_other_namespaces(term: dict[str, Any], reaches: bool) -> None:
    scoped = {"spec": {"scopes": ["CrossNamespacePodAffinity"]}}
    required = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term}]}
    for affinity in (required, {"podAntiAffinity": preferred}):
        assert in_scope(scoped, "pods", pod(affinity=affinity)) is reaches
    assert not in_scope(scoped, "pods", pod())


def quota(registry: MemoryRegistry, **hard: str) -> ResourceQuota:
    names = {name.replace("__", "."): value for name, value in hard.items()}
    registry.put("", "resourcequotas", "q", "default", spec={"hard": names})
    return ResourceQuota(registry)


def sized(name: str, cpu: str) -> dict[str, Any]:
    obj = pod(name)
    obj["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return obj


async def charge(plugin: ResourceQuota, obj: dict[str, Any], **more: Any) -> None:
    request = review("CREATE", "", "pods", obj, **more)
    await plugin.validate(request)
    await commit(request)


async def test_a_quota_is_charged_by_the_write_itself() -> None:
    registry = MemoryRegistry()
    plugin = quota(registry, pods="2", requests__cpu="1")
    first = sized("a", "400m")
    await plugin.validate(review("CREATE", "", "pods", first))  # and refused later on by something else
    assert "status" not in registry.store("", "resourcequotas").objects["default", "q"]
    await charge(plugin, first)
    registry.store("", "pods").put(first)
    assert registry.store("", "resourcequotas").objects["default", "q"]["status"]["used"] == {
        "pods": "1",
        "requests.cpu": "400m",
    }
    with pytest.raises(Forbidden) as refused:
        await charge(plugin, sized("b", "700m"))
    assert refused.value.message == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, '
        "limited: requests.cpu=1"
    )
    second = sized("b", "600m")
    await charge(plugin, second)
    registry.store("", "pods").put(second)
    with pytest.raises(Forbidden, match=r"requested: pods=1,requests\.cpu=1m, used: pods=2,requests\.cpu=1, limited"):
        await charge(plugin, sized("c", "1m"))
    registry.put("", "pods", "a", "default", spec=first["spec"], status={"phase": "Succeeded"})
    await charge(plugin, sized("c", "1m"))
    assert registry.store("", "resourcequotas").objects["default", "q"]["status"]["used"] == {
        "pods": "2",
        "requests.cpu": "601m",
    }


async def test_a_refused_charge_does_not_hold_up_the_next() -> None:
    plugin = quota(MemoryRegistry(), pods="1", requests__cpu="1")
    with pytest.raises(Forbidden):
        await charge(plugin, sized("a", "2"))
    await charge(plugin, sized("a", "1"))


async def test_a_quota_of_compute_wants_it_stated() -> None:
    plugin = quota(MemoryRegistry(), limits__memory="1Gi")
    with pytest.raises(Forbidden, match=r"failed quota: q: must specify limits\.memory for: c"):
        await plugin.validate(review("CREATE", "", "pods", pod()))


async def test_a_dry_run_charges_nothing() -> None:
    plugin = quota(MemoryRegistry(), pods="1")
    for name in ("a", "b"):
        await charge(plugin, pod(name), dry_run=True)


def test_the_chain_is_in_upstreams_order() -> None:
    settings = SimpleNamespace(service_cluster_ip_range="10.0.0.0/24", service_node_port_range="30000-30100")
    names = [plugin.name for plugin in build_chain(MemoryRegistry(), settings).plugins]
    assert names[0] == "NamespaceLifecycle"
    assert names[-2:] == ["ServiceAllocation", "ResourceQuota"]
    assert names.index("ServiceAccount") < names.index("Priority") < names.index("DefaultTolerationSeconds")
