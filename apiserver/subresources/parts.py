"""Subresources that are one part of an object, read and written by themselves: ephemeral containers and resources of a
pod, the approval of a certificate request, the finalizers of a namespace.

These are the generic verbs: a write is defaulted, admitted, checked and tracked as any other. What belongs to the part,
and what is as it was, is the strategy's to say.
"""

from __future__ import annotations

from apiserver.endpoints.get import get
from apiserver.endpoints.patch import patch
from apiserver.endpoints.request import Answer, Request, Send, Target
from apiserver.endpoints.update import update
from apiserver.subresources.context import Context
from apiserver.types import Connection

_VERBS = {"GET": get, "PATCH": patch, "PUT": update}


async def handle(context: Context, connection: Connection, request: Request, send: Send) -> Answer:
    resource = connection.resource
    namespace = connection.namespace if resource.namespaced else ""
    target = Target(resource, namespace, connection.name, connection.subresource)
    return await _VERBS[request.method](context.api, request, target)
