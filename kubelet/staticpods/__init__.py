"""Pods from files on the node: they run with or without an API server, which is shown mirrors of them.

https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
"""
