"""/containerLogs: a container's output as a stream (upstream: PodLogOptions)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from common.api.status import BadRequest
from common.api.time import now, parse_rfc3339
from kubelet.types import Runtime, RuntimeFailure

log = logging.getLogger("kubelet.server")


@dataclass(frozen=True, slots=True)
class LogOptions:
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: datetime | None = None
    limit_bytes: int | None = None


def parse_options(query: Mapping[str, str]) -> LogOptions:
    """Raises BadRequest naming the parameter that is wrong."""
    since_seconds, since_time = _number(query, "sinceSeconds", minimum=1), query.get("sinceTime")
    if since_seconds is not None and since_time:
        raise BadRequest("at most one of `sinceTime` or `sinceSeconds` may be specified")
    since = None if since_seconds is None else now() - timedelta(seconds=since_seconds)
    if since_time:
        try:
            since = parse_rfc3339(since_time)
        except ValueError:
            raise BadRequest(f"unable to decode query: sinceTime: {since_time!r} is not a time") from None
    return LogOptions(
        follow=truth(query.get("follow")),
        previous=truth(query.get("previous")),
        timestamps=truth(query.get("timestamps")),
        tail=_number(query, "tailLines", minimum=0),
        since=since,
        limit_bytes=_number(query, "limitBytes", minimum=1),
    )


def truth(value: str | None) -> bool:
    """A boolean of a query; a name without a value is true, as with upstream's decoder."""
    return value is not None and value.lower() not in ("false", "0", "f")


async def stream(runtime: Runtime, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
    """Both streams in the order of writing. Ends with the container, or when the reader goes."""
    # An async generator, though the protocol only promises an iterator: closed at once when the client goes.
    source = cast(
        Any,
        runtime.logs(
            container_id,
            follow=options.follow,
            tail=options.tail,
            since=options.since,
            timestamps=options.timestamps,
            limit_bytes=options.limit_bytes,
        ),
    )
    async with aclosing(source) as chunks:
        try:
            async for _, data in chunks:
                yield data
        except RuntimeFailure as error:
            log.warning("logs of container %s end: %s", container_id[:12], error)


def _number(query: Mapping[str, str], name: str, minimum: int) -> int | None:
    value = query.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(value)
    except ValueError:
        raise BadRequest(f"unable to decode query: {name}: {value!r} is not a number") from None
    if number < minimum:
        raise BadRequest(f"{name} must be greater than or equal to {minimum}")
    return number
