"""The client of the API server: kubeconfig -> connection -> typed verbs."""

from common.client.config import ClusterConfig, ConfigError
from common.client.discovery import discover
from common.client.dynamic import DynamicClient, ObjectList, PatchType, WatchEvent
from common.client.resources import ResourceInfo
from common.client.typed import Client

__all__ = [
    "Client",
    "ClusterConfig",
    "ConfigError",
    "DynamicClient",
    "ObjectList",
    "PatchType",
    "ResourceInfo",
    "WatchEvent",
    "discover",
]
