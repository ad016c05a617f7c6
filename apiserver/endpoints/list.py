"""GET of a collection: from the cache, at the revision that the client asks for.

https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
"""

from __future__ import annotations

from apiserver.endpoints.api import Api
from apiserver.endpoints.options import ListOptions, list_options, parse_revision
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.views import ListMeta, view_for
from apiserver.storage import continuation
from apiserver.storage.store import Page, Store
from common.api.status import BadRequest, Timeout


async def list_objects(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    view = view_for(request, resource)
    options = list_options(request, resource, target.name)
    page = await read_page(api.store(resource), target.namespace, options)
    return Answer(view.collection(page.entries, ListMeta(page.revision, page.token, page.remaining)))


async def read_page(store: Store, namespace: str, options: ListOptions) -> Page:
    labels, fields, limit = options.labels, options.fields, options.limit
    if options.token:
        if options.resource_version and options.resource_version != "0":
            raise BadRequest("specifying resource version is not allowed when using continue")
        token = continuation.decode(options.token)
        return await store.list_at(token.revision, token.start, namespace, labels, fields, limit)
    revision = parse_revision(options.resource_version)
    if not options.resource_version:
        return await store.list(namespace, labels, fields, limit)
    if revision and (options.match == "Exact" or (limit and not options.match)):
        await reach(store, revision)
        return await store.list_at(revision, "", namespace, labels, fields, limit)
    await reach(store, revision)
    return store.list_cached(namespace, labels, fields, limit)


async def reach(store: Store, revision: int) -> None:
    """Waits until the cache has seen ``revision``; one that does not come yet is the client's mistake."""
    if not await store.feed.wait(revision):
        raise Timeout(
            f"Too large resource version: {revision}, current: {store.feed.revision}",
            {
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            },
        )
