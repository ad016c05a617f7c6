"""Which services a change of a pod concerns: what Endpoints and EndpointSlices both wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from lightkube.resources.core_v1 import Pod, Service

from common.api.meta import is_deleting, key_of, labels_of
from common.api.pods import is_ready, is_terminal
from common.controller import Controller
from controller_manager.context import Context
from controller_manager.endpoints.backends import addresses
from controller_manager.objects import namespace_of, need

BATCH_SECONDS = 0.1
"""Changes of a service's pods that come closer together than this are written together."""


class ServiceTrigger:
    """Wakes a control loop for services that changed, or whose pods did.

    The first change is acted on at once; more of them within BATCH_SECONDS wait for the end of it. So a rollout of a
    thousand pods costs ten writes a second, not a thousand.
    """

    def __init__(self, context: Context, loop: Controller) -> None:
        self._services = context.services.store
        self._pods = context.pods.store
        self._queue = loop.queue
        self._last: dict[str, float] = {}
        context.services.add_handler(loop.enqueue, lambda _, new: loop.enqueue(new), loop.enqueue)
        context.pods.add_handler(self._pod_changed, self._pod_updated, self._pod_changed)

    def pods_of(self, service: Service) -> list[Pod]:
        """The pods that the service selects."""
        selector = (need(service.spec).selector or {}).items()
        pods = self._pods.by_index("namespace", namespace_of(service))
        return [pod for pod in pods if selector <= labels_of(pod).items()]

    def acted(self, key: str) -> None:
        """A round has begun."""
        self._last[key] = asyncio.get_running_loop().time()

    def forget(self, key: str) -> None:
        """The service is gone."""
        self._last.pop(key, None)

    def _pod_updated(self, old: Pod, new: Pod) -> None:
        if _matters(old) == _matters(new):
            return
        if labels_of(old) != labels_of(new):
            self._wake(namespace_of(old), labels_of(old))
        self._wake(namespace_of(new), labels_of(new))

    def _pod_changed(self, pod: Pod) -> None:
        self._wake(namespace_of(pod), labels_of(pod))

    def _wake(self, namespace: str, labels: Mapping[str, str]) -> None:
        time = asyncio.get_running_loop().time()
        for service in self._services.by_index("namespace", namespace):
            selector = need(service.spec).selector
            if selector and selector.items() <= labels.items():
                key = key_of(service)
                self._queue.add_after(key, self._last.get(key, 0.0) + BATCH_SECONDS - time)


def _matters(pod: Pod) -> tuple[object, ...]:
    """What of a pod shows in endpoints."""
    spec = need(pod.spec)
    return (
        labels_of(pod),
        addresses(pod),
        is_ready(pod),
        is_terminal(pod),
        is_deleting(pod),
        spec.nodeName,
        spec.hostname,
        spec.subdomain,
    )
