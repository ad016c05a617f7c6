"""How much and how long, in one place: tests give others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes."""

    connect: float = 5.0
    """For an attempt to connect, until the server has told its settings."""
    first_pause: float = 0.1
    last_pause: float = 1.0
    """Between attempts to connect, doubling."""
    sweep: float = 0.1
    """How often calls are looked through for those whose time is up."""
    ping_after: float = 10.0
    ping_timeout: float = 5.0
    """A silent connection with open calls is asked after so long, and given up when it does not answer. etcd takes a
    client that asks more often than every 5 seconds, or without open calls, for an attacker
    (``--grpc-keepalive-min-time``)."""
    stream_window: int = 8 * 1024 * 1024
    connection_window: int = 1 << 30
    credit_after: int = 1 << 20
    """Bytes of a stream (of the connection) after which the peer is given their room back."""
    queued: int = 32 * 1024 * 1024
    """Bytes of messages of one stream that nobody has read, beyond which its peer gets no more room."""


LIMITS = Limits()
