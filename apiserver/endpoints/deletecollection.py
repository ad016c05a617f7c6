"""DELETE of a collection: every object that the selectors choose, each as if deleted alone, preconditions included."""

from __future__ import annotations

from apiserver.endpoints.api import Api
from apiserver.endpoints.delete import delete_object
from apiserver.endpoints.list import read_page
from apiserver.endpoints.options import delete_options, read_list_options
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.views import ListMeta, view_for
from apiserver.storage.cache import Entry
from common.api.status import NotFound


async def delete_collection(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    view = view_for(request, resource)
    selection = await read_list_options(request, resource)
    options = await delete_options(request)
    page = await read_page(api.store(resource), target.namespace, selection)
    deleted: list[Entry] = []
    for entry in page.entries:
        one = Target(resource, entry.namespace, entry.name)
        try:
            await delete_object(api, one, request.user, options, request.warnings)
        except NotFound:
            continue  # somebody else was faster
        deleted.append(entry)
    return Answer(view.collection(deleted, ListMeta(page.revision, page.token, page.remaining)))
