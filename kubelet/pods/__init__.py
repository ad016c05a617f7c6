"""Pods on this node: what should run, what runs, what is reported. Pure decisions, and thin I/O around them."""
