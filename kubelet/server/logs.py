"""/containerLogs: what a reader asks of a container's log (upstream: PodLogOptions)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from common.api.status import BadRequest
from common.api.time import now, parse_rfc3339
from kubelet.logs.reader import LogOptions


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
