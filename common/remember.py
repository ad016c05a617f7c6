"""Answers of pure functions, remembered by what was asked: but never what is long.

A cache of so and so many entries is bounded in bytes only if its keys are. What comes from clients is not: a header
may have a megabyte, a name in a body three.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

LONGEST = 512
"""Characters; real names, selectors and headers are shorter."""

R = TypeVar("R")


def remembered(most: int) -> Callable[[Callable[[str], R]], Callable[[str], R]]:
    """Of a function of a text: the answers to the last ``most`` short ones."""

    def decorate(function: Callable[[str], R]) -> Callable[[str], R]:
        short = lru_cache(most)(function)

        @wraps(function)
        def ask(text: str) -> R:
            return short(text) if len(text) <= LONGEST else function(text)

        return ask

    return decorate
