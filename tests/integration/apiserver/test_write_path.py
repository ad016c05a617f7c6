"""What attackers and conformance tests do to the write path."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from tests.integration.apiserver.test_access import create, pod
from tests.integration.apiserver.test_groups import REQUESTS, signing_request

RBAC = "/apis/rbac.authorization.k8s.io/v1"
MERGE = {"content-type": "application/merge-patch+json"}


def test_who_may_write_approvals_may_not_approve_for_every_signer(http: httpx.Client) -> None:
    """Admission looks at writes to parts of an object as at any other."""
    joe, name = {"impersonate-user": "joe"}, f"r-{uuid.uuid4().hex[:8]}"
    resources = [f"certificatesigningrequests/{part}" for part in ("approval", "status")]
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": resources, "verbs": ["update", "patch"]}
    create(http, f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "joe"}
    binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
    create(http, f"{RBAC}/clusterrolebindings", binding)
    try:
        obj = create(http, REQUESTS, signing_request(name))
        approved = {**obj, "status": {"conditions": [{"type": "Approved", "status": "True"}]}}
        refused = http.put(f"{REQUESTS}/{name}/approval", json=approved, headers=joe)
        text = 'user not permitted to approve requests with signerName "example.com/x"'
        assert (refused.status_code, refused.json()["message"].endswith(text)) == (403, True)
        dry = http.put(f"{REQUESTS}/{name}/approval", json=approved, params={"dryRun": "All"})
        assert dry.json()["status"]["conditions"]
        assert http.get(f"{REQUESTS}/{name}").json()["status"] == {}
        assert http.put(f"{REQUESTS}/{name}/approval", json=approved).status_code == 200
    finally:
        for path in (f"{RBAC}/clusterroles", f"{RBAC}/clusterrolebindings", REQUESTS):
            http.delete(f"{path}/{name}")


def test_nothing_begins_in_a_namespace_that_ends(http: httpx.Client, namespace: str) -> None:
    """Subresources that do something are creates, and are looked at as such."""
    path = f"/api/v1/namespaces/{namespace}"
    held = pod("p", automountServiceAccountToken=False)
    create(http, f"{path}/pods", {**held, "metadata": {"name": "p", "finalizers": ["example.com/held"]}})
    http.delete(path)
    sent: dict[str, dict[str, Any]] = {
        "pods/p/eviction": {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}},
        "pods/p/binding": {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}},
        "serviceaccounts/default/token": {"spec": {}},
    }
    for name, body in sent.items():
        answer = http.post(f"{path}/{name}", json=body)
        assert answer.status_code == 403, answer.text
        assert "because it is being terminated" in answer.json()["message"]
    http.patch(f"{path}/pods/p", json={"metadata": {"finalizers": None}}, headers=MERGE)
