"""A pod's volumes on the host: https://kubernetes.io/docs/concepts/storage/volumes/.

A file for each type. Types whose content the API server holds (configMap, secret, downwardAPI, projected) are pure
"payload" functions: object in, file names and bytes out. ``atomic_writer`` puts a payload into a directory in one step,
``manager`` knows what is mounted for which pod, refreshes it while the pod runs and removes it after.
"""
