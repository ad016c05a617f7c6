"""GET of one object."""

from __future__ import annotations

from apiserver.endpoints.api import Api
from apiserver.endpoints.list import reach
from apiserver.endpoints.options import parse_revision
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.views import view_for


async def get(api: Api, request: Request, target: Target) -> Answer:
    """As it is now; ``resourceVersion`` 0 is content with what the cache has. /status answers the whole object too."""
    view = view_for(request, target.resource)
    store = api.store(target.resource)
    if request.query and (revision := request.param("resourceVersion")):
        await reach(store, parse_revision(revision))
        entry = store.cache.get(target.namespace, target.name)
        if entry is not None:
            return Answer(view.entry(entry))
    return Answer(view.entry(await store.entry(target.namespace, target.name)))
