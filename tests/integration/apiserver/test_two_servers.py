"""Two API servers on one etcd behave as one."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.integration.conftest import ApiServer, Etcd, apiserver_command, client_of, eventually, free_port, wait_ready


@pytest.fixture(scope="module")
def other(apiserver: ApiServer, etcd: Etcd, certificates: Path, scratch: Path) -> Iterator[ApiServer]:
    port = free_port()
    command = apiserver_command(etcd, certificates, port)
    server = replace(
        apiserver,
        command=command,
        log=scratch / "other.log",
        url=f"https://127.0.0.1:{port}",
        process=None,
    )
    server.start()
    try:
        wait_ready(server)
        yield server
    finally:
        server.stop()


def test_a_read_is_never_older_than_a_write_seen_answered(http: httpx.Client, other: ApiServer, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with client_of(other) as second:
        obj = http.post(path, json={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}).json()
        for number in range(100):
            writer, reader = (http, second) if number % 2 else (second, http)
            obj = writer.put(f"{path}/a", json=obj | {"data": {"n": str(number)}}).json()
            assert reader.get(f"{path}/a").json()["data"] == {"n": str(number)}
            (listed,) = reader.get(path).json()["items"]
            assert listed["data"] == {"n": str(number)}


def test_a_past_before_the_first_list_is_gone(other: ApiServer, namespace: str) -> None:
    with client_of(other) as second:
        answer = second.get(f"/api/v1/namespaces/{namespace}/configmaps", params={"watch": "1", "resourceVersion": "1"})
    (event,) = map(orjson.loads, answer.text.splitlines())
    assert (event["type"], event["object"]["reason"], event["object"]["code"]) == ("ERROR", "Expired", 410)
    assert event["object"]["message"].startswith("too old resource version: 1 (")


def at_once(tasks: Iterable[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda task: task(), tasks))


def made(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}


def codes(answers: Iterable[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def test_two_servers_never_give_one_number_to_two_services(
    http: httpx.Client, other: ApiServer, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    with client_of(other) as second:

        def create(number: int) -> httpx.Response:
            # Out of the static bands: no Service of another test was given one of these by chance.
            spec = {
                "type": "NodePort",
                "clusterIP": f"10.96.0.{100 + number // 4}",
                "ports": [{"port": 80, "nodePort": 30020 + number // 4}],
            }
            return (http, second)[number % 2].post(path, json=made("Service", f"s{number}", spec=spec))

        answers = at_once(partial(create, number) for number in range(80))
        assert codes(answers) == {201: 20, 422: 60}
        for answer in answers:
            if answer.status_code == 422:
                assert "already allocated" in answer.json()["message"]
        stored = second.get(path).json()["items"]
        assert len({s["spec"]["clusterIP"] for s in stored}) == len({s["spec"]["ports"][0]["nodePort"] for s in stored})
        # What one server frees, the other can give away at once.
        for number, service in enumerate(stored):
            first, then = (http, second) if number % 2 else (second, http)
            assert first.delete(f"{path}/{service['metadata']['name']}").status_code == 200
            spec = {k: service["spec"][k] for k in ("type", "clusterIP", "ports")}
            answer = then.post(path, json=made("Service", f"again-{number}", spec=spec))
            assert answer.status_code == 201, answer.text


def test_a_service_that_is_updated_on_both_keeps_and_frees_its_numbers(
    http: httpx.Client, other: ApiServer, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    with client_of(other) as second:
        spec = {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30050}]}
        assert http.post(path, json=made("Service", "a", spec=spec)).status_code == 201
        merge = {"content-type": "application/merge-patch+json"}

        def take(number: int, port: int) -> httpx.Response:
            body = orjson.dumps({"spec": {"ports": [{"port": 80, "nodePort": port}]}})
            return (http, second)[number % 2].patch(f"{path}/a", content=body, headers=merge)

        assert codes(at_once(partial(take, n, 30051 + n) for n in range(12))) == {200: 12}
        now = http.get(f"{path}/a").json()["spec"]["ports"][0]["nodePort"]
        free = set(range(30050, 30063)) - {now}
        specs = [{"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]} for port in sorted(free)]
        answers = [second.post(path, json=made("Service", f"b{n}", spec=spec)) for n, spec in enumerate(specs)]
        assert codes(answers) == {201: 12}
        refused = take(0, min(free))
        assert refused.status_code == 422
        assert "provided port is already allocated" in refused.json()["message"]


def test_two_servers_never_exceed_a_quota(http: httpx.Client, other: ApiServer, namespace: str) -> None:
    space = f"/api/v1/namespaces/{namespace}"
    with client_of(other) as second:
        hard = {"configmaps": "20", "count/secrets": "15"}
        assert (
            http.post(f"{space}/resourcequotas", json=made("ResourceQuota", "q", spec={"hard": hard})).status_code
            == 201
        )

        def create(number: int) -> httpx.Response:
            kind, plural = (("ConfigMap", "configmaps"), ("Secret", "secrets"))[number % 4 // 2]
            return (http, second)[number % 2].post(f"{space}/{plural}", json=made(kind, f"o{number}"))

        assert second.get(f"{space}/resourcequotas/q").status_code == 200  # both know the quota now
        assert codes(at_once(partial(create, number) for number in range(120))) == {201: 35, 403: 85}
        maps = second.get(f"{space}/configmaps").json()["items"]
        assert len(maps) == 20
        used = second.get(f"{space}/resourcequotas/q").json()["status"]["used"]
        assert used == {"configmaps": "20", "count/secrets": "15"}
        # A place that one server frees is free on the other at once, and once.
        http.delete(f"{space}/configmaps/{maps[0]['metadata']['name']}")
        answers = at_once(
            partial(second.post, f"{space}/configmaps", json=made("ConfigMap", f"n{n}")) for n in range(4)
        )
        assert codes(answers) == {201: 1, 403: 3}


def test_what_is_applied_is_charged_and_looked_at_again_too(
    http: httpx.Client, other: ApiServer, namespace: str
) -> None:
    space = f"/api/v1/namespaces/{namespace}"
    with client_of(other) as second:
        quota = made("ResourceQuota", "q", spec={"hard": {"configmaps": "10"}})
        assert http.post(f"{space}/resourcequotas", json=quota).status_code == 201
        second.get(f"{space}/resourcequotas/q")
        apply = {"content-type": "application/apply-patch+yaml"}

        def create(number: int) -> httpx.Response:
            client, path = (http, second)[number % 2], f"{space}/configmaps/o{number}"
            body = orjson.dumps(made("ConfigMap", f"o{number}", data={"a": "b"}))
            return client.patch(path, params={"fieldManager": "m"}, content=body, headers=apply)

        answers = at_once(partial(create, number) for number in range(60))
        assert codes(answers) == {201: 10, 403: 50}
        for answer in answers:
            if answer.status_code == 201:
                (entry,) = answer.json()["metadata"]["managedFields"]
                assert set(entry["fieldsV1"]) == {"f:data"}


def test_a_quota_that_somebody_else_wrote_is_counted_again(
    http: httpx.Client, other: ApiServer, namespace: str
) -> None:
    space = f"/api/v1/namespaces/{namespace}"
    with client_of(other) as second:
        quota = made("ResourceQuota", "q", spec={"hard": {"configmaps": "3"}})
        assert http.post(f"{space}/resourcequotas", json=quota).status_code == 201
        second.get(f"{space}/resourcequotas/q")
        assert [second.post(f"{space}/configmaps", json=made("ConfigMap", f"a{n}")).status_code for n in range(2)] == [
            201
        ] * 2
        current = http.get(f"{space}/resourcequotas/q").json()
        current["status"]["used"] = {"configmaps": "0"}  # a controller that is behind
        assert http.put(f"{space}/resourcequotas/q/status", json=current).status_code == 200
        answers = [(http, second)[n % 2].post(f"{space}/configmaps", json=made("ConfigMap", f"b{n}")) for n in range(4)]
        assert codes(answers) == {201: 1, 403: 3}


def test_nothing_is_made_in_a_namespace_after_it_was_deleted(http: httpx.Client, other: ApiServer) -> None:
    with client_of(other) as second:
        for _ in range(4):
            name = f"gone-{uuid.uuid4().hex[:8]}"
            assert http.post("/api/v1/namespaces", json=made("Namespace", name)).status_code == 201
            path = f"/api/v1/namespaces/{name}/configmaps"

            def act(number: int, name: str = name, path: str = path) -> httpx.Response:
                client = (http, second)[number % 2]
                if number == 60:
                    return client.delete(f"/api/v1/namespaces/{name}")
                return client.post(path, json=made("ConfigMap", f"a{number}"))

            answers = at_once(partial(act, number) for number in range(160))
            deleted = answers.pop(60)
            assert deleted.status_code == 200
            end = int(deleted.json()["metadata"]["resourceVersion"])
            assert codes(answers).keys() == {201, 403}
            for answer in answers:
                if answer.status_code == 201:
                    assert int(answer.json()["metadata"]["resourceVersion"]) < end
                else:
                    assert answer.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"


def test_what_the_other_server_was_told_counts_at_once(http: httpx.Client, other: ApiServer, namespace: str) -> None:
    """Admission reads caches; a refusal for their sake is looked at again when they are up to date."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    with client_of(other) as second:
        for number in range(20):
            first, then = (http, second) if number % 2 else (second, http)
            name = f"p-{uuid.uuid4().hex[:8]}"
            priority = {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": 7,
            }
            assert first.post("/apis/scheduling.k8s.io/v1/priorityclasses", json=priority).status_code == 201
            spec = {"priorityClassName": name, "containers": [{"name": "c", "image": "i"}]}
            answer = then.post(pods, json=made("Pod", name, spec=spec))
            assert answer.status_code == 201, answer.text
            assert answer.json()["spec"]["priority"] == 7
            first.delete(f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}")


