"""The plugins, a file each, by upstream's names: https://kubernetes.io/docs/reference/scheduling/config/"""

from __future__ import annotations

from common.client import Client
from scheduler.framework import Profile
from scheduler.plugins.default_binder import DefaultBinder
from scheduler.plugins.inter_pod_affinity import InterPodAffinity
from scheduler.plugins.node_affinity import NodeAffinity
from scheduler.plugins.node_name import NodeName
from scheduler.plugins.node_ports import NodePorts
from scheduler.plugins.node_resources_balanced import NodeResourcesBalancedAllocation
from scheduler.plugins.node_resources_fit import NodeResourcesFit
from scheduler.plugins.node_unschedulable import NodeUnschedulable
from scheduler.plugins.pod_topology_spread import PodTopologySpread
from scheduler.plugins.taint_toleration import TaintToleration
from scheduler.plugins.volume_binding import Claims, VolumeBinding


def default_profile(client: Client, claims: Claims) -> Profile:
    """Upstream's default plugins, order and weights, as far as they exist here."""
    node_affinity, taints, fit = NodeAffinity(), TaintToleration(), NodeResourcesFit()
    spread, affinity = PodTopologySpread(node_affinity), InterPodAffinity()
    return Profile(
        pre_filters=(node_affinity, VolumeBinding(claims), affinity),
        filters=(
            NodeUnschedulable(),
            NodeName(),
            taints,
            node_affinity,
            NodePorts(),
            fit,
            spread,
            affinity,
        ),
        scores=(
            (taints, 3),
            (node_affinity, 2),
            (fit, 1),
            (spread, 2),
            (affinity, 2),
            (NodeResourcesBalancedAllocation(), 1),
        ),
        bind=DefaultBinder(client),
    )
