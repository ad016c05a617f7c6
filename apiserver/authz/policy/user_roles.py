"""Roles for people: cluster-admin, admin, edit, view and what everybody may read.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#user-facing-roles
"""

from __future__ import annotations

from apiserver.authz.policy.rules import (
    APPS,
    AUTHORIZATION,
    AUTOSCALING,
    BATCH,
    CORE,
    DISCOVERY,
    EXTENSIONS,
    NETWORKING,
    POLICY,
    RBAC,
    READ,
    READ_WRITE,
    WRITE,
    Rule,
    path_rule,
    rule,
)

VIEW: list[Rule] = [
    rule(
        READ,
        CORE,
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status",
    ),
    rule(
        READ,
        CORE,
        "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
        "resourcequotas resourcequotas/status",
    ),
    rule(READ, CORE, "namespaces"),
    rule(READ, DISCOVERY, "endpointslices"),
    rule(
        READ,
        APPS,
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets "
        "replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    ),
    rule(READ, AUTOSCALING, "horizontalpodautoscalers horizontalpodautoscalers/status"),
    rule(READ, BATCH, "cronjobs cronjobs/status jobs jobs/status"),
    rule(
        READ,
        EXTENSIONS,
        "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses ingresses/status "
        "networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale",
    ),
    rule(READ, POLICY, "poddisruptionbudgets poddisruptionbudgets/status"),
    rule(READ, NETWORKING, "ingresses ingresses/status networkpolicies"),
]

EDIT: list[Rule] = [
    rule(READ, CORE, "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    rule("impersonate", CORE, "serviceaccounts"),
    rule(WRITE, CORE, "pods pods/attach pods/exec pods/portforward pods/proxy"),
    rule("create", CORE, "pods/eviction"),
    rule(
        WRITE,
        CORE,
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy",
    ),
    rule("create", CORE, "serviceaccounts/token"),
    rule(
        WRITE,
        APPS,
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
        "statefulsets/scale",
    ),
    rule(WRITE, AUTOSCALING, "horizontalpodautoscalers"),
    rule(WRITE, BATCH, "cronjobs jobs"),
    rule(
        WRITE,
        EXTENSIONS,
        "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets "
        "replicasets/scale replicationcontrollers/scale",
    ),
    rule(WRITE, POLICY, "poddisruptionbudgets"),
    rule(WRITE, NETWORKING, "ingresses networkpolicies"),
    rule(READ_WRITE, "coordination.k8s.io", "leases"),
]

ADMIN: list[Rule] = [
    rule("create", AUTHORIZATION, "localsubjectaccessreviews"),
    rule(READ_WRITE, RBAC, "rolebindings roles"),
]

USER_ROLES: dict[str, list[Rule]] = {
    "cluster-admin": [rule("*", "*", "*"), path_rule("*", "*")],
    "system:aggregate-to-view": VIEW,
    "system:aggregate-to-edit": EDIT,
    "system:aggregate-to-admin": ADMIN,
    "view": VIEW,
    "edit": EDIT + VIEW,
    "admin": ADMIN + EDIT + VIEW,
    "system:discovery": [
        path_rule("get", "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")
    ],
    "system:public-info-viewer": [path_rule("get", "/healthz /livez /readyz /version /version/")],
    "system:monitoring": [
        path_rule("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*")
    ],
    "system:basic-user": [
        rule("create", AUTHORIZATION, "selfsubjectaccessreviews selfsubjectrulesreviews"),
        rule("create", "authentication.k8s.io", "selfsubjectreviews"),
    ],
    "system:heapster": [
        rule(READ, CORE, "events namespaces nodes pods"),
        rule(READ, EXTENSIONS, "deployments"),
    ],
    "system:node-problem-detector": [
        rule("get", CORE, "nodes"),
        rule("patch", CORE, "nodes/status"),
        rule("create patch update", (CORE, "events.k8s.io"), "events"),
    ],
    "system:auth-delegator": [
        rule("create", "authentication.k8s.io", "tokenreviews"),
        rule("create", AUTHORIZATION, "subjectaccessreviews"),
    ],
    "system:kubelet-api-admin": [
        rule("get list watch proxy", CORE, "nodes"),
        rule(
            "*",
            CORE,
            "nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/spec nodes/stats",
        ),
    ],
    "system:persistent-volume-provisioner": [
        rule("create delete get list watch", CORE, "persistentvolumes"),
        rule("get list update watch", CORE, "persistentvolumeclaims"),
        rule(READ, "storage.k8s.io", "storageclasses"),
        rule("get list watch create patch update", CORE, "events"),
    ],
    "system:kube-aggregator": [rule(READ, CORE, "endpoints services"), rule(READ, DISCOVERY, "endpointslices")],
    "system:kube-dns": [
        rule("list watch", CORE, "endpoints services"),
        rule("list watch", DISCOVERY, "endpointslices"),
    ],
    "system:service-account-issuer-discovery": [
        path_rule(
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        )
    ],
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": [
        rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")
    ],
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": [
        rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")
    ],
    "system:certificates.k8s.io:kube-apiserver-client-approver": [
        rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client")
    ],
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": [
        rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/kube-apiserver-client-kubelet")
    ],
    "system:certificates.k8s.io:kubelet-serving-approver": [
        rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/kubelet-serving")
    ],
    "system:certificates.k8s.io:legacy-unknown-approver": [
        rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/legacy-unknown")
    ],
}
"""Rules by role. Admin, edit and view are what their aggregation computes (upstream's controller fills them in)."""

AGGREGATION = {
    "admin": ("rbac.authorization.k8s.io/aggregate-to-admin",),
    "edit": ("rbac.authorization.k8s.io/aggregate-to-edit",),
    "view": ("rbac.authorization.k8s.io/aggregate-to-view",),
}
"""The labels of the roles that an aggregated role is made of."""

EXTRA_LABELS = {
    "system:aggregate-to-admin": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"},
    "system:aggregate-to-edit": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"},
    "system:aggregate-to-view": {"rbac.authorization.k8s.io/aggregate-to-view": "true"},
    "edit": {"rbac.authorization.k8s.io/aggregate-to-admin": "true"},
    "view": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"},
}
