"""GET of a collection: from the cache, at the revision that the client asks for.

https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list
"""

from __future__ import annotations

import asyncio

from apiserver.endpoints.answers import GZIP_THRESHOLD, encoded, is_plain
from apiserver.endpoints.api import Api
from apiserver.endpoints.negotiation import takes_gzip
from apiserver.endpoints.options import ListOptions, parse_revision, read_list_options
from apiserver.endpoints.request import Answer, Request, Target
from apiserver.endpoints.views import ListMeta, PlainView, list_head, view_for
from apiserver.storage import continuation
from apiserver.storage.etcd import CompactedError
from apiserver.storage.past import Page
from apiserver.storage.store import Store
from common.api.status import BadRequest, Expired, Timeout

EXPIRED = "The resourceVersion for the provided list is too old."
EXPIRED_TOKEN = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
MANY = 50
"""So many objects to be parsed (for a Table: a tenth of a millisecond each) are worth a thread."""
FEW = 8
"""So few objects are not worth remembering how they are compressed."""


async def list_objects(api: Api, request: Request, target: Target) -> Answer:
    resource = target.resource
    view = view_for(request, resource)
    options = await read_list_options(request, resource, target.name)
    store = api.store(resource)
    page = await read_page(store, target.namespace, options)
    meta = ListMeta(page.revision, page.token, page.remaining)
    if len(page.entries) > FEW and takes_gzip(request.header(b"accept-encoding")) and isinstance(view, PlainView):
        large = sum([len(entry.data) for entry in page.entries]) > GZIP_THRESHOLD
        if large and page.stamp and is_plain(request):
            key = (target.namespace, options.labels, options.fields, options.limit)
            segment = await store.zipped.segment(key, page.stamp, page.entries)
            head = list_head(resource.kind + "List", resource.api_version, meta)
            return encoded(Answer(b""), segment.after(head))
    if len(page.entries) > MANY and not isinstance(view, PlainView):
        return Answer(await asyncio.to_thread(view.collection, page.entries, meta))
    return Answer(view.collection(page.entries, meta))


async def read_page(store: Store, namespace: str, options: ListOptions) -> Page:
    """Raises Expired for a revision that is no longer there."""
    if options.token:
        return await _next_page(store, namespace, options)
    revision = parse_revision(options.resource_version)
    labels, fields, limit = options.labels, options.fields, options.limit
    if not options.resource_version:
        return await store.list(namespace, labels, fields, limit)
    if options.resource_version == "0":
        limit = 0  # upstream's cache knows no pages: a client that takes what there is gets all of it
    await reach(store, revision)
    if revision and (options.match == "Exact" or (limit and not options.match)):
        try:
            return await store.list_at(revision, "", namespace, labels, fields, limit)
        except CompactedError:
            raise Expired(EXPIRED) from None
    return await store.list_cached(namespace, labels, fields, limit)


async def _next_page(store: Store, namespace: str, options: ListOptions) -> Page:
    token = continuation.decode(options.token)
    if options.resource_version not in ("", "0"):
        raise BadRequest("specifying resource version is not allowed when using continue")
    revision = token.revision
    if revision == continuation.LATEST:
        if not await store.fresh():
            raise Timeout("etcdserver: request timed out", {"retryAfterSeconds": 1})
        revision = store.feed.revision
    try:
        return await store.list_at(revision, token.start, namespace, options.labels, options.fields, options.limit)
    except CompactedError:
        error = Expired(EXPIRED_TOKEN)
        error.metadata = {"continue": continuation.Continuation(continuation.LATEST, token.start).encode()}
        raise error from None


async def reach(store: Store, revision: int) -> None:
    """Waits until the cache has seen ``revision``; one that does not come yet is the client's mistake."""
    if not await store.feed.wait(revision):
        raise Timeout(
            f"Timeout: Too large resource version: {revision}, current: {store.feed.revision}",
            {
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            },
        )
