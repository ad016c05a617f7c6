"""pods/ephemeralcontainers and pods/resize: the generic verbs with a subresource of the strategy's.

Unlike the parts of ``parts``, what they write is defaulted, admitted and checked as any pod.
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
    target = Target(connection.resource, connection.namespace, connection.name, connection.subresource)
    return await _VERBS[request.method](context.api, request, target)
