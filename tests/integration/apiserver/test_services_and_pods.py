"""What admission, allocation and the pods' subresources make of what is sent, against the real server."""

from __future__ import annotations

import threading

import httpx
import pytest

from tests.integration.conftest import Kubectl, eventually

MERGE = {"content-type": "application/merge-patch+json"}
STRATEGIC = {"content-type": "application/strategic-merge-patch+json"}


def service(name: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], **spec},
    }


def pod(name: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


def test_the_kubernetes_service_leads_here(http: httpx.Client, api_port: int) -> None:
    spec = http.get("/api/v1/namespaces/default/services/kubernetes").json()["spec"]
    assert spec["clusterIP"] == "10.96.0.1"
    slices = http.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").json()
    assert slices["endpoints"][0]["addresses"] == ["127.0.0.1"]
    assert slices["ports"][0]["port"] == api_port


def test_addresses_and_node_ports(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    one = http.post(path, json=service("one", type="NodePort")).json()
    ip, port = one["spec"]["clusterIP"], one["spec"]["ports"][0]["nodePort"]
    assert ip.startswith("10.96.")
    assert one["spec"]["clusterIPs"] == [ip]
    assert 30000 <= port <= 32767
    answer = http.post(path, json=service("two", clusterIP=ip))
    assert answer.status_code == 422
    assert answer.json()["message"].endswith(f"failed to allocate IP {ip}: provided IP is already allocated")
    answer = http.post(path, json=service("two", clusterIP="192.0.2.7"))
    assert answer.json()["message"].endswith(
        "failed to allocate IP 192.0.2.7: the provided IP (192.0.2.7) is not in the valid range. The range of valid "
        "IPs is 10.96.0.0/16"
    )
    answer = http.post(path, json=service("two", type="NodePort", ports=[{"port": 80, "nodePort": port}]))
    assert answer.json()["message"] == (
        f'Service "two" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated'
    )
    answer = http.post(path, json=service("two", type="NodePort", ports=[{"port": 80, "nodePort": 8080}]))
    assert answer.json()["message"].endswith(
        "provided port is not in the valid range. The range of valid ports is 30000-32767"
    )
    changed = http.patch(f"{path}/one", json={"spec": {"type": "ClusterIP"}}, headers=MERGE).json()
    assert changed["spec"]["clusterIP"] == ip
    assert "nodePort" not in changed["spec"]["ports"][0]
    taken = service("two", type="NodePort", ports=[{"port": 80, "nodePort": port}])
    eventually(lambda: http.post(path, json=taken).status_code == 201)
    assert http.delete(f"{path}/one").status_code == 200
    eventually(lambda: http.post(path, json=service("three", clusterIP=ip)).status_code == 201)
    assert http.post(path, json=service("headless", clusterIP="None")).json()["spec"]["clusterIPs"] == ["None"]


def test_concurrent_creates_get_different_addresses(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    answers: list[dict[str, object]] = []

    def make(index: int) -> None:
        answers.append(http.post(path, json=service(f"s{index}", type="NodePort")).json())

    threads = [threading.Thread(target=make, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    specs = [a["spec"] for a in answers]
    assert len({s["clusterIP"] for s in specs}) == 24  # type: ignore[index]
    assert len({s["ports"][0]["nodePort"] for s in specs}) == 24  # type: ignore[index]


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_three_namespaces_stay(http: httpx.Client, name: str) -> None:
    answer = http.delete(f"/api/v1/namespaces/{name}")
    assert answer.json()["message"] == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


def test_nothing_is_made_where_there_is_no_namespace_or_it_goes(http: httpx.Client) -> None:
    answer = http.post("/api/v1/namespaces/nowhere/pods", json=pod("p"))
    assert (answer.status_code, answer.json()["message"]) == (404, 'namespaces "nowhere" not found')
    http.post("/api/v1/namespaces", json={"metadata": {"name": "going"}})
    assert http.delete("/api/v1/namespaces/going").json()["status"]["phase"] == "Terminating"
    config = {"metadata": {"name": "c"}}
    answer = http.post("/api/v1/namespaces/going/configmaps", json=config)
    assert answer.status_code == 403
    assert answer.json()["message"] == (
        'configmaps "c" is forbidden: unable to create new content in namespace going because it is being terminated'
    )
    assert answer.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    final = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "going"}, "spec": {"finalizers": []}}
    assert http.put("/api/v1/namespaces/going/finalize", json=final).status_code == 200
    assert http.get("/api/v1/namespaces/going").status_code == 404


def test_a_pod_is_completed(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = http.post(path, json=pod("p", priorityClassName="system-node-critical")).json()["spec"]
    assert spec["priority"] == 2000001000
    assert spec["serviceAccountName"] == "default"
    assert spec["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert [t["tolerationSeconds"] for t in spec["tolerations"]] == [300, 300]
    answer = http.post(path, json=pod("q", serviceAccountName="nobody"))
    assert answer.json()["message"] == (
        f'pods "q" is forbidden: error looking up service account {namespace}/nobody: serviceaccount "nobody" not found'
    )
    answer = http.post(path, json=pod("q", priorityClassName="none"))
    assert answer.json()["message"] == 'pods "q" is forbidden: no PriorityClass with name none was found'


def test_a_pod_is_bound_once(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    http.post(path, json=pod("p"))

    def bind(node: str) -> httpx.Response:
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "annotations": {"by": "me"}}}
        return http.post(f"{path}/p/binding", json={**body, "target": {"kind": "Node", "name": node}})

    assert bind("n1").status_code == 201
    bound = http.get(f"{path}/p").json()
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["metadata"]["annotations"] == {"by": "me"}
    assert [(c["type"], c["status"]) for c in bound["status"]["conditions"]] == [("PodScheduled", "True")]
    answer = bind("n2")
    assert answer.status_code == 409
    assert answer.json()["message"] == (
        'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1"'
    )
    assert http.post(f"{path}/nope/binding", json={"target": {"name": "n"}}).status_code == 404


def test_eviction_asks_the_budget(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods"
    http.post(path, json=pod("p", nodeName="n1"))
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    http.patch(f"{path}/p/status", json={"status": ready}, headers=MERGE)
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec}
    assert http.post(budgets, json=budget).status_code == 201
    status = {"observedGeneration": 1, "disruptionsAllowed": 0, "desiredHealthy": 1, "currentHealthy": 1}
    http.patch(f"{budgets}/b/status", json={"status": {**status, "expectedPods": 1}}, headers=MERGE)

    revision = http.get(f"{path}/p").json()["metadata"]["resourceVersion"]

    def evict(uid: str | None = None) -> httpx.Response:
        options = {"preconditions": {"resourceVersion": revision, **({"uid": uid} if uid else {})}}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}, "deleteOptions": options}
        return http.post(f"{path}/p/eviction", json=body)

    answer = evict()
    assert answer.status_code == 429
    assert answer.json()["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert answer.json()["details"]["causes"][0]["message"] == (
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    )
    http.patch(f"{budgets}/b/status", json={"status": {"disruptionsAllowed": 1}}, headers=MERGE)
    assert evict("another").status_code == 409
    assert http.get(f"{path}/p").json()["metadata"]["resourceVersion"] == revision
    eventually(lambda: evict().status_code == 201)
    left = http.get(f"{budgets}/b").json()["status"]
    assert left["disruptionsAllowed"] == 0
    assert list(left["disruptedPods"]) == ["p"]
    going = http.get(f"{path}/p").json()
    assert going["metadata"]["deletionTimestamp"]
    assert any(c["reason"] == "EvictionByEvictionAPI" for c in going["status"]["conditions"] if "reason" in c)
    http.delete(f"{path}/p", params={"gracePeriodSeconds": "0"})


def test_ephemeral_containers_are_added_only(http: httpx.Client, kubectl: Kubectl, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/p"
    http.post(path.rpartition("/")[0], json=pod("p"))
    added = {"spec": {"ephemeralContainers": [{"name": "debugger", "image": "busybox", "targetContainerName": "c"}]}}
    answer = http.patch(f"{path}/ephemeralcontainers", json=added, headers=STRATEGIC)
    assert answer.status_code == 200, answer.text
    (container,) = answer.json()["spec"]["ephemeralContainers"]
    assert container["imagePullPolicy"] == "Always"
    current = http.get(f"{path}/ephemeralcontainers").json()
    current["spec"]["ephemeralContainers"] = []
    answer = http.put(f"{path}/ephemeralcontainers", json=current)
    assert answer.status_code == 422
    assert "may not be removed" in answer.json()["message"]
    wrong = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i", "ports": [{"containerPort": 1}]}]}}
    causes = http.patch(f"{path}/ephemeralcontainers", json=wrong, headers=STRATEGIC).json()["details"]["causes"]
    assert [c["field"] for c in causes] == ["spec.ephemeralContainers[0].ports"]
    answer = http.patch(f"{path}/ephemeralcontainers", json={"metadata": {"labels": {"app": "y"}}}, headers=MERGE)
    assert answer.json()["metadata"]["labels"] == {"app": "x"}


def test_kubectl_debug_adds_a_container(http: httpx.Client, kubectl: Kubectl, namespace: str) -> None:
    http.post(f"/api/v1/namespaces/{namespace}/pods", json=pod("p"))
    kubectl("debug", "p", "-n", namespace, "--image=busybox", "--target=c", "-c", "d", "--attach=false")
    (container,) = http.get(f"/api/v1/namespaces/{namespace}/pods/p").json()["spec"]["ephemeralContainers"]
    assert (container["name"], container["targetContainerName"]) == ("d", "c")


def test_resources_of_a_pod_are_resized(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/pods/p"
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]
    http.post(path.rpartition("/")[0], json=pod("p", containers=containers))

    def resize(**resources: dict[str, str]) -> httpx.Response:
        body = {"spec": {"containers": [{"name": "c", "image": "other", "resources": resources}]}}
        return http.patch(f"{path}/resize", json=body, headers=STRATEGIC)

    answer = resize(requests={"cpu": "500m"})
    assert answer.status_code == 200, answer.text
    (container,) = answer.json()["spec"]["containers"]
    assert (container["resources"], container["image"]) == ({"requests": {"cpu": "500m"}}, "i")
    assert (
        "Pod QOS Class may not change" in resize(requests={"memory": "1"}, limits={"cpu": "500m", "memory": "1"}).text
    )
    assert "only cpu and memory resources are mutable" in resize(requests={"ephemeral-storage": "1"}).text
    plain = http.patch(path, json={"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}},
                       headers=STRATEGIC)  # fmt: skip
    assert "pod updates may not change fields other than" in plain.json()["message"]


def test_claims_and_volumes_are_protected(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claim = http.post(path, json={"metadata": {"name": "c"}, "spec": spec}).json()
    assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    grown = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    answer = http.patch(f"{path}/c", json=grown, headers=MERGE)
    assert answer.status_code == 422  # an unbound claim's spec is immutable
    status = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    assert http.patch(f"{path}/c", json={"spec": {"volumeName": "v"}}, headers=MERGE).status_code == 200
    assert http.patch(f"{path}/c/status", json={"status": status}, headers=MERGE).status_code == 200
    answer = http.patch(f"{path}/c", json=grown, headers=MERGE)
    assert answer.status_code == 403, answer.text
    assert "only dynamically provisioned pvc can be resized" in answer.json()["message"]
    http.patch(f"{path}/c", json={"metadata": {"finalizers": None}}, headers=MERGE)


def test_a_service_is_proxied_to_its_pods_only(http: httpx.Client, namespace: str) -> None:
    base = f"/api/v1/namespaces/{namespace}"
    assert http.post(f"{base}/pods", json=pod("p", nodeName="n1")).status_code == 201
    addresses = {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    assert http.patch(f"{base}/pods/p/status", json={"status": addresses}, headers=MERGE).status_code == 200
    assert http.get(f"{base}/pods/p:80/proxy/").json()["message"] == "address not allowed"
    service = {"kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
    assert http.post(f"{base}/services", json=service).status_code == 201
    target = {"kind": "Pod", "name": "p", "namespace": namespace}
    endpoint = {"addresses": ["10.1.2.3"], "targetRef": target}
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    labels = {"kubernetes.io/service-name": "s"}
    body = {"metadata": {"name": "s", "labels": labels}, "addressType": "IPv4", "endpoints": [endpoint]}
    assert http.post(slices, json={**body, "ports": [{"port": 80}]}).status_code == 201
    answer = http.get(f"{base}/services/s/proxy/")
    assert (answer.status_code, answer.json()["message"]) == (503, 'no endpoints available for service "s"')


def test_a_service_of_many_node_ports(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    ports = [{"name": f"p{n}", "port": n} for n in range(1, 301)]
    made = http.post(path, json=service("many", type="NodePort", ports=ports))
    assert made.status_code == 201, made.text
    assert len({p["nodePort"] for p in made.json()["spec"]["ports"]}) == 300
    assert http.delete(f"{path}/many").status_code == 200
