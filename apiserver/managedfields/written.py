"""What the API's Go types say and the definitions do not: what is always there, and what keys default to.

Upstream compares structs, whose parts exist before anyone writes to them; who owns what depends on it. From the types
in k8s.io/api, v1.32.
"""

from __future__ import annotations

from typing import Any

KEY_DEFAULTS: dict[tuple[str, str], Any] = {
    ("ContainerPort", "protocol"): "TCP",
    ("ServicePort", "protocol"): "TCP",
    ("LocalObjectReference", "name"): "",
}
"""Defaults of keys, which the definitions do not carry. Required keys are zero by default."""

NESTED: dict[str, tuple[str, ...]] = {
    "ClusterRoleBinding": ("roleRef",),
    "Container": ("resources",),
    "ContainerResourceMetricSource": ("target",),
    "ContainerResourceMetricStatus": ("current",),
    "ContainerStatus": ("lastState", "state"),
    "ControllerRevision": ("data",),
    "CronJobSpec": ("jobTemplate",),
    "CustomResourceDefinitionSpec": ("names",),
    "CustomResourceDefinitionStatus": ("acceptedNames",),
    "DaemonSetSpec": ("template", "updateStrategy"),
    "DeploymentSpec": ("strategy", "template"),
    "Endpoint": ("conditions",),
    "EphemeralContainer": ("resources",),
    "Event": ("involvedObject", "source", "deprecatedSource", "regarding"),
    "ExternalMetricSource": ("metric", "target"),
    "ExternalMetricStatus": ("current", "metric"),
    "FlowSchemaSpec": ("priorityLevelConfiguration",),
    "HTTPIngressPath": ("backend",),
    "HorizontalPodAutoscalerSpec": ("scaleTargetRef",),
    "IngressServiceBackend": ("port",),
    "IngressStatus": ("loadBalancer",),
    "JobSpec": ("template",),
    "LimitedPriorityLevelConfiguration": ("limitResponse",),
    "MutatingWebhook": ("clientConfig",),
    "NetworkPolicySpec": ("podSelector",),
    "NodeDaemonEndpoints": ("kubeletEndpoint",),
    "NodeStatus": ("daemonEndpoints", "nodeInfo"),
    "ObjectMetricSource": ("describedObject", "metric", "target"),
    "ObjectMetricStatus": ("current", "describedObject", "metric"),
    "PersistentVolumeClaimSpec": ("resources",),
    "PodTemplate": ("template",),
    "PodsMetricSource": ("metric", "target"),
    "PodsMetricStatus": ("current", "metric"),
    "PreferredSchedulingTerm": ("preference",),
    "ReplicaSetSpec": ("template",),
    "ResourceMetricSource": ("target",),
    "ResourceMetricStatus": ("current",),
    "RoleBinding": ("roleRef",),
    "ServiceStatus": ("loadBalancer",),
    "StatefulSetSpec": ("template", "updateStrategy"),
    "ValidatingWebhook": ("clientConfig",),
    "VolumeAttachmentSpec": ("source",),
    "WeightedPodAffinityTerm": ("podAffinityTerm",),
}
"""Structs that are part of another in the API's Go types, not pointed to: they exist as soon as what they are in does.
Beside them ``metadata``, ``spec`` and ``status`` always are."""
ALWAYS = ("metadata", "spec", "status")

TIMES: dict[str, tuple[str, ...]] = {
    "APIServiceCondition": ("lastTransitionTime",),
    "CertificateSigningRequestCondition": ("lastUpdateTime", "lastTransitionTime"),
    "Condition": ("lastTransitionTime",),
    "CustomResourceDefinitionCondition": ("lastTransitionTime",),
    "DaemonSetCondition": ("lastTransitionTime",),
    "DeploymentCondition": ("lastUpdateTime", "lastTransitionTime"),
    "Event": ("firstTimestamp", "lastTimestamp", "eventTime", "deprecatedFirstTimestamp", "deprecatedLastTimestamp"),
    "EventSeries": ("lastObservedTime",),
    "FlowSchemaCondition": ("lastTransitionTime",),
    "HorizontalPodAutoscalerCondition": ("lastTransitionTime",),
    "JobCondition": ("lastProbeTime", "lastTransitionTime"),
    "NamespaceCondition": ("lastTransitionTime",),
    "NodeCondition": ("lastHeartbeatTime", "lastTransitionTime"),
    "ObjectMeta": ("creationTimestamp",),
    "PersistentVolumeClaimCondition": ("lastProbeTime", "lastTransitionTime"),
    "PodCondition": ("lastProbeTime", "lastTransitionTime"),
    "PriorityLevelConfigurationCondition": ("lastTransitionTime",),
    "ReplicaSetCondition": ("lastTransitionTime",),
    "ReplicationControllerCondition": ("lastTransitionTime",),
    "StatefulSetCondition": ("lastTransitionTime",),
    "VolumeError": ("time",),
}
"""Times that the API's Go types write as null when they are not set, so that they are there."""
WRITTEN_EMPTY = {("Event", "reportingComponent"), ("Event", "reportingInstance")}
"""Strings that are always written, although the definitions do not call them required."""
