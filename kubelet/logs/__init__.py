"""Containers' logs as files in CRI's format, kept beside what the runtime keeps, rotated and served.

``/var/log/pods/<namespace>_<name>_<uid>/<container>/<attempt>.log`` is written here (``copy``), as soon as the runtime
has written something (``keeper``); ``kubectl logs`` reads these files (``reader``).
https://kubernetes.io/docs/concepts/cluster-administration/logging/
"""
