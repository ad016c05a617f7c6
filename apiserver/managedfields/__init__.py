"""Who owns which field: field tracking for every write, and server-side apply.

Upstream: apimachinery/pkg/util/managedfields and sigs.k8s.io/structured-merge-diff; KEP-555;
https://kubernetes.io/docs/reference/using-api/server-side-apply/.

``sets`` is the algebra of FieldsV1, ``types`` and ``compile`` the schema as walkers, ``typed`` what apply does with
values, ``entries`` the metadata.managedFields list, ``tracking`` the ownership after a plain write and ``apply`` after
an apply. All of it is pure; ``endpoints`` does the I/O.
"""
