"""The cluster's CA certificate as ConfigMap `kube-root-ca.crt` in every namespace, for pods to trust the API server.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-token-volume
"""

from __future__ import annotations

from pathlib import Path

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from common.api.meta import annotations_of, clone
from common.api.status import AlreadyExists, Conflict
from controller_manager.context import Context
from controller_manager.objects import namespace_of, need
from controller_manager.requests import is_namespace_terminating

NAME = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def wanted(namespace: str, bundle: str, current: ConfigMap | None) -> ConfigMap | None:
    """The ConfigMap to write, None when it is right."""
    data, annotations = {"ca.crt": bundle}, {"kubernetes.io/description": DESCRIPTION}
    if current is None:
        return ConfigMap(metadata=ObjectMeta(name=NAME, namespace=namespace, annotations=annotations), data=data)
    if current.data == data and annotations.items() <= annotations_of(current).items():
        return None
    changed = clone(current)
    changed.data = data
    need(changed.metadata).annotations = {**annotations_of(current), **annotations}
    return changed


class RootCAPublisher:
    """Publishes the bundle, and puts it back when somebody changes or deletes it."""

    def __init__(self, context: Context, bundle: Path) -> None:
        self._client = context.client
        self._bundle = bundle.read_text()
        self._namespaces = context.namespaces.store
        informer = context.informers.informer(ConfigMap, field_selector=f"metadata.name={NAME}")
        self._maps = informer.store
        loop = context.loop("root_ca_cert_publisher", self.reconcile, workers=5)
        self._loop = loop
        context.namespaces.add_handler(loop.enqueue, lambda _, new: loop.enqueue(new))
        informer.add_handler(
            on_update=lambda _, new: loop.queue.add(namespace_of(new)),
            on_delete=lambda old: loop.queue.add(namespace_of(old)),
        )

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    async def reconcile(self, key: str) -> None:
        """One round for one namespace."""
        namespace = self._namespaces.get(key)
        if namespace is None or (namespace.status and namespace.status.phase == "Terminating"):
            return
        current = self._maps.get(f"{key}/{NAME}")
        changed = wanted(key, self._bundle, current)
        if changed is None:
            return
        try:
            await (self._client.replace(changed) if current else self._client.create(changed))
        except AlreadyExists as error:
            raise Conflict(error.message) from error  # the cache lags: look again
        except Exception as error:
            if not is_namespace_terminating(error):
                raise
