"""API aggregation: groups that other servers serve, behind this one.

An APIService says which Service serves a group version. Requests for it are authenticated and authorised here and
passed on with the user in headers; discovery and OpenAPI show all groups as one.
https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
"""

from apiserver.extensions.aggregator import Aggregator

__all__ = ["Aggregator"]
