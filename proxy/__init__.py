"""kube-proxy: makes Services reachable from this node, by iptables."""
