"""Upstream's bootstrap roles, as data. https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings"""
