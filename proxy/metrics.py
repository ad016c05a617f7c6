"""The proxy's metrics, under upstream's names: https://kubernetes.io/docs/reference/instrumentation/metrics/"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = tuple(0.001 * 2**n for n in range(15))


class SyncMetrics:
    """What one sync of the rules costs, and whether syncs succeed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, buckets=_SECONDS, registry=registry)

        self.duration = histogram("kubeproxy_sync_proxy_rules_duration_seconds", "Latency of one sync of the rules")
        self.full_duration = histogram("kubeproxy_sync_full_proxy_rules_duration_seconds", "Latency of one full sync")
        self.partial_duration = histogram(
            "kubeproxy_sync_partial_proxy_rules_duration_seconds", "Latency of one partial sync"
        )
        self.last_sync = Gauge(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When the rules were last synced", registry=registry
        )
        self.failures = Counter(
            "kubeproxy_sync_proxy_rules_iptables_restore_failures", "Failed restores", registry=registry
        )
        self.rules_last_sync = Gauge(
            "kubeproxy_sync_proxy_rules_iptables_last", "Rules written by the last sync", ["table"], registry=registry
        )
