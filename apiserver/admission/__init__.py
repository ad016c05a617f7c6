"""Admission: plugins that complete or refuse what is about to be stored, a file each, in upstream's order.

https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from apiserver.admission.chain import AdmissionChain, build_chain

__all__ = ["AdmissionChain", "build_chain"]