def test_a_budget_counts_at_once_on_both(http: httpx.Client, other: ApiServer, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    with client_of(other) as second:
        for number in range(10):
            first, then = (http, second) if number % 2 else (second, http)
            name = f"p{number}"
            pod = made("Pod", name, spec={"containers": [{"name": "c", "image": "i"}]})
            pod["metadata"]["labels"] = {"app": name}
            assert first.post(pods, json=pod).status_code == 201
            merge = {"content-type": "application/merge-patch+json"}
            status = orjson.dumps({"status": running})
            assert first.patch(f"{pods}/{name}/status", content=status, headers=merge).status_code == 200
            spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}}
            budget = {**made("PodDisruptionBudget", name, spec=spec), "apiVersion": "policy/v1"}
            assert first.post(budgets, json=budget).status_code == 201
            eviction = {**made("Eviction", name), "apiVersion": "policy/v1"}
            assert then.post(f"{pods}/{name}/eviction", json=eviction).status_code == 429


def test_the_kubernetes_service_leads_to_the_first_of_an_address(
    http: httpx.Client, other: ApiServer, api_port: int
) -> None:
    with client_of(other) as second:
        for client in (http, second):
            (subset,) = client.get("/api/v1/namespaces/default/endpoints/kubernetes").json()["subsets"]
            assert subset["addresses"] == [{"ip": "127.0.0.1"}]
            assert subset["ports"][0]["port"] == api_port


