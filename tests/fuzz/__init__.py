"""Requests that nobody would send: what is made of them must be an answer, never a failure of the server.

- ``objects``: objects of any kind, shaped by the schema and filled with values that are almost right
- ``bases``: objects that are right, to begin with
- ``requests``: requests of any shape

Longer, by hand: ``COX_FUZZ_SECONDS=1800 pytest tests/unit/apiserver/test_fuzz.py`` (and tests/integration/apiserver).
"""
