"""Graceful shutdown of the node (KEP-2000): its pods end in order before the machine does.

https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/. ``periods`` says who gets how long (pure),
``manager`` ends the pods, ``logind`` holds the machine's shutdown up and hears of it where systemd rules.
"""
