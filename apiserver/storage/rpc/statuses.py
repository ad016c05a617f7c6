"""How a call ended, in gRPC's words: from its trailers, from an HTTP status, from the code of a reset."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from urllib.parse import unquote

from apiserver.storage.rpc import frames


class Code(IntEnum):
    """https://grpc.io/docs/guides/status-codes/"""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


CODES = {str(code.value): code for code in Code}

HTTP_CODES = {
    "400": Code.INTERNAL,
    "401": Code.UNAUTHENTICATED,
    "403": Code.PERMISSION_DENIED,
    "404": Code.UNIMPLEMENTED,
    "429": Code.UNAVAILABLE,
    "502": Code.UNAVAILABLE,
    "503": Code.UNAVAILABLE,
    "504": Code.UNAVAILABLE,
}
"""https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md; others are UNKNOWN."""

RESET_CODES = {
    frames.REFUSED_STREAM: Code.UNAVAILABLE,
    frames.CANCEL: Code.CANCELLED,
    frames.ENHANCE_YOUR_CALM: Code.RESOURCE_EXHAUSTED,
    frames.INADEQUATE_SECURITY: Code.PERMISSION_DENIED,
}
"""Others are INTERNAL."""


class RpcError(Exception):
    """A call failed."""

    def __init__(self, code: Code, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


class NotConnected(RpcError):
    """A call failed and the server has certainly not begun with it: it may be made elsewhere, whatever it does."""


def of_trailers(headers: Mapping[str, str], status: str) -> RpcError | None:
    """None for OK. ``status`` is an HTTP status that is no answer of gRPC's."""
    number = headers.get("grpc-status")
    if number is not None:
        code = CODES.get(number, Code.UNKNOWN)
        return None if code == Code.OK else RpcError(code, unquote(headers.get("grpc-message", "")))
    return without_trailers(status)


def without_trailers(status: str) -> RpcError:
    if status:
        return RpcError(HTTP_CODES.get(status, Code.UNKNOWN), f"HTTP status {status}")
    return RpcError(Code.INTERNAL, "the response ended without a status of gRPC's")


def of_reset(number: int) -> RpcError:
    kind = NotConnected if number == frames.REFUSED_STREAM else RpcError
    return kind(RESET_CODES.get(number, Code.INTERNAL), f"the server reset the stream (HTTP/2 error {number})")
