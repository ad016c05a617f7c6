"""Docker's images."""

from __future__ import annotations

import base64

import orjson

from kubelet.cri import ImageStatus, RegistryAuth, RuntimeFailure, RuntimeNotFound
from kubelet.runtime import inspect
from kubelet.runtime.engine import Engine, segment
from kubelet.runtime.streams import json_objects

PULL_SILENCE = 120.0
"""Seconds: Docker tells of every step of a pull; upstream's limit is a minute, which a slow disk may need for one."""


class DockerImages:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def status(self, ref: str) -> ImageStatus | None:
        try:
            return inspect.image(await self._engine.get(f"/images/{segment(ref)}/json"))
        except RuntimeNotFound:
            return None

    async def pull(self, ref: str, auth: RegistryAuth | None) -> str:
        headers = {"X-Registry-Auth": _encode_auth(auth)} if auth is not None else {}
        params = {"fromImage": ref}
        async with self._engine.stream("POST", "/images/create", params, headers, silence=PULL_SILENCE) as chunks:
            async for progress in json_objects(chunks):
                if progress is not None and "error" in progress:
                    raise RuntimeFailure(f"Error response from daemon: {progress['error']}")
        status = await self.status(ref)
        if status is None:
            raise RuntimeFailure(f"image {ref} is not there after its pull")
        return status.id

    async def list(self) -> list[ImageStatus]:
        return [inspect.image(raw) for raw in await self._engine.get("/images/json")]

    async def remove(self, ref: str) -> None:
        try:
            await self._engine.delete(f"/images/{segment(ref)}")
        except RuntimeNotFound:
            return


def _encode_auth(auth: RegistryAuth) -> str:
    fields = {
        "username": auth.username,
        "password": auth.password,
        "identitytoken": auth.identity_token,
        "serveraddress": auth.server_address,
    }
    return base64.urlsafe_b64encode(orjson.dumps(fields)).decode()
