"""Pods and pod templates: the one kind big enough for a package of its own."""
