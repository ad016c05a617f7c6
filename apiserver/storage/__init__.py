"""Storage: etcd, and a watch cache over it.

``etcd`` speaks to etcd; ``encoding`` says what is stored; ``feed`` turns one etcd watch into changes; ``cache`` keeps
each resource's encoded objects and recent events; ``watchers`` hands events to the clients that watch; ``store`` reads
and writes one resource; ``registry`` holds all stores; ``continuation`` is the token of a paged list.
"""
