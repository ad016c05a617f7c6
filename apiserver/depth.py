"""How deep objects may be nested: the same in every form in which they come, are stored and are read again.

Upstream's parsers give up at 10,000 levels. Here the JSON writer does at 254, and what is stored is also shown inside
of lists, tables and watch events and read again as YAML; no kind of Kubernetes is nested as deep as this bound.
"""

from __future__ import annotations

import orjson

from common.api.status import BadRequest

MAX_DEPTH = 200
_WRITERS_OWN = 254
"""Where orjson gives up."""
TEXT = f"the object is nested too deeply: exceeded max depth of {MAX_DEPTH}"


def dumps(value: object) -> bytes:
    """As JSON. Raises BadRequest for what is too deep, and for what JSON cannot hold."""
    try:
        data = orjson.dumps(value)
        # Nearly everything has fewer brackets than levels are allowed, and then the depth needs no look.
        if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
            orjson.dumps(_wrapped(value))
    except TypeError as error:
        raise BadRequest(TEXT if str(error).startswith("Recursion") else f"the object is no JSON: {error}") from None
    return data


def _wrapped(value: object) -> object:
    """In so many lists that the writer gives up just where the bound is."""
    for _ in range(_WRITERS_OWN - MAX_DEPTH):
        value = [value]
    return value
