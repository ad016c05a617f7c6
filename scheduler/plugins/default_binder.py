"""DefaultBinder: tells the API server which node a pod has (POST pods/<name>/binding)."""

from __future__ import annotations

from lightkube.resources.core_v1 import Pod

from common.client import Client
from scheduler.podinfo import PodInfo


class DefaultBinder:
    name = "DefaultBinder"

    def __init__(self, client: Client) -> None:
        self._client = client

    async def bind(self, pod: PodInfo, node: str) -> None:
        """The uid makes sure that it is this pod, not a later one of its name."""
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._client.post_subresource(Pod, pod.name, "binding", binding, pod.namespace)
