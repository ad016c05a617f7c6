"""RBAC's rules, the node authorizer and the words of a refusal."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.authz import build, forbidden_error
from apiserver.authz.messages import forbidden_message
from apiserver.authz.references import references
from apiserver.authz.rules import RuleSet, compact, compact_string, covers
from apiserver.bootstrap import objects
from apiserver.types import Attributes, User
from tests.unit.apiserver.fakes import MemoryRegistry

RBAC = "rbac.authorization.k8s.io"
JANE = User("jane", groups=("devs", "system:authenticated"))


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split()}
    return made | ({"resourceNames": names.split()} if names else {})


def bind(registry: MemoryRegistry, rules: list[dict[str, Any]], subject: dict[str, str], namespace: str = "") -> None:
    kind = "Role" if namespace else "ClusterRole"
    registry.put(RBAC, kind.lower() + "s", "r", namespace, rules=rules)
    registry.put(
        RBAC, kind.lower() + "bindings", "b", namespace, roleRef={"kind": kind, "name": "r"}, subjects=[subject]
    )


def ask(verb: str, resource: str, user: User = JANE, **fields: Any) -> Attributes:
    return Attributes(user, verb, resource=resource, **fields)


@pytest.mark.parametrize(
    ("granted", "asked", "allowed"),
    [
        (rule("get", "pods"), ask("get", "pods"), True),
        (rule("get", "pods"), ask("list", "pods"), False),
        (rule("get", "pods"), ask("get", "pods", subresource="log"), False),
        (rule("get", "pods/log"), ask("get", "pods", subresource="log"), True),
        (rule("get", "*/log"), ask("get", "pods", subresource="log"), True),
        (rule("get", "*"), ask("get", "pods", subresource="log"), True),
        (rule("*", "*", "*"), ask("escalate", "roles", group=RBAC), True),
        (rule("get", "deployments", "apps"), ask("get", "deployments"), False),
        (rule("get", "pods", names="a b"), ask("get", "pods", name="b"), True),
        (rule("get", "pods", names="a b"), ask("get", "pods", name="c"), False),
        (rule("list", "pods", names="a"), ask("list", "pods"), False),
        (
            {"verbs": ["get"], "nonResourceURLs": ["/healthz/*"]},
            Attributes(JANE, "get", path="/healthz/etcd", is_resource=False),
            True,
        ),
        (
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"]},
            Attributes(JANE, "get", path="/healthz/etcd", is_resource=False),
            False,
        ),
        (rule("get", "pods"), Attributes(JANE, "get", path="/pods", is_resource=False), False),
    ],
)
def test_rules(granted: dict[str, Any], asked: Attributes, allowed: bool) -> None:
    rules = RuleSet()
    rules.add(granted, "because")
    assert rules.allows(asked) == ("because" if allowed else None)


@pytest.mark.parametrize(
    "subject",
    [
        {"kind": "User", "name": "jane"},
        {"kind": "Group", "name": "devs"},
    ],
)
def test_bindings_by_user_and_group(subject: dict[str, str]) -> None:
    registry = MemoryRegistry()
    bind(registry, [rule("list", "pods")], subject, "default")
    authorizer = build(registry)
    allowed, reason = authorizer.authorize(ask("list", "pods", namespace="default"))
    assert allowed
    assert reason == f'RBAC: allowed by RoleBinding "b/default" of Role "r" to {subject["kind"]} "{subject["name"]}"'
    assert authorizer.authorize(ask("list", "pods", namespace="other")) == (
        False,
        'User "jane" cannot list resource "pods" in API group "" in the namespace "other"',
    )
    assert not authorizer.authorize(ask("list", "pods"))[0], "a namespace's role grants nothing in the cluster"


def test_a_change_holds_for_the_next_question() -> None:
    registry = MemoryRegistry()
    authorizer = build(registry)
    asked = ask("list", "pods", user=User("system:serviceaccount:a:b"), namespace="a")
    assert not authorizer.authorize(asked)[0]
    bind(registry, [rule("list", "pods")], {"kind": "ServiceAccount", "name": "b", "namespace": "a"}, "a")
    assert authorizer.authorize(asked)[0]
    registry.store(RBAC, "rolebindings").remove("a", "b")
    assert not authorizer.authorize(asked)[0]


def test_aggregated_roles_hold_at_once() -> None:
    registry = MemoryRegistry()
    bind(registry, [], {"kind": "Group", "name": "devs"})
    registry.put(
        RBAC,
        "clusterroles",
        "r",
        aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"to": "r"}}]},
    )
    registry.put(RBAC, "clusterroles", "part", metadata={"labels": {"to": "r"}}, rules=[rule("get", "widgets", "x")])
    assert build(registry).authorize(ask("get", "widgets", group="x"))[0]


def test_aggregation_goes_on_from_role_to_role_and_ends() -> None:
    registry = MemoryRegistry()

    def aggregated(name: str, of: str, labels: dict[str, str], **more: Any) -> None:
        rule = {"clusterRoleSelectors": [{"matchLabels": {"to": of}}]}
        registry.put(RBAC, "clusterroles", name, metadata={"labels": labels}, aggregationRule=rule, **more)

    bind(registry, [], {"kind": "Group", "name": "devs"})
    aggregated("r", "r", {"to": "view"})
    aggregated("view", "view", {"to": "r"})
    registry.put(RBAC, "clusterroles", "part", metadata={"labels": {"to": "view"}}, rules=[rule("get", "widgets", "x")])
    assert build(registry).authorize(ask("get", "widgets", group="x"))[0]


def test_masters_may_do_all() -> None:
    root = User("root", groups=("system:masters",))
    assert build(MemoryRegistry()).authorize(ask("delete", "nodes", user=root))[0]


def test_a_decision_costs_a_few_microseconds() -> None:
    registry = bootstrapped()
    authorizer = build(registry)
    asked = ask("list", "pods", user=User("system:kube-scheduler", groups=("system:authenticated",)))
    assert authorizer.authorize(asked)[0]
    started = time.perf_counter()
    for _ in range(2000):
        authorizer.authorize(asked)
    assert (time.perf_counter() - started) / 2000 < 100e-6, "it must not walk rules (a slow machine's bound)"


def bootstrapped() -> MemoryRegistry:
    registry = MemoryRegistry()
    for plural, make in (
        ("clusterroles", objects.cluster_roles),
        ("clusterrolebindings", objects.cluster_role_bindings),
        ("roles", objects.roles),
        ("rolebindings", objects.role_bindings),
    ):
        for obj in make():
            registry.store(RBAC, plural).put(obj)
    return registry


@pytest.mark.parametrize(
    ("user", "verb", "group", "resource", "subresource", "allowed"),
    [
        ("system:kube-scheduler", "create", "", "pods", "binding", True),
        ("system:kube-scheduler", "patch", "", "pods", "status", True),
        ("system:kube-scheduler", "get", "", "secrets", "", False),
        ("system:kube-proxy", "watch", "discovery.k8s.io", "endpointslices", "", True),
        ("system:kube-proxy", "create", "", "pods", "", False),
        ("system:kube-controller-manager", "create", "apps", "replicasets", "", True),
        ("system:kube-controller-manager", "update", "apps", "deployments", "status", True),
        ("system:kube-controller-manager", "update", "", "namespaces", "finalize", True),
        ("system:kube-controller-manager", "create", "", "serviceaccounts", "", True),
        ("system:kube-controller-manager", "patch", "", "nodes", "", True),
        ("system:kube-controller-manager", "create", "", "pods", "eviction", False),
        ("jane", "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", True),
        ("jane", "list", "", "pods", "", False),
    ],
)
def test_bootstrap_roles(user: str, verb: str, group: str, resource: str, subresource: str, allowed: bool) -> None:
    who = User(user, groups=("system:authenticated",))
    asked = ask(verb, resource, user=who, group=group, subresource=subresource)
    assert build(bootstrapped()).authorize(asked)[0] is allowed


def test_refusals_in_upstreams_words() -> None:
    asked = ask("get", "pods", subresource="log", namespace="ns", name="p")
    assert forbidden_error(asked).message == (
        'pods "p" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "ns"'
    )
    path = Attributes(JANE, "get", path="/metrics", is_resource=False)
    assert forbidden_message(path) == 'User "jane" cannot get path "/metrics"'


# ---- escalation -----------------------------------------------------------------------------------------------------


def test_what_is_missing_is_put_together() -> None:
    missing = compact(covers([rule("get", "pods")], [rule("get list watch", "pods")]))
    assert [compact_string(r) for r in missing] == ['{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}']


words = st.sampled_from(["get", "list", "*"])
kinds = st.sampled_from(["pods", "nodes", "*", "pods/log", "*/log"])


@given(st.lists(st.tuples(words, kinds), min_size=1, max_size=5), words, kinds)
def test_rules_cover_themselves_and_everything_covers_all(
    pairs: list[tuple[str, str]], verb: str, resource: str
) -> None:
    rules = [rule(v, r) for v, r in pairs]
    assert covers(rules, rules) == []
    assert covers([rule("*", "*", "*")], rules) == []
    if (verb, resource) != ("*", "*"):
        assert covers([rule(verb, resource)], [rule("*", "*")]) != []


# ---- nodes ----------------------------------------------------------------------------------------------------------

KUBELET = User("system:node:n1", groups=("system:nodes", "system:authenticated"))


def used(plural: str, name: str, verb: str = "get", **fields: Any) -> Attributes:
    return ask(verb, plural, user=KUBELET, namespace="ns", name=name, **fields)


def test_a_node_reads_what_its_pods_refer_to() -> None:
    registry = MemoryRegistry()
    authorizer = build(registry)
    assert not authorizer.authorize(used("secrets", "s"))[0]
    pod = {"nodeName": "n1", "volumes": [{"name": "v", "secret": {"secretName": "s"}}], "containers": []}
    pod["serviceAccountName"] = "default"
    registry.put("", "pods", "p", "ns", spec=pod)
    assert authorizer.authorize(used("secrets", "s"))[0]
    assert not authorizer.authorize(used("secrets", "s", "update"))[0]
    assert not authorizer.authorize(used("secrets", "t"))[0]
    assert authorizer.authorize(used("serviceaccounts", "default", "create", subresource="token"))[0]
    assert not authorizer.authorize(used("serviceaccounts", "other", "create", subresource="token"))[0]
    registry.put("", "pods", "p", "ns", spec={**pod, "volumes": []})
    assert not authorizer.authorize(used("secrets", "s"))[0]
    registry.put("", "pods", "p", "ns", spec=pod)
    registry.store("", "pods").remove("ns", "p")
    assert not authorizer.authorize(used("secrets", "s"))[0]


def test_a_mirror_pod_lets_its_node_read_nothing() -> None:
    registry = MemoryRegistry()
    authorizer = build(registry)
    pod = {"nodeName": "n1", "serviceAccountName": "default", "imagePullSecrets": [{"name": "s"}], "containers": []}
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}}
    registry.put("", "pods", "p", "ns", spec=pod, metadata=mirror)
    assert not authorizer.authorize(used("secrets", "s"))[0]
    assert not authorizer.authorize(used("serviceaccounts", "default", "create", subresource="token"))[0]


def test_a_node_has_its_own_lease_only() -> None:
    authorizer = build(MemoryRegistry())

    def lease(verb: str, name: str, namespace: str = "kube-node-lease") -> bool:
        group = "coordination.k8s.io"
        asked = ask(verb, "leases", user=KUBELET, group=group, namespace=namespace, name=name)
        return authorizer.authorize(asked)[0]

    assert lease("update", "n1")
    assert lease("create", "")
    assert not lease("update", "n2")
    assert not lease("list", "")
    assert not lease("get", "n1", "kube-system")


def test_a_node_needs_a_pod_for_what_it_reads_and_reads_it_in_one_way() -> None:
    registry = MemoryRegistry()
    authorizer = build(registry)
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    registry.put("", "pods", "p", "ns", spec={"nodeName": "n1", "volumes": volumes})
    registry.put("", "persistentvolumeclaims", "data", "ns", spec={"volumeName": "stolen"})
    claim = {"namespace": "ns", "name": "data"}
    csi = {"nodePublishSecretRef": {"namespace": "x", "name": "mount"}}
    registry.put("", "persistentvolumes", "mine", spec={"claimRef": claim, "csi": csi})
    registry.put("", "persistentvolumes", "stolen", spec={"claimRef": {**claim, "name": "other"}})
    for name, node in (("own", "n1"), ("other", "n2")):
        registry.put("storage.k8s.io", "volumeattachments", name, spec={"nodeName": node})

    def may(verb: str, plural: str, name: str, namespace: str = "", **more: Any) -> bool:
        return authorizer.authorize(ask(verb, plural, user=KUBELET, name=name, namespace=namespace, **more))[0]

    assert may("get", "persistentvolumeclaims", "data", "ns")
    assert not may("watch", "persistentvolumeclaims", "data", "ns")
    assert may("patch", "persistentvolumeclaims", "data", "ns", subresource="status")
    assert not may("patch", "persistentvolumeclaims", "other", "ns", subresource="status")
    assert not may("update", "persistentvolumeclaims", "data", "ns")
    assert may("get", "persistentvolumes", "mine")
    assert not may("get", "persistentvolumes", "stolen"), "a claim may name any volume"
    assert may("get", "secrets", "mount", "x")
    assert may("get", "volumeattachments", "own", group="storage.k8s.io")
    assert not may("get", "volumeattachments", "other", group="storage.k8s.io")
    assert not may("get", "serviceaccounts", "default", "ns")
    registry.put("", "persistentvolumes", "mine", spec={"claimRef": None, "csi": csi})
    assert not may("get", "persistentvolumes", "mine")
    assert not may("get", "secrets", "mount", "x")


@pytest.mark.parametrize(
    ("verb", "name", "selector", "allowed"),
    [
        ("list", "", "spec.nodeName=n1", True),
        ("watch", "", "spec.nodeName=n1,status.phase=Running", True),
        ("list", "", "spec.nodeName=n2", False),
        ("list", "", "spec.nodeName!=n1", False),
        ("list", "", "", False),
        ("list", "own", "metadata.name=own", True),
        ("list", "other", "metadata.name=other", False),
        ("get", "own", "", True),
        ("get", "other", "", False),
        ("get", "unbound", "", False),
        ("deletecollection", "", "spec.nodeName=n1", False),
    ],
)
def test_a_node_reads_its_own_pods(verb: str, name: str, selector: str, allowed: bool) -> None:
    registry = MemoryRegistry()
    for pod, node in (("own", "n1"), ("other", "n2"), ("unbound", "")):
        registry.put("", "pods", pod, "ns", spec={"nodeName": node})
    asked = used("pods", name, verb, field_selector=selector)
    assert build(registry).authorize(asked)[0] is allowed


def test_a_node_must_have_a_name() -> None:
    registry = MemoryRegistry()
    registry.put("", "pods", "p", "ns", spec={})
    nameless = User("system:node:", groups=("system:nodes",))
    asked = ask("get", "pods", user=nameless, namespace="ns", name="p")
    allowed, reason = build(registry).authorize(asked)
    assert not allowed
    assert reason.endswith('unknown node for user "system:node:"')


def test_references_of_a_pod() -> None:
    env = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}]
    sources = [{"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "projected"}}]
    pod = {
        "metadata": {"name": "p", "namespace": "ns"},
        "spec": {
            "serviceAccountName": "default",
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "c", "env": env, "envFrom": [{"configMapRef": {"name": "all"}}]}],
            "volumes": [
                {"name": "a", "projected": {"sources": sources}},
                {"name": "b", "persistentVolumeClaim": {"claimName": "data"}},
            ],
        },
    }
    assert {(plural, name) for plural, _, name in references(pod)} == {
        ("serviceaccounts", "default"),
        ("secrets", "pull"),
        ("secrets", "key"),
        ("secrets", "projected"),
        ("configmaps", "all"),
        ("configmaps", "kube-root-ca.crt"),
        ("persistentvolumeclaims", "data"),
    }
