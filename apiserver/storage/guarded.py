"""A write's transaction, with what else has to be so for it: see ``apiserver.types.Guard``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apiserver.storage.etcd import Etcd
from apiserver.types import Guard, Terms


def add_terms(request: Any, terms: Terms) -> None:
    request.compare.extend(terms.compare)
    request.success.extend(terms.then)


async def commit(etcd: Etcd, request: Any, guards: Sequence[Guard]) -> Any:
    """Sends the transaction. Every guard that was entered is left, whatever happens."""
    if not guards:
        return await etcd.txn(request)
    entered, revision = 0, 0
    try:
        for guard in guards:
            add_terms(request, await guard.enter())
            entered += 1
        answer = await etcd.txn(request)
        if answer.succeeded:
            revision = answer.header.revision
        return answer
    finally:
        for guard in guards[:entered]:
            guard.leave(revision)
