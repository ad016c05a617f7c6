"""What foreign hands did in etcd is put right, or said: addresses and node ports of Services."""

from __future__ import annotations

import httpx
import orjson

from apiserver.allocation import RepairLoop
from apiserver.allocation.spec import claims_of
from apiserver.storage import transactions
from apiserver.storage.encoding import encode
from apiserver.storage.etcd import Etcd
from apiserver.storage.registry import Stores


class Flags:
    service_cluster_ip_range = "10.96.0.0/16"
    service_node_port_range = "30000-32767"


def service(name: str, ip: str, port: int) -> dict[str, object]:
    spec = {"type": "NodePort", "clusterIP": ip, "clusterIPs": [ip], "ports": [{"port": 80, "nodePort": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


async def put(etcd: Etcd, key: bytes, value: bytes) -> None:
    await etcd.txn(transactions.when([], [transactions.put(key, value)]))


async def test_numbers_are_repaired_and_it_is_said(
    http: httpx.Client, namespace: str, etcd_client: Etcd, stores: Stores
) -> None:
    path = f"/api/v1/namespaces/{namespace}"
    for number in range(2):
        body = service(f"s{number}", f"10.96.0.{230 + number}", 30070 + number)
        assert http.post(f"{path}/services", json=body).status_code == 201
    # The claims of s0 are lost; a claim is left of a service that is gone; a copy of s1 is put back by hand.
    stored = http.get(f"{path}/services/s0").json()
    for key in claims_of(stored):
        await etcd_client.txn(transactions.when([], [transactions.remove(key)]))
    leaked = b"/registry/ranges/serviceips/10.96.0.237"
    await put(etcd_client, leaked, f"{namespace}/gone".encode())
    copy = http.get(f"{path}/services/s1").json()
    copy["metadata"] |= {"name": "copy", "uid": "0000"}
    await put(etcd_client, f"/registry/services/{namespace}/copy".encode(), encode(copy))
    assert http.post(f"{path}/services", json=service("other", "10.96.0.237", 30079)).status_code == 409

    assert await stores.store("", "services").fresh()
    await RepairLoop(stores, Flags(), etcd_client).once()

    for key, owner in claims_of(stored).items():
        assert (await etcd_client.range(key)).kvs[0].value == owner
    assert http.post(f"{path}/services", json=service("other", "10.96.0.237", 30079)).status_code == 201
    events = http.get(f"{path}/events").json()["items"]
    assert {(e["involvedObject"]["name"], e["reason"]) for e in events} == {
        ("s0", "ClusterIPNotAllocated"),
        ("s0", "PortNotAllocated"),
        ("copy", "ClusterIPAlreadyAllocated"),
        ("copy", "PortAlreadyAllocated"),
    }
    await RepairLoop(stores, Flags(), etcd_client).once()
    counted = {e["reason"]: e["count"] for e in http.get(f"{path}/events").json()["items"]}
    assert counted == {
        "ClusterIPNotAllocated": 1,
        "PortNotAllocated": 1,
        "ClusterIPAlreadyAllocated": 2,
        "PortAlreadyAllocated": 2,
    }
    # Removing the copy gives nothing away that is s1's.
    assert http.delete(f"{path}/services/copy").status_code == 200
    refused = http.post(f"{path}/services", json=service("late", "10.96.0.231", 30891))
    assert refused.status_code == 422, orjson.dumps(refused.json())
