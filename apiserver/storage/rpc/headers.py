"""Header blocks, coded by hpack once and remembered.

Neither side keeps a table of earlier headers: requests are sent without one (every field "never indexed"), and the
peer is told that ours has size 0. So equal headers are equal bytes, and nearly every block has been seen before.
"""

from __future__ import annotations

import hpack

from apiserver.storage.rpc.frames import COMPRESSION_ERROR, ProtocolError

REMEMBERED = 64
"""Blocks of errors differ from one another and are not worth keeping: this many are."""

Headers = dict[str, str]


def request_block(scheme: str, authority: str, path: str) -> bytes:
    """The headers of a gRPC call."""
    fields = {
        ":method": "POST",
        ":scheme": scheme,
        ":path": path,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "coxswain",
    }
    block: bytes = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*item) for item in fields.items()])
    return block


class Decoder:
    """Of one connection."""

    def __init__(self) -> None:
        self._decoder = hpack.Decoder()
        self._decoder.max_allowed_table_size = 0
        self._decoder.header_table_size = 0
        self._seen: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """Raises ProtocolError."""
        found = self._seen.get(block)
        if found is None:
            try:
                found = {str(name): str(value) for name, value in self._decoder.decode(block)}
            except (hpack.HPACKError, UnicodeDecodeError) as error:
                raise ProtocolError(f"headers: {error}", COMPRESSION_ERROR) from error
            if len(self._seen) < REMEMBERED:
                self._seen[block] = found
        return found
