"""``$(VAR)`` in environment values, commands and arguments.

``$$`` is an escaped dollar; a reference to a variable that is not defined stays as it is written.
https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_REFERENCE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        if match.group(1):
            return "$"
        return variables.get(match.group(2), match.group(0))

    return _REFERENCE.sub(replace, text)


def undefined(text: str, variables: Mapping[str, str]) -> str:
    """The first variable that a text refers to and that is not defined; "" when all are."""
    names = (match.group(2) for match in _REFERENCE.finditer(text) if not match.group(1))
    return next((name for name in names if name not in variables), "")


def expand_all(texts: Iterable[str] | None, variables: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(expand(text, variables) for text in texts or ())
