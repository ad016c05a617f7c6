"""What one may do: RBAC, the node authorizer, and the few paths that are open to all.

https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from apiserver.authz.authorizer import ServerAuthorizer, build
from apiserver.authz.messages import forbidden_error, forbidden_message

__all__ = ["ServerAuthorizer", "build", "forbidden_error", "forbidden_message"]
