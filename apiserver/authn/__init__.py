"""Who is asking: client certificates, bearer tokens of a file, service-account tokens, and nobody at all.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

from apiserver.authn.authenticator import RequestAuthenticator, TokenAuthenticator, build
from apiserver.authn.tokens import TokenIssuer, build_issuer

__all__ = ["RequestAuthenticator", "TokenAuthenticator", "TokenIssuer", "build", "build_issuer"]