def test_the_kubernetes_service_leads_to_every_address_that_lives(
    apiserver: ApiServer, etcd: Etcd, certificates: Path, scratch: Path, http: httpx.Client, api_port: int
) -> None:
    """A server joins, and leaves when it stops."""
    port = free_port()
    command = [*apiserver_command(etcd, certificates, port), "--advertise-address=192.0.2.9"]
    url = f"https://127.0.0.1:{port}"
    third = replace(apiserver, command=command, log=scratch / "third.log", url=url, process=None)

    def addresses() -> set[tuple[str, int]]:
        subsets = http.get("/api/v1/namespaces/default/endpoints/kubernetes").json()["subsets"]
        return {(a["ip"], p["port"]) for subset in subsets for a in subset["addresses"] for p in subset["ports"]}

    here, there = ("127.0.0.1", api_port), ("192.0.2.9", port)
    assert addresses() == {here}
    third.start()
    try:
        eventually(lambda: addresses() == {here, there})
    finally:
        third.stop()
    assert addresses() == {here}, "it has said goodbye"


def test_a_token_of_an_account_that_was_made_anew(http: httpx.Client, other: ApiServer, namespace: str) -> None:
    """The other server may still know the account that was."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    with client_of(other) as second:
        for number in range(20):
            first, then = (http, second) if number % 2 else (second, http)
            first.delete(f"{accounts}/again")
            assert first.post(accounts, json=made("ServiceAccount", "again")).status_code == 201
            token = first.post(f"{accounts}/again/token", json=request).json()["status"]["token"]
            answer = then.post("/apis/authentication.k8s.io/v1/tokenreviews", json=review | {"spec": {"token": token}})
            assert answer.json()["status"]["authenticated"], answer.text
