"""The node table adds up, whatever comes and goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.cache import Cache
from scheduler.eventhandlers import node_events
from scheduler.framework import ClusterEvent
from scheduler.podinfo import PodInfo
from tests.unit.scheduler.conftest import make_node, make_pod

operations = st.lists(
    st.tuples(
        st.sampled_from(["node", "no node", "assume", "confirm", "forget", "remove"]),
        st.integers(0, 2),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(deadline=None)  # other tests share the machine
@given(operations)
def test_the_columns_equal_the_sum_of_the_pods(drawn: list[tuple[str, int, int]]) -> None:
    cache = Cache()
    cache.nodes.count("all", lambda pod: True)
    nodes: set[str] = set()
    where: dict[str, tuple[str, bool]] = {}
    for verb, n, p in drawn:
        name, uid = f"n{n}", f"uid-p{p}"
        info = PodInfo.of(make_pod(f"p{p}", requests={"cpu": f"{p + 1}"}, nodeName=name))
        match verb:
            case "node":
                cache.nodes.set_node(make_node(name))
                nodes.add(name)
            case "no node":
                cache.nodes.remove_node(name)
                nodes.discard(name)
            case "assume":
                cache.assume(info, name)
                where[uid] = (name, True)
            case "confirm":
                cache.set_pod(info)
                where[uid] = (name, False)
            case "forget":
                cache.forget(uid)
                if where.get(uid, ("", False))[1]:
                    del where[uid]
            case "remove":
                cache.remove(uid)
                where.pop(uid, None)
    table = cache.nodes
    assert len(table) == len(nodes) == np.count_nonzero(table.valid)
    for name in nodes:
        row = table.row(name)
        assert row is not None
        here = [int(uid.removeprefix("uid-p")) + 1 for uid, (node, _) in where.items() if node == name]
        assert table.requested["cpu"][row] == 1000 * sum(here)
        assert table.pod_count[row] == len(here) == table.count("all", lambda pod: True)[row]
    for row in np.flatnonzero(~table.valid):
        assert table.pod_count[row] == table.requested["cpu"][row] == 0


def test_more_nodes_than_the_first_arrays_hold() -> None:
    cache = Cache()
    for n in range(200):
        cache.nodes.set_node(make_node(f"n{n}", labels={"zone": str(n % 3)}))
        cache.nodes.label("zone")
    assert len(cache.nodes) == 200
    assert np.count_nonzero(cache.nodes.label("zone").where(lambda value: value == "0")) == 67


@pytest.mark.parametrize(
    ("change", "events"),
    [
        ({}, []),
        ({"labels": {"a": "b"}}, [ClusterEvent.NODE_LABEL]),
        ({"taints": [{"key": "a", "effect": "NoSchedule"}]}, [ClusterEvent.NODE_TAINT]),
        ({"unschedulable": True}, [ClusterEvent.NODE_TAINT]),
        ({"allocatable": {"cpu": "8"}}, [ClusterEvent.NODE_ALLOCATABLE]),
    ],
)
def test_what_a_change_of_a_node_means(change: dict[str, Any], events: list[ClusterEvent]) -> None:
    assert node_events(make_node("a"), make_node("a", **change)) == events
