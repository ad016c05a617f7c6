"""The kubelet's certificates: asked of the API server with CertificateSigningRequests, kept in ``--cert-dir``, renewed
in time.

https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/
"""
