"""The repair loop of service addresses and node ports: reads, asks :mod:`apiserver.allocation.repair`, writes."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
from typing import Any, Protocol

from apiserver.allocation.repair import Claim, Correction, Finding, examine
from apiserver.allocation.spec import IP_KEYS, PORT_KEYS, AllocationSettings, parse_port_range
from apiserver.storage import transactions
from apiserver.storage.etcd import prefix_end
from apiserver.types import Object, Registry
from common.api.status import AlreadyExists, StatusError
from common.api.time import now_text
from common.api.uid import new_uid

log = logging.getLogger(__name__)

INTERVAL = 180.0
"""Upstream's."""
PAGE = 5000


class Etcd(Protocol):
    async def txn(self, request: Any) -> Any: ...
    async def range(self, key: bytes, range_end: bytes = ..., *, limit: int = ..., revision: int = ...) -> Any: ...


class RepairLoop:
    def __init__(self, registry: Registry, settings: AllocationSettings, etcd: Etcd) -> None:
        self._services = registry.store("", "services")
        self._events = registry.store("", "events")
        self._network = ipaddress.ip_network(settings.service_cluster_ip_range)
        self._ports = parse_port_range(settings.service_node_port_range)
        self._etcd = etcd

    async def run(self, interval: float = INTERVAL) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.once()
            except StatusError as error:
                log.warning("service addresses and node ports were not checked: %s", error)
            await asyncio.sleep(interval)

    async def once(self) -> None:
        claims, revision = await self._claims()
        if not await self._services.reached(revision):
            return
        findings, corrections = examine(self._services.cached_list(), claims, self._network, self._ports)
        for correction in corrections:
            if await self._correct(correction) and correction.finding is not None:
                findings.append(correction.finding)
        for finding in findings:
            await self._say(finding)

    async def _claims(self) -> tuple[dict[bytes, Claim], int]:
        """All claims as of one revision."""
        claims: dict[bytes, Claim] = {}
        revision = 0
        for prefix in (IP_KEYS, PORT_KEYS):
            key, more = prefix, True
            while more:
                page = await self._etcd.range(key, prefix_end(prefix), limit=PAGE, revision=revision)
                revision = revision or page.header.revision
                for kv in page.kvs:
                    claims[kv.key] = Claim(kv.value.decode(errors="replace"), kv.mod_revision)
                more = page.more
                if more:
                    key = page.kvs[-1].key + b"\0"
        return claims, revision

    async def _correct(self, correction: Correction) -> bool:
        """False when the state has changed meanwhile: the next round looks again."""
        key, owner = correction.key, correction.owner
        compare = [transactions.at(key, correction.seen)]
        for service, revision in correction.services.items():
            namespace, _, name = service.partition("/")
            compare += self._services.unchanged(namespace, name, str(revision)).compare
        step = transactions.remove(key) if owner is None else transactions.put(key, owner.encode())
        done = bool((await self._etcd.txn(transactions.when(compare, [step]))).succeeded)
        if done:
            log.warning("%s was corrected: it belongs to %s", key.decode(errors="replace"), owner or "nobody")
        return done

    async def _say(self, finding: Finding) -> None:
        metadata = finding.service["metadata"]
        log.warning("service %s/%s: %s", metadata["namespace"], metadata["name"], finding.message)
        event = _event(finding)

        def again(current: Object) -> Object:
            current["count"] = int(current.get("count") or 1) + 1
            current["lastTimestamp"] = event["lastTimestamp"]
            return current

        try:
            await self._events.create(event)
        except AlreadyExists:
            await self._events.update(metadata["namespace"], event["metadata"]["name"], again)


def _event(finding: Finding) -> Object:
    metadata, time = finding.service["metadata"], now_text()
    said = f"{metadata.get('uid')} {finding.reason} {finding.message}"
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(said.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
            "uid": new_uid(),
            "creationTimestamp": time,
        },
        "involvedObject": {
            "kind": "Service",
            "apiVersion": "v1",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata["resourceVersion"],
        },
        "reason": finding.reason,
        "message": finding.message,
        "source": {"component": finding.component},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
        "type": "Warning",
        "eventTime": None,
        "reportingComponent": finding.component,
        "reportingInstance": "",
    }
