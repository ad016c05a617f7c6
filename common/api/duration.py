"""Durations in Go's notation, as flags and some fields write them: ``30s``, ``1m30s``, ``100ms``."""

from __future__ import annotations

import re

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")


def parse_duration(text: str) -> float:
    """In seconds. Raises ValueError."""
    parts = _PART.findall(text)
    if (text != "0" and "".join(number + unit for number, unit in parts) != text) or not text:
        raise ValueError(f'invalid duration "{text}": write it as 30s, 1m30s or 100ms')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
