"""Images on this node: pull policies, bounded pulls, back-off, and upstream's words about them.

https://kubernetes.io/docs/concepts/containers/images/
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lightkube.models.core_v1 import Container, ObjectReference
from lightkube.resources.core_v1 import Pod

from common.api.status import StatusError
from kubelet.cri import ImageStatus, RegistryAuth, Runtime, RuntimeFailure, RuntimeUnavailable
from kubelet.keyring import DEFAULT_REGISTRY, credentials, node_configs, secret_config
from kubelet.pods.backoff import Backoff
from kubelet.pods.identity import field_path, identity_of, spec_of
from kubelet.types import ObjectSource

_NAME = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::\d+)?)/)?(?P<path>{_NAME}(?:/{_NAME})*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)


class Recorder(Protocol):
    """Of common.events.EventRecorder, what is used here."""

    def event(
        self,
        obj: Pod | ObjectReference,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        field_path: str | None = None,
    ) -> None: ...


class ImageError(Exception):
    """Why a container's image is not there: a waiting reason and its message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Reference:
    registry: str
    path: str
    tag: str
    digest: str

    @property
    def latest(self) -> bool:
        return not self.digest and self.tag == "latest"


def parse_reference(text: str) -> Reference:
    """Raises ImageError (InvalidImageName) with upstream's text."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        why = "invalid reference format"
        if text != text.lower() and _REFERENCE.fullmatch(text.lower()):
            why += ": repository name must be lowercase"
        message = f'Failed to apply default image tag "{text}": couldn\'t parse image name "{text}": {why}'
        raise ImageError("InvalidImageName", message)
    host, path = match["host"], match["path"]
    if host is not None and not ("." in host or ":" in host or host == "localhost"):
        host, path = None, f"{host}/{path}"
    digest = match["digest"] or ""
    return Reference(host or DEFAULT_REGISTRY, path, match["tag"] or ("" if digest else "latest"), digest)


def pull_policy(container: Container, reference: Reference) -> str:
    return container.imagePullPolicy or ("Always" if reference.latest else "IfNotPresent")


def format_duration(seconds: float) -> str:
    """As Go prints a duration rounded to milliseconds: 850ms, 1.5s, 1m2.3s."""
    millis = round(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms" if millis else "0s"
    minutes, millis = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{millis / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


class ImageManager:
    def __init__(
        self,
        runtime: Runtime,
        recorder: Recorder,
        objects: ObjectSource,
        *,
        parallel_pulls: int,
        backoff: Backoff,
        root: Path = Path("/var/lib/kubelet"),
    ) -> None:
        """In ``root`` may be a Docker configuration with the node's own credentials."""
        self._root = root
        self._runtime = runtime
        self._recorder = recorder
        self._objects = objects
        self._slots = asyncio.Semaphore(parallel_pulls)
        self._backoff = backoff
        self._pulls: dict[tuple[str, RegistryAuth | None], asyncio.Task[float]] = {}
        self._last_errors: dict[str, str] = {}

    async def ensure(self, pod: Pod, container: Container) -> ImageStatus:
        """The image of a container, pulled if its policy says so. Raises ImageError."""
        name = container.image or ""
        try:
            reference = parse_reference(name)
        except ImageError as error:
            self._event(pod, container, "Warning", "InspectFailed", error.message)
            raise
        policy = pull_policy(container, reference)
        secrets = await self._pull_secrets(pod)
        present = await self._inspect(pod, container, name)
        if present is not None and policy != "Always":
            message = f'Container image "{name}" already present on machine'
            self._event(pod, container, "Normal", "Pulled", message)
            return present
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            self._event(pod, container, "Warning", "ErrImageNeverPull", message)
            raise ImageError("ErrImageNeverPull", message)
        return await self._pull(pod, container, reference, secrets)

    def wait(self, pod: Pod, image: str) -> float:
        """Seconds until the image may be pulled again."""
        return self._backoff.remaining(_key(pod, image)).total_seconds()

    def forget(self, pod: Pod) -> None:
        prefix = f"{identity_of(pod).uid}_"
        self._backoff.forget(prefix)
        self._last_errors = {key: text for key, text in self._last_errors.items() if not key.startswith(prefix)}

    async def ensure_infra(self, image: str) -> None:
        """The sandbox's image. Raises RuntimeFailure."""
        if await self._runtime.image_status(image) is None:
            await self._shared_pull(image, None)

    async def _inspect(self, pod: Pod, container: Container, name: str) -> ImageStatus | None:
        try:
            return await self._runtime.image_status(name)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            message = f'Failed to inspect image "{name}": {error}'
            self._event(pod, container, "Warning", "InspectFailed", message)
            raise ImageError("ImageInspectError", message) from error

    async def _pull(self, pod: Pod, container: Container, reference: Reference, secrets: list[bytes]) -> ImageStatus:
        name, key = container.image or "", _key(pod, container.image or "")
        if self._backoff.remaining(key):
            message = f'Back-off pulling image "{name}"'
            self._event(pod, container, "Normal", "BackOff", message)
            last = self._last_errors.get(key)
            raise ImageError("ImagePullBackOff", f"{message}: {last}" if last else message)
        self._event(pod, container, "Normal", "Pulling", f'Pulling image "{name}"')
        began = time.monotonic()
        try:
            spent = await self._pull_as_anyone(name, reference, secrets)
            status = await self._runtime.image_status(name)
            if status is None:
                raise RuntimeFailure(f"image {name} is not there after its pull")
        except RuntimeFailure as error:
            self._event(pod, container, "Warning", "Failed", f'Failed to pull image "{name}": {error}')
            self._backoff.next(key, self._backoff.now())
            self._last_errors[key] = f"ErrImagePull: {error}"
            raise ImageError("ErrImagePull", str(error)) from error
        self._backoff.reset(key)
        self._last_errors.pop(key, None)
        waited = format_duration(time.monotonic() - began)
        message = f'Successfully pulled image "{name}" in {format_duration(spent)} ({waited} including waiting).'
        self._event(pod, container, "Normal", "Pulled", f"{message} Image size: {status.size} bytes.")
        return status

    async def _shared_pull(self, name: str, auth: RegistryAuth | None) -> float:
        """One pull at a time for each image, however many pods wait; seconds that it took."""
        key = (name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest", auth)
        task = self._pulls.get(key)
        if task is None:
            task = asyncio.create_task(self._pull_in_slot(*key), name=f"pull {key[0]}")
            self._pulls[key] = task
            task.add_done_callback(lambda _: self._pulls.pop(key, None))
        return await asyncio.shield(task)

    async def _pull_in_slot(self, name: str, auth: RegistryAuth | None) -> float:
        async with self._slots:
            began = time.monotonic()
            await self._runtime.pull_image(name, auth)
            return time.monotonic() - began

    async def _pull_as_anyone(self, name: str, reference: Reference, secrets: list[bytes]) -> float:
        """With each of the credentials that match, until one is good; seconds that the pull took."""
        configs = [*secrets, *await asyncio.to_thread(node_configs, self._root, Path.home())]
        known: list[RegistryAuth | None] = [*credentials(reference.registry, reference.path, configs)]
        problems: list[str] = []
        for auth in known or [None]:
            try:
                return await self._shared_pull(name, auth)
            except RuntimeUnavailable:
                raise
            except RuntimeFailure as error:
                problems.append(str(error))
        different = list(dict.fromkeys(problems))
        raise RuntimeFailure(different[0] if len(different) == 1 else f"[{', '.join(different)}]")

    async def _pull_secrets(self, pod: Pod) -> list[bytes]:
        configs, missing = [], []
        for reference in spec_of(pod).imagePullSecrets or ():
            try:
                secret = await self._objects.secret(identity_of(pod).namespace, reference.name or "")
            except StatusError:
                missing.append(reference.name or "")
                continue
            config = secret_config(secret)
            if config is not None:
                configs.append(config)
        if missing:
            text = f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
            text += "attempting to pull the image may not succeed."
            self._recorder.event(pod, "Warning", "FailedToRetrieveImagePullSecret", text)
        return configs

    def _event(
        self, pod: Pod, container: Container, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        self._recorder.event(pod, type_, reason, message, field_path=field_path(spec_of(pod), container.name))


def _key(pod: Pod, image: str) -> str:
    return f"{identity_of(pod).uid}_{image}"
