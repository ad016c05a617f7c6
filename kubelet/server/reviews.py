"""Asks the API server who a token is of and what somebody may, and remembers the answers for a while.

Upstream's times: 2 minutes for a token, 5 minutes for what is allowed, 30 seconds for what is not.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

import httpx
from lightkube.models.authentication_v1 import TokenReviewSpec
from lightkube.models.authorization_v1 import ResourceAttributes, SubjectAccessReviewSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.authentication_v1 import TokenReview
from lightkube.resources.authorization_v1 import SubjectAccessReview

from common.api.status import StatusError
from common.client import Client
from kubelet.server.auth import Caller, ReviewError

MOST = 1024
"""Answers that are remembered."""
V = TypeVar("V")


class Remembered(Generic[V]):
    """Answers, each for a time of its own; the oldest go first when there are many."""

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        found = self._answers.get(key)
        if found is None or found[0] < time.monotonic():
            return None
        return found[1]

    def put(self, key: Hashable, value: V, seconds: float) -> None:
        if seconds <= 0:
            return
        self._answers[key] = time.monotonic() + seconds, value
        self._answers.move_to_end(key)
        while len(self._answers) > MOST:
            self._answers.popitem(last=False)


class ApiReviews:
    """Implements kubelet.server.auth.Reviews for one node. Times in seconds."""

    def __init__(
        self, client: Client, node_name: str, token_ttl: float, authorized_ttl: float, unauthorized_ttl: float
    ) -> None:
        self._client = client
        self._node = node_name
        self._token_ttl, self._authorized_ttl, self._unauthorized_ttl = token_ttl, authorized_ttl, unauthorized_ttl
        self._callers: Remembered[Caller] = Remembered()
        self._decisions: Remembered[bool] = Remembered()

    async def caller(self, token: str) -> Caller | None:
        key = hashlib.sha256(token.encode()).digest()  # a token itself is not kept
        if (known := self._callers.get(key)) is not None:
            return known
        try:
            answer = await self._client.create(TokenReview(metadata=ObjectMeta(), spec=TokenReviewSpec(token=token)))
        except (StatusError, httpx.HTTPError, OSError) as error:
            raise ReviewError(str(error)) from error
        status = answer.status
        if status is None or not status.authenticated or status.user is None:
            return None
        user = status.user
        found = Caller(user.username or "", tuple(user.groups or ()), user.uid or "")
        self._callers.put(key, found, self._token_ttl)
        return found

    async def allowed(self, caller: Caller, verb: str, subresource: str) -> bool:
        key = (caller, verb, subresource)
        if (known := self._decisions.get(key)) is not None:
            return known
        asked = ResourceAttributes(
            group="", version="v1", resource="nodes", subresource=subresource, name=self._node, verb=verb
        )
        spec = SubjectAccessReviewSpec(
            user=caller.name, groups=list(caller.groups), uid=caller.uid or None, resourceAttributes=asked
        )
        try:
            answer = await self._client.create(SubjectAccessReview(metadata=ObjectMeta(), spec=spec))
        except (StatusError, httpx.HTTPError, OSError) as error:
            raise ReviewError(str(error)) from error
        allowed = bool(answer.status and answer.status.allowed)
        self._decisions.put(key, allowed, self._authorized_ttl if allowed else self._unauthorized_ttl)
        return allowed
