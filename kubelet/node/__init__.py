"""The kubelet's word about its machine: the Node object, its status and its Lease.

https://kubernetes.io/docs/concepts/architecture/nodes/. ``machine`` reads the machine, ``status`` computes the Node
from it (pure), ``thresholds`` holds the limits below which the node is under pressure, ``agent`` registers the node and
keeps its status, ``lease`` beats the heart.
"""
