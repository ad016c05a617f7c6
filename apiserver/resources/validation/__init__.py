"""Validation of every kind that is not core, a file for each group.

Causes, paths, texts and their order are upstream's (pkg/apis/<group>/validation/validation.go). A function that checks
an update is given the old object too, since what was let in once must not lock its owner out.
"""
