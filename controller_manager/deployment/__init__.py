"""Deployments: a ReplicaSet for each revision, and the way from one to the next."""
