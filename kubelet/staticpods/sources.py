"""Brings together the places that manifests come from: what each said last makes up the node's static pods.

Nobody may take a running pod for one that no manifest names while a place has not been read yet: ``changed`` is told
whether all have been.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from lightkube.resources.core_v1 import Pod

from common.api.meta import key_of

Changed = Callable[[list[Pod], bool], None]


class StaticSources:
    def __init__(self, names: Collection[str], changed: Changed) -> None:
        """``names`` in the order in which they win when two name the same pod."""
        self._said: dict[str, list[Pod] | None] = dict.fromkeys(names)
        self._changed = changed
        if not self._said:
            changed([], True)

    def reader(self, name: str) -> Callable[[list[Pod]], None]:
        """What a source calls with all that it says now."""

        def said(pods: list[Pod]) -> None:
            self._said[name] = pods
            self._tell()

        return said

    def _tell(self) -> None:
        pods: dict[str, Pod] = {}
        for said in self._said.values():
            for pod in said or ():
                pods.setdefault(key_of(pod), pod)
        self._changed(list(pods.values()), all(said is not None for said in self._said.values()))
