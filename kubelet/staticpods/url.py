"""Manifests from ``--manifest-url``: one pod or a list of pods, asked for every ``--http-check-frequency``.

What cannot be fetched or read says nothing about the pods that are known: they run on (upstream:
pkg/kubelet/config/http.go).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import httpx
from lightkube.resources.core_v1 import Pod

from common.api.meta import key_of
from kubelet.staticpods.manifest import MAX_BYTES, ManifestError, Origin, parse_manifests

log = logging.getLogger("kubelet.staticpods")

TIMEOUT = 10.0


class ManifestURL:
    """``headers`` are sent with each request; their values are nobody's business and are not logged."""

    def __init__(
        self, url: str, headers: Sequence[tuple[str, str]], node_name: str, complain: Callable[[str], None]
    ) -> None:
        self._url = url
        self._headers = list(headers)
        self._node_name = node_name
        self._complain = complain
        self._text = b""
        self._pods: list[Pod] = []
        self._problem = ""

    async def run(self, changed: Callable[[list[Pod]], None], period: float) -> None:
        """Until cancelled. ``changed`` is called when the URL was read, for the first time and after each change."""
        async with httpx.AsyncClient(headers=self._headers, timeout=TIMEOUT, follow_redirects=True) as client:
            while True:
                try:
                    text = await self._fetch(client)
                    if text != self._text:
                        self._pods = await asyncio.to_thread(self._parse, text)
                        self._text = text
                        changed(self._pods)
                    self._problem = ""
                except (ManifestError, httpx.HTTPError, OSError) as error:
                    self._tell(str(error) or type(error).__name__)
                await asyncio.sleep(period)

    async def _fetch(self, client: httpx.AsyncClient) -> bytes:
        text = bytearray()
        async with client.stream("GET", self._url) as answer:
            if answer.status_code != 200:
                raise ManifestError(f"{self._url}: {answer.status_code} {answer.reason_phrase}")
            async for part in answer.aiter_bytes():
                text += part
                if len(text) > MAX_BYTES:
                    raise ManifestError(f"{self._url}: more than {MAX_BYTES} bytes")
        if not text:
            raise ManifestError(f"zero-length data received from {self._url}")
        return bytes(text)

    def _parse(self, text: bytes) -> list[Pod]:
        seen = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        known = {pod.metadata.uid: pod for pod in self._pods if pod.metadata is not None}
        pods: dict[str, Pod] = {}
        for pod in parse_manifests(text, Origin("http", self._url), self._node_name, seen):
            assert pod.metadata is not None
            pods.setdefault(key_of(pod), known.get(pod.metadata.uid, pod))
        return list(pods.values())

    def _tell(self, problem: str) -> None:
        """Once for each problem."""
        if problem != self._problem:
            self._complain(f"Could not process manifest URL: {problem}")
        self._problem = problem
