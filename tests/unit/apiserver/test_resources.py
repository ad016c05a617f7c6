"""The table: defaults, validation and preparation of kinds."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from apiserver.resources.pods.defaults import image_pull_policy
from apiserver.resources.pods.qos import qos_class
from apiserver.resources.table import RESOURCES
from apiserver.schema import decode
from common.api.status import invalid

ROWS = {(r.group, r.version, r.plural): r for r in RESOURCES}
CONTAINER = {"name": "a", "image": "httpd:v1"}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [CONTAINER]}}
NEVER = {"containers": [CONTAINER], "restartPolicy": "Never"}
RBAC = "rbac.authorization.k8s.io"
NO_OPERATOR = {"matchExpressions": [{"key": "a", "operator": "No"}]}
SELECTOR = {"matchLabels": {"app": "x"}}


def row(qualified: str) -> Any:
    return next(r for r in RESOURCES if r.qualified == qualified)


def created(qualified: str, **fields: Any) -> Any:
    """The object after what a create does to it before validation."""
    resource = row(qualified)
    obj = decode(json.dumps(fields).encode(), "application/json", resource, "Strict").object
    metadata = {"name": "x", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    obj["metadata"] = metadata | obj.get("metadata", {})
    resource.strategy.prepare_for_create(obj)
    resource.strategy.default(obj)
    return obj


def errors(qualified: str, **fields: Any) -> list[str]:
    return [e.message() for e in row(qualified).strategy.validate(created(qualified, **fields))]


def update_errors(qualified: str, old: Any, change: Any, subresource: str = "") -> list[str]:
    strategy, obj = row(qualified).strategy, copy.deepcopy(old)
    change(obj)
    strategy.prepare_for_update(obj, old, subresource)
    strategy.default(obj)
    return [e.message() for e in strategy.validate_update(obj, old, subresource)]


def pod_errors(**spec: Any) -> list[str]:
    return errors("pods", spec={"containers": [CONTAINER], **spec})


def container_errors(**fields: Any) -> list[str]:
    return errors("pods", spec={"containers": [{**CONTAINER, **fields}]})


def test_rows_are_unique_and_complete() -> None:
    assert len(ROWS) == len(RESOURCES)
    assert row("deployments.apps").short_names == ("deploy",)
    assert row("pods").graceful
    assert all(r.columns for r in RESOURCES if "list" in r.verbs)
    for resource in RESOURCES:
        if resource.stored_as:
            assert any((r.group, r.plural) == resource.stored_as and not r.stored_as for r in RESOURCES)


@pytest.mark.parametrize(
    "resource", [r for r in RESOURCES if "update" in r.verbs], ids=lambda r: f"{r.qualified}/{r.version}"
)
def test_defaulting_and_preparing_again_changes_nothing(resource: Any) -> None:
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x"}}
    resource.strategy.default(obj)
    resource.strategy.prepare_for_create(obj)
    resource.strategy.default(obj)
    for subresource in ("", "status"):
        again = copy.deepcopy(obj)
        resource.strategy.prepare_for_update(again, obj, subresource)
        resource.strategy.default(again)
        assert again == obj
    assert len([c.cell(obj) for c in resource.columns]) == len(resource.columns)


def test_defaults_of_a_pod() -> None:
    probe = {"httpGet": {"port": 80}}
    limits = {"cpu": "1", "memory": "1Gi"}
    container = {**CONTAINER, "ports": [{"containerPort": 80}], "livenessProbe": probe, "resources": {"limits": limits}}
    volumes = [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}]
    pod = created("pods", spec={"containers": [container], "volumes": volumes}, status={"phase": "Running"})
    spec = pod["spec"]
    assert spec["containers"][0] == {
        **container,
        "imagePullPolicy": "IfNotPresent",
        "livenessProbe": {
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        },
        "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": limits, "requests": limits},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    assert spec["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "c", "configMap": {"name": "c", "defaultMode": 420}},
    ]
    assert (spec["dnsPolicy"], spec["restartPolicy"], spec["schedulerName"]) == (
        "ClusterFirst",
        "Always",
        "default-scheduler",
    )
    assert (spec["securityContext"], spec["terminationGracePeriodSeconds"], spec["enableServiceLinks"]) == (
        {},
        30,
        True,
    )
    assert pod["status"] == {"phase": "Pending", "qosClass": "Guaranteed"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("httpd", "Always"),
        ("httpd:latest", "Always"),
        ("httpd:v1", "IfNotPresent"),
        ("registry:5000/httpd", "Always"),
        ("registry:5000/httpd:v1", "IfNotPresent"),
        ("httpd@sha256:abc", "IfNotPresent"),
    ],
)
def test_image_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert image_pull_policy(image) == policy


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
        ({"requests": {"cpu": "0"}}, "BestEffort"),
    ],
)
def test_qos_class(resources: Any, qos: str) -> None:
    assert qos_class({"containers": [{"resources": resources}]}) == qos


def test_defaults_of_a_deployment() -> None:
    spec = created("deployments.apps", spec={"selector": SELECTOR, "template": TEMPLATE})["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert "enableServiceLinks" not in spec["template"]["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


def test_defaults_of_a_service() -> None:
    service = created("services", spec={"ports": [{"port": 80}], "type": "NodePort"})
    assert service["spec"] == {
        "type": "NodePort",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "externalTrafficPolicy": "Cluster",
        "internalTrafficPolicy": "Cluster",
    }
    assert service["status"] == {"loadBalancer": {}}


def test_secrets_take_plain_strings_and_keep_none() -> None:
    secret = created("secrets", data={"a": "eA==", "b": "eA=="}, stringData={"b": "y"})
    assert secret["data"] == {"a": "eA==", "b": "eQ=="}
    assert "stringData" not in secret
    assert secret["type"] == "Opaque"


def test_namespaces_begin_active_with_the_finalizer() -> None:
    namespace = created("namespaces", metadata={"name": "n"}, status={"phase": "Terminating"})
    assert namespace["spec"] == {"finalizers": ["kubernetes"]}
    assert namespace["status"] == {"phase": "Active"}
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "n"}


def test_jobs_get_a_selector_of_their_own_uid() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
    job = created("jobs.batch", spec={"template": template})
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "x"
    assert job["metadata"]["labels"] == job["spec"]["template"]["metadata"]["labels"]
    assert job["metadata"]["labels"]["a"] == "b"
    assert errors("jobs.batch", spec={"template": template}) == []


def test_status_and_spec_keep_out_of_each_others_way() -> None:
    strategy = row("deployments.apps").strategy
    old = created("deployments.apps", spec={"selector": SELECTOR, "template": TEMPLATE}) | {"status": {"replicas": 1}}
    main = copy.deepcopy(old) | {"status": {"replicas": 9}}
    main["spec"]["replicas"] = 5
    strategy.prepare_for_update(main, old, "")
    assert (main["spec"]["replicas"], main["status"]) == (5, {"replicas": 1})
    status = copy.deepcopy(old) | {"status": {"replicas": 9}}
    status["spec"]["replicas"] = 5
    strategy.prepare_for_update(status, old, "status")
    assert (status["spec"]["replicas"], status["status"]) == (1, {"replicas": 9})


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lambda: errors("pods"), "spec.containers: Required value"),
        (lambda: errors("pods", spec={"containers": [{"name": "a"}]}), "spec.containers[0].image: Required value"),
        (lambda: errors("pods", spec={"containers": [{"image": "a"}]}), "spec.containers[0].name: Required value"),
        (
            lambda: errors("pods", spec={"containers": [CONTAINER, CONTAINER]}),
            'spec.containers[1].name: Duplicate value: "a"',
        ),
        (
            lambda: container_errors(imagePullPolicy="Maybe"),
            'spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": '
            'supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            lambda: container_errors(ports=[{"containerPort": 70000}]),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            lambda: container_errors(volumeMounts=[{"name": "v", "mountPath": "/v"}]),
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        (
            lambda: container_errors(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            lambda: container_errors(livenessProbe={"periodSeconds": 5}),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            lambda: container_errors(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]),
            'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": '
            "error converting fieldPath: field label not supported: spec.x",
        ),
        (
            lambda: pod_errors(restartPolicy="Sometimes"),
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
        ),
        (
            lambda: pod_errors(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            lambda: pod_errors(tolerations=[{"operator": "Equal", "value": "x"}]),
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, '
            'which means "match all values and all keys"',
        ),
        (
            lambda: errors("deployments.apps", spec={"selector": {"matchLabels": {"app": "y"}}, "template": TEMPLATE}),
            'spec.template.metadata.labels: Invalid value: map[string]string{"app":"x"}: '
            "`selector` does not match template `labels`",
        ),
        (
            lambda: errors("deployments.apps", spec={"selector": {}, "template": TEMPLATE}),
            "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), "
            "MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: empty selector is invalid for deployment",
        ),
        (
            lambda: errors(
                "deployments.apps",
                spec={
                    "selector": SELECTOR,
                    "template": TEMPLATE,
                    "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
                },
            ),
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "
            'intstr.IntOrString{Type:0, IntVal:0, StrVal:""}: '
            "may not be 0 when `maxSurge` is 0",
        ),
        (
            lambda: errors("deployments.apps", spec={"selector": SELECTOR, "template": TEMPLATE, "replicas": -1}),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            lambda: errors(
                "replicasets.apps",
                spec={"selector": SELECTOR, "template": {"metadata": TEMPLATE["metadata"], "spec": NEVER}},
            ),
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        ),
        (lambda: errors("services"), "spec.ports: Required value"),
        (
            lambda: errors("services", spec={"ports": [{"port": 1, "nodePort": 30000}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            lambda: errors("jobs.batch", spec={"template": TEMPLATE}),
            'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
        ),
        (
            lambda: errors("rolebindings.rbac.authorization.k8s.io", roleRef={"kind": "Role"}),
            "roleRef.name: Required value",
        ),
        (
            lambda: errors("ingresses.networking.k8s.io", spec={"rules": [{"http": {"paths": [{"path": "/"}]}}]}),
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        (
            lambda: errors("ingresses.networking.k8s.io", spec={"rules": [{"http": {"paths": [{"pathType": ""}]}}]}),
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        (
            lambda: errors("jobs.batch", spec={"template": TEMPLATE, "selector": NO_OPERATOR}),
            'spec.selector.matchExpressions[0].operator: Invalid value: "No": not a valid selector operator',
        ),
        (
            lambda: errors(f"clusterroles.{RBAC}", aggregationRule={"clusterRoleSelectors": [NO_OPERATOR]}),
            "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].operator: "
            'Invalid value: "No": not a valid selector operator',
        ),
        (
            lambda: errors(f"clusterroles.{RBAC}", aggregationRule={}),
            "aggregationRule.clusterRoleSelectors: Required value: "
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        ),
        (
            lambda: errors("persistentvolumeclaims", spec={"accessModes": ["ReadWriteOnce"]}),
            "spec.resources[storage]: Required value",
        ),
    ],
)  # fmt: skip
def test_validation_speaks_upstreams_words(found: Any, expected: str) -> None:
    assert expected in found()


def test_what_is_right_is_let_through() -> None:
    assert pod_errors() == []
    assert errors("deployments.apps", spec={"selector": SELECTOR, "template": TEMPLATE}) == []
    assert errors("daemonsets.apps", spec={"selector": SELECTOR, "template": TEMPLATE}) == []
    assert errors("statefulsets.apps", spec={"selector": SELECTOR, "template": TEMPLATE}) == []
    assert errors("services", spec={"ports": [{"port": 80}]}) == []
    assert errors("nodes", spec={"taints": [{"key": "a", "effect": "NoSchedule"}]}) == []
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}
    assert errors("ingresses.networking.k8s.io", spec={"rules": [{"http": {"paths": [path]}}]}) == []


def test_pods_hardly_change() -> None:
    old = created("pods", spec={"containers": [CONTAINER], "tolerations": [{"key": "a", "operator": "Exists"}]})
    assert update_errors("pods", old, lambda p: p["spec"]["containers"][0].update(image="httpd:v2")) == []
    assert (
        update_errors("pods", old, lambda p: p["spec"]["tolerations"].append({"key": "b", "operator": "Exists"})) == []
    )
    (text,) = update_errors("pods", old, lambda p: p["spec"].update(hostname="h"))
    assert text.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
        "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds`"
    )
    (text,) = update_errors("pods", old, lambda p: p["spec"]["containers"].append({**CONTAINER, "name": "b"}))
    assert text == "spec.containers: Forbidden: pod updates may not add or remove containers"


def test_what_is_immutable() -> None:
    deployment = created("deployments.apps", spec={"selector": SELECTOR, "template": TEMPLATE})

    def relabel(obj: Any) -> None:
        obj["spec"]["selector"]["matchLabels"] = {"app": "y"}
        obj["spec"]["template"]["metadata"]["labels"] = {"app": "y"}

    assert update_errors("deployments.apps", deployment, relabel) == [
        'spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{"app":"y"}, '
        "MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable"
    ]
    service = created("services", spec={"ports": [{"port": 80}], "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"]})
    assert update_errors("services", service, lambda s: s["spec"].update(clusterIP="10.96.0.6")) == [
        'spec.clusterIPs[0]: Invalid value: []string{"10.96.0.6"}: may not change once set'
    ]
    config = created("configmaps", data={"a": "b"}, immutable=True)
    assert update_errors("configmaps", config, lambda c: c["data"].update(a="c")) == [
        "data: Forbidden: field is immutable when `immutable` is set"
    ]
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    binding = created("rolebindings.rbac.authorization.k8s.io", roleRef=ref)
    assert update_errors(
        "rolebindings.rbac.authorization.k8s.io", binding, lambda b: b["roleRef"].update(name="s")
    ) == [
        'roleRef: Invalid value: rbac.RoleRef{APIGroup:"rbac.authorization.k8s.io", Kind:"Role", Name:"s"}: '
        "cannot change roleRef"
    ]


def test_several_errors_read_as_upstreams() -> None:
    found = row("pods").strategy.validate(created("pods", spec={"containers": [{}]}))
    assert invalid("Pod", "x", "", found).message == (
        'Pod "x" is invalid: [spec.containers[0].name: Required value, spec.containers[0].image: Required value]'
    )


@pytest.mark.parametrize(("old", "new", "verb"), [([], ["Approved"], "add"), (["Denied"], ["Failed"], "remove")])
def test_signing_is_not_approving(old: list[str], new: list[str], verb: str) -> None:
    before, after = (
        {"spec": {}, "status": {"conditions": [{"type": t, "status": "True"} for t in types]}} for types in (old, new)
    )
    for obj in (before, after):
        obj["metadata"] = {"name": "a"}
    strategy = row("certificatesigningrequests.certificates.k8s.io").strategy
    found = [error.message() for error in strategy.validate_update(after, before, "status")]
    assert any(text.startswith(f"status.conditions: Forbidden: updates may not {verb} a condition") for text in found)
    unchanged = strategy.validate_update(before, before, "status")
    assert not any(error.field.startswith("status") for error in unchanged)
