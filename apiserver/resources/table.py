"""The table of what is served: every built-in kind of the GA groups of v1.32, one row each.

The generic verbs, discovery, OpenAPI and the watch cache are all driven by it; nothing else in the server knows kinds.
"""

from __future__ import annotations

from apiserver.resources import (
    apps,
    autoscaling,
    batch,
    core,
    extension,
    flow_control,
    networking,
    policy,
    rbac,
    reviews,
    small,
    storage,
)
from apiserver.types import Resource

RESOURCES: tuple[Resource, ...] = (
    *core.RESOURCES,
    *apps.RESOURCES,
    *batch.RESOURCES,
    *autoscaling.RESOURCES,
    *policy.RESOURCES,
    *networking.RESOURCES,
    *rbac.RESOURCES,
    *storage.RESOURCES,
    *small.RESOURCES,
    *extension.RESOURCES,
    *flow_control.RESOURCES,
    *reviews.RESOURCES,
)
