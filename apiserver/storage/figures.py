"""What the storage tells of itself, under upstream's names for the watch cache and the objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from apiserver.storage.cache import HISTORY
from apiserver.storage.store import Store

_BY_RESOURCE = ("resource",)


def figures(stores: Iterable[Store]) -> Iterator[Metric]:
    objects = GaugeMetricFamily("apiserver_storage_objects", "Objects in etcd.", labels=_BY_RESOURCE)
    received = CounterMetricFamily(
        "apiserver_watch_cache_events_received", "Changes that came from etcd.", labels=_BY_RESOURCE
    )
    dispatched = CounterMetricFamily(
        "apiserver_watch_cache_events_dispatched", "Events that went to watchers.", labels=_BY_RESOURCE
    )
    capacity = GaugeMetricFamily("apiserver_watch_cache_capacity", "Events that are kept.", labels=_BY_RESOURCE)
    revision = GaugeMetricFamily(
        "apiserver_watch_cache_resource_version", "The last change of the resource.", labels=_BY_RESOURCE
    )
    started = CounterMetricFamily(
        "apiserver_watch_cache_initializations", "How often the cache began from a list.", labels=_BY_RESOURCE
    )
    ended = CounterMetricFamily(
        "apiserver_terminated_watchers", "Watchers that did not take their events.", labels=_BY_RESOURCE
    )
    sent = CounterMetricFamily(
        "apiserver_watch_events", "Events that went to watchers.", labels=("group", "version", "kind")
    )
    watchers = GaugeMetricFamily("apiserver_registered_watchers", "Open watches.", labels=("group", "version", "kind"))
    for store in stores:
        resource, cache, hub = store.resource, store.cache, store.hub
        labels, kind = [resource.qualified], [resource.group, resource.version, resource.kind]
        objects.add_metric(labels, len(cache.entries))
        received.add_metric(labels, cache.received)
        dispatched.add_metric(labels, hub.sent)
        capacity.add_metric(labels, HISTORY)
        revision.add_metric(labels, cache.changed)
        started.add_metric(labels, cache.starts)
        ended.add_metric(labels, hub.dropped)
        sent.add_metric(kind, hub.sent)
        watchers.add_metric(kind, hub.count)
    yield from (objects, received, dispatched, capacity, revision, started, ended, sent, watchers)
