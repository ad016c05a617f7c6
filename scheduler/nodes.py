"""The nodes as columns: a row for each node, an array for each thing that plugins compare.

`NodeTable` is kept up to date by every change of a node or an assigned pod, so nothing is copied for a scheduling
cycle. Labels and taints become small integers on demand (`LabelColumn`, `taint_ids`): a selector is looked at once for
each distinct value, not once for each node.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator

import numpy as np
from lightkube.models.core_v1 import Taint
from lightkube.resources.core_v1 import Node
from numpy.typing import NDArray

from common.api.pods import Amounts, amounts
from scheduler.podinfo import HostPort, PodInfo

Ints = NDArray[np.int64]
BASE_RESOURCES = ("cpu", "memory", "ephemeral-storage")
FIRST_CAPACITY = 64
COUNT_CACHE = 256


class LabelColumn:
    """One label of all nodes: ``ids[row]`` is the number of its value in ``values``, -1 where the label is absent."""

    def __init__(self, capacity: int) -> None:
        self.ids: Ints = np.full(capacity, -1, dtype=np.int64)
        self.values: list[str] = []
        self._numbers: dict[str, int] = {}

    def set(self, row: int, value: str | None) -> None:
        if value is None:
            self.ids[row] = -1
            return
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        self.ids[row] = number

    def grow(self, capacity: int) -> None:
        self.ids = np.concatenate([self.ids, np.full(capacity - len(self.ids), -1, dtype=np.int64)])

    def where(self, accepts: Callable[[str | None], bool]) -> NDArray[np.bool_]:
        """The rows whose value is accepted; the last entry of the table answers for an absent label (index -1)."""
        table = np.array([accepts(value) for value in self.values] + [accepts(None)], dtype=bool)
        result: NDArray[np.bool_] = table[self.ids]
        return result


class PodCount:
    """How many pods of some description each node runs, kept up to date."""

    def __init__(self, matches: Callable[[PodInfo], bool], capacity: int) -> None:
        self.matches = matches
        self.rows: Ints = np.zeros(capacity, dtype=np.int64)


class NodeTable:
    """All nodes, and the pods assigned to them (also to nodes that are not known yet)."""

    def __init__(self) -> None:
        self.valid = np.zeros(FIRST_CAPACITY, dtype=bool)
        self.unschedulable = np.zeros(FIRST_CAPACITY, dtype=bool)
        self.taint_ids: Ints = np.zeros(FIRST_CAPACITY, dtype=np.int64)
        self.taint_sets: list[tuple[Taint, ...]] = [()]
        self.allocatable: dict[str, Ints] = {}
        self.requested: dict[str, Ints] = {}
        self.nonzero_cpu: Ints = np.zeros(FIRST_CAPACITY, dtype=np.int64)
        self.nonzero_memory: Ints = np.zeros(FIRST_CAPACITY, dtype=np.int64)
        self.pod_count: Ints = np.zeros(FIRST_CAPACITY, dtype=np.int64)
        self.allowed_pods: Ints = np.zeros(FIRST_CAPACITY, dtype=np.int64)
        self.names: list[str] = [""] * FIRST_CAPACITY
        self.labels: list[dict[str, str]] = [{} for _ in range(FIRST_CAPACITY)]
        self.host_ports: dict[int, list[HostPort]] = {}
        self.anti_affinity: dict[str, tuple[PodInfo, str]] = {}
        """Pods with required anti-affinity and their nodes, by uid: others must keep away from them."""
        self._rows: dict[str, int] = {}
        self._free = list(range(FIRST_CAPACITY - 1, -1, -1))
        self._pods: dict[str, dict[str, PodInfo]] = {}
        self._taint_numbers: dict[tuple[tuple[str, str, str], ...], int] = {(): 0}
        self._columns: dict[str, LabelColumn] = {}
        self._counts: OrderedDict[Hashable, PodCount] = OrderedDict()
        for resource in BASE_RESOURCES:
            self._add_resource(resource)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def capacity(self) -> int:
        return len(self.valid)

    def row(self, name: str) -> int | None:
        return self._rows.get(name)

    def pods_on(self, name: str) -> Iterable[PodInfo]:
        return self._pods.get(name, {}).values()

    # --- nodes

    def set_node(self, node: Node) -> None:
        """Adds a node or takes over its change."""
        assert node.metadata is not None and node.metadata.name
        name = node.metadata.name
        row = self._rows.get(name)
        if row is None:
            row = self._take_row(name)
        spec, status = node.spec, node.status
        self.unschedulable[row] = bool(spec and spec.unschedulable)
        self.taint_ids[row] = self._taints(tuple((spec.taints if spec else None) or ()))
        allocatable = amounts((status.allocatable or status.capacity) if status else None)
        self.allowed_pods[row] = allocatable.pop("pods", 0)
        for resource in allocatable.keys() - self.allocatable.keys():
            self._add_resource(resource)
        for resource, column in self.allocatable.items():
            column[row] = allocatable.get(resource, 0)
        self.labels[row] = {**(node.metadata.labels or {})}
        for key, labels in self._columns.items():
            labels.set(row, self.labels[row].get(key))

    def remove_node(self, name: str) -> None:
        """The node goes; its pods are remembered, for it may come back."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        self._zero_row(row)
        self._free.append(row)

    # --- pods

    def add_pod(self, pod: PodInfo, node: str) -> None:
        self._pods.setdefault(node, {})[pod.uid] = pod
        if pod.anti_affinity:
            self.anti_affinity[pod.uid] = (pod, node)
        row = self._rows.get(node)
        if row is not None:
            self._account(pod, row, 1)

    def remove_pod(self, uid: str, node: str) -> None:
        pods = self._pods.get(node, {})
        pod = pods.pop(uid, None)
        if pod is None:
            return
        if not pods:
            del self._pods[node]
        self.anti_affinity.pop(uid, None)
        row = self._rows.get(node)
        if row is not None:
            self._account(pod, row, -1)

    # --- what plugins ask for

    def label(self, key: str) -> LabelColumn:
        """The column of a label, made when it is first asked for."""
        column = self._columns.get(key)
        if column is None:
            column = self._columns[key] = LabelColumn(self.capacity)
            for row in self._rows.values():
                column.set(row, self.labels[row].get(key))
        return column

    def count(self, key: Hashable, matches: Callable[[PodInfo], bool]) -> Ints:
        """How many pods on each row ``matches`` accepts. ``key`` names the question: it is kept up to date from now on,
        as long as it is among the last ones asked."""
        known = self._counts.get(key)
        if known is None:
            known = self._counts[key] = PodCount(matches, self.capacity)
            for row, pod in self._assigned():
                if matches(pod):
                    known.rows[row] += 1
            if len(self._counts) > COUNT_CACHE:
                self._counts.popitem(last=False)
        else:
            self._counts.move_to_end(key)
        return known.rows

    def fits_taints(self, accepts: Callable[[tuple[Taint, ...]], bool]) -> NDArray[np.bool_]:
        """The rows whose set of taints is accepted; each distinct set is looked at once."""
        table = np.array([accepts(taints) for taints in self.taint_sets], dtype=bool)
        result: NDArray[np.bool_] = table[self.taint_ids]
        return result

    # --- within

    def _assigned(self) -> Iterator[tuple[int, PodInfo]]:
        for name, row in self._rows.items():
            for pod in self.pods_on(name):
                yield row, pod

    def _account(self, pod: PodInfo, row: int, sign: int) -> None:
        for resource, amount in pod.requests.items():
            if resource not in self.requested:
                self._add_resource(resource)
            self.requested[resource][row] += sign * amount
        self.nonzero_cpu[row] += sign * pod.nonzero[0]
        self.nonzero_memory[row] += sign * pod.nonzero[1]
        self.pod_count[row] += sign
        if pod.host_ports:
            ports = self.host_ports.setdefault(row, [])
            for port in pod.host_ports:
                ports.append(port) if sign > 0 else ports.remove(port)
            if not ports:
                del self.host_ports[row]
        for count in self._counts.values():
            if count.matches(pod):
                count.rows[row] += sign

    def _taints(self, taints: tuple[Taint, ...]) -> int:
        identity = tuple((t.key or "", t.value or "", t.effect or "") for t in taints)
        number = self._taint_numbers.get(identity)
        if number is None:
            number = self._taint_numbers[identity] = len(self.taint_sets)
            self.taint_sets.append(taints)
        return number

    def _add_resource(self, resource: str) -> None:
        self.allocatable[resource] = np.zeros(self.capacity, dtype=np.int64)
        self.requested[resource] = np.zeros(self.capacity, dtype=np.int64)

    def _take_row(self, name: str) -> int:
        if not self._free:
            self._grow()
        row = self._free.pop()
        self._rows[name] = row
        self.names[row] = name
        self.valid[row] = True
        for pod in self.pods_on(name):
            self._account(pod, row, 1)
        return row

    def _zero_row(self, row: int) -> None:
        self.valid[row] = self.unschedulable[row] = False
        self.names[row], self.labels[row] = "", {}
        self.host_ports.pop(row, None)
        amounts_of_row = (
            *self.allocatable.values(),
            *self.requested.values(),
            *(c.rows for c in self._counts.values()),
        )
        for column in (self.taint_ids, self.nonzero_cpu, self.nonzero_memory, self.pod_count, self.allowed_pods):
            column[row] = 0
        for column in amounts_of_row:
            column[row] = 0
        for labels in self._columns.values():
            labels.set(row, None)

    def _grow(self) -> None:
        old, new = self.capacity, self.capacity * 2

        def longer(column: Ints) -> Ints:
            return np.concatenate([column, np.zeros(new - old, dtype=column.dtype)])

        self.valid = np.concatenate([self.valid, np.zeros(new - old, dtype=bool)])
        self.unschedulable = np.concatenate([self.unschedulable, np.zeros(new - old, dtype=bool)])
        self.taint_ids, self.pod_count = longer(self.taint_ids), longer(self.pod_count)
        self.nonzero_cpu, self.nonzero_memory = longer(self.nonzero_cpu), longer(self.nonzero_memory)
        self.allowed_pods = longer(self.allowed_pods)
        self.allocatable = {resource: longer(column) for resource, column in self.allocatable.items()}
        self.requested = {resource: longer(column) for resource, column in self.requested.items()}
        for count in self._counts.values():
            count.rows = longer(count.rows)
        for labels in self._columns.values():
            labels.grow(new)
        self.names += [""] * (new - old)
        self.labels += [{} for _ in range(new - old)]
        self._free = list(range(new - 1, old - 1, -1))


def amounts_fit(asked: Amounts) -> Amounts:
    """Only what is really asked for: a request of 0 fits anywhere, also where the resource is unknown."""
    return {resource: amount for resource, amount in asked.items() if amount > 0}
