"""ReplicaSets and ReplicationControllers: as many pods as asked for, made from a template."""
