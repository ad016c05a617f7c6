"""The token of a list that is sent in pages: the revision it shows and the key where it goes on.

https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import orjson

from common.api.status import BadRequest

LATEST = -1
"""In a token: go on with what there is now, whatever was on the pages before."""


@dataclass(frozen=True)
class Continuation:
    revision: int
    start: str
    """The first key, within the resource, of the next page."""

    def encode(self) -> str:
        token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": self.revision, "start": self.start})
        return base64.urlsafe_b64encode(token).decode().rstrip("=")


def decode(token: str) -> Continuation:
    try:
        raw = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if raw["v"] != "meta.k8s.io/v1":
            raise ValueError("server does not recognize this encoded version")
        revision, start = int(raw["rv"]), str(raw["start"])
        if not revision or not LATEST <= revision < 1 << 63:
            raise ValueError("incorrect encoded start resourceVersion")
        if not start or start.startswith("/") or "/.." in start or "../" in start:
            raise ValueError("incorrect encoded start")
    except (ValueError, KeyError, TypeError, OverflowError, binascii.Error) as error:
        raise BadRequest(f"invalid continue token: continue key is not valid: {error}") from error
    return Continuation(revision, start)
