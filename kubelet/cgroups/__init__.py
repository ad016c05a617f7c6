"""The tree of cgroups that pods live in: ``kubepods``, a cgroup for each QoS class in it, and one for each pod.

``values.py`` says what belongs in it (pure), ``hierarchy.py`` reads and writes the kernel's files (versions 1 and 2),
``tree.py`` keeps the one as the other says.
https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/#node-allocatable
"""
