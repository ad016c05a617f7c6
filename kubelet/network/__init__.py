"""The pod network of one node: a bridge, a veth pair for each pod, host-local addresses, routes to the other nodes.

It does what upstream leaves to a CNI plugin (the "bridge" and "host-local" reference plugins) and to flannel's host-gw
backend: every pod gets an address of the node's ``spec.podCIDR``, and pods on different nodes reach each other with no
NAT (https://kubernetes.io/docs/concepts/services-networking/#the-kubernetes-network-model).

``ipam`` chooses addresses, ``links`` speaks netlink, ``routes`` and ``firewall`` hold what should be as pure functions,
``plugin`` ties them together on one worker thread.
"""
