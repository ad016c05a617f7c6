"""Keys that belong to an object while it is stored: the addresses and node ports of a Service.

They are taken and given back in the object's own transaction, so that two API servers cannot give one number to two
objects, and nothing can leak: there is no moment at which one is written and the other is not. A key's value names its
owner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from apiserver.storage import transactions
from apiserver.types import Object, Terms

Claims = Mapping[bytes, bytes]
"""Owner by key."""
ClaimsOf = Callable[[Object], Claims]
NOTHING: Claims = {}


def terms(before: Claims, after: Claims) -> Terms:
    """What a write adds to its transaction when the claims of its object change.

    A key that is another's by now (only a hand in etcd can make that) is not given back.
    """
    if before == after:
        return Terms()
    taken, released = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    return Terms(
        tuple(transactions.absent(key) for key in taken),
        (
            *(transactions.put(key, after[key]) for key in taken),
            *(transactions.delete_if(key, before[key]) for key in released),
        ),
    )
