"""SPDY/3.1, the server's side: what kubectl before 1.31 streams over, and port-forward of any kubectl.

``dictionary`` and ``frames`` are the wire format (pure, sans I/O), ``connection`` shares one connection among streams.
https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""
