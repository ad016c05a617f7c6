"""A ServiceAccount `default` in every namespace.

https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-controller
"""

from __future__ import annotations

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ServiceAccount

from common.api.status import AlreadyExists
from controller_manager.context import Context
from controller_manager.objects import namespace_of
from controller_manager.requests import is_namespace_terminating

NAME = "default"


class ServiceAccountController:
    """Makes the account with the namespace, and again when somebody deletes it."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._namespaces = context.namespaces.store
        informer = context.informers.informer(ServiceAccount, field_selector=f"metadata.name={NAME}")
        self._accounts = informer.store
        loop = context.loop("serviceaccount", self.reconcile, workers=5)
        self._loop = loop
        context.namespaces.add_handler(loop.enqueue, lambda _, new: loop.enqueue(new))
        informer.add_handler(on_delete=lambda account: loop.queue.add(namespace_of(account)))

    async def run(self) -> None:
        """Until cancelled."""
        await self._loop.run()

    async def reconcile(self, key: str) -> None:
        """One round for one namespace."""
        namespace = self._namespaces.get(key)
        if namespace is None or (namespace.status and namespace.status.phase == "Terminating"):
            return
        if f"{key}/{NAME}" in self._accounts:
            return
        try:
            await self._client.create(ServiceAccount(metadata=ObjectMeta(name=NAME, namespace=key)))
        except AlreadyExists:
            return
        except Exception as error:
            if not is_namespace_terminating(error):
                raise
