"""What Docker's list and inspect answers mean: pure functions to the kubelet's dataclasses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from kubelet.cri import (
    LABEL_CONTAINER_NAME,
    LABEL_POD_NAME,
    LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
    ContainerState,
    ContainerStats,
    ImageStatus,
    Resources,
    RuntimeContainer,
    RuntimeEvent,
)
from kubelet.runtime.naming import LABEL_ATTEMPT, LABEL_IMAGE_REF

_STATES = {
    "created": ContainerState.CREATED,
    "running": ContainerState.RUNNING,
    "paused": ContainerState.RUNNING,
    "restarting": ContainerState.RUNNING,
    "removing": ContainerState.EXITED,
    "exited": ContainerState.EXITED,
    "dead": ContainerState.EXITED,
}
_FRACTION = re.compile(r"\.(\d+)")


def parse_time(text: str | None) -> datetime | None:
    """Docker's nanoseconds are cut to microseconds; its zero time (year 1) means never."""
    if not text or text.startswith("0001-"):
        return None
    text = _FRACTION.sub(lambda match: f".{match.group(1)[:6]:0<6}", text)
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def container(raw: Mapping[str, Any], root_dir: str = "") -> RuntimeContainer:
    """From ``GET /containers/<id>/json``; ``root_dir`` is Docker's."""
    state = raw["State"]
    labels = raw["Config"].get("Labels") or {}
    kind = _STATES.get(state.get("Status", ""), ContainerState.UNKNOWN)
    exit_code = int(state.get("ExitCode") or 0)
    finished = parse_time(state.get("FinishedAt"))
    created = parse_time(raw.get("Created")) or datetime.now(UTC)
    if kind is ContainerState.CREATED and (exit_code or state.get("Error")):
        # It could not be started: for the kubelet that is the end of it.
        kind, finished = ContainerState.EXITED, finished or created
    return RuntimeContainer(
        id=raw["Id"],
        name=labels.get(LABEL_CONTAINER_NAME, ""),
        pod_name=labels.get(LABEL_POD_NAME, ""),
        namespace=labels.get(LABEL_POD_NAMESPACE, ""),
        pod_uid=labels.get(LABEL_POD_UID, ""),
        attempt=_integer(labels.get(LABEL_ATTEMPT)),
        state=kind,
        image=raw["Config"].get("Image", ""),
        image_id=raw.get("Image", ""),
        labels=labels,
        created=created,
        pid=int(state.get("Pid") or 0),
        exit_code=exit_code,
        error=state.get("Error") or "",
        oom_killed=bool(state.get("OOMKilled")),
        started=parse_time(state.get("StartedAt")),
        finished=finished,
        log_path=_log_folder(raw, root_dir),
        image_ref=labels.get(LABEL_IMAGE_REF, ""),
        resources=resources(raw.get("HostConfig") or {}),
        writable_layer=str(((raw.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir") or ""),
    )


def resources(host: Mapping[str, Any]) -> Resources:
    return Resources(
        cpu_shares=int(host.get("CpuShares") or 0),
        cpu_period=int(host.get("CpuPeriod") or 0),
        cpu_quota=max(0, int(host.get("CpuQuota") or 0)),
        memory_bytes=max(0, int(host.get("Memory") or 0)),
        oom_score_adj=int(host.get("OomScoreAdj") or 0),
    )


def _log_folder(raw: Mapping[str, Any], root_dir: str) -> str:
    """Where the log driver that containers are made with keeps their output (runtime/logfiles.py)."""
    driver = ((raw.get("HostConfig") or {}).get("LogConfig") or {}).get("Type")
    return f"{root_dir}/containers/{raw['Id']}/local-logs" if driver == "local" else ""


def event(raw: Mapping[str, Any] | None) -> RuntimeEvent | None:
    """From a line of ``GET /events``. None when it does not tell what happened to which container."""
    match raw:
        case {"Action": str(kind), "Actor": {"ID": str(container_id), "Attributes": {**attributes}}}:
            return RuntimeEvent(kind, container_id, str(attributes.get(LABEL_POD_UID, "")))
    return None


def image(raw: Mapping[str, Any]) -> ImageStatus:
    """From ``GET /images/<ref>/json`` or an element of ``GET /images/json``."""
    return ImageStatus(
        id=raw["Id"],
        tags=tuple(tag for tag in raw.get("RepoTags") or () if tag != "<none>:<none>"),
        digests=tuple(digest for digest in raw.get("RepoDigests") or () if not digest.startswith("<none>")),
        size=int(raw.get("Size") or 0),
        user=str((raw.get("Config") or {}).get("User") or ""),
    )


def stats(container_id: str, raw: Mapping[str, Any]) -> ContainerStats:
    memory = raw.get("memory_stats") or {}
    details = memory.get("stats") or {}
    usage = int(memory.get("usage") or 0)
    # cgroup v1 says total_inactive_file and rss, v2 inactive_file and anon.
    inactive = int(details.get("total_inactive_file", details.get("inactive_file", 0)))
    return ContainerStats(
        container_id=container_id,
        timestamp=parse_time(raw.get("read")) or datetime.now(UTC),
        cpu_nanoseconds=int(((raw.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0),
        memory_usage_bytes=usage,
        memory_working_set_bytes=max(0, usage - inactive),
        memory_rss_bytes=int(details.get("total_rss", details.get("rss", details.get("anon", 0)))),
        pids=int((raw.get("pids_stats") or {}).get("current") or 0),
    )


def _integer(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
