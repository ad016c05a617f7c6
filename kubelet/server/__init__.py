"""The kubelet's HTTPS server on 10250: what the API server asks of a node (logs, exec, attach, stats).

``app`` is the table of routes, ``auth`` says who may, ``channels`` is the framing of streams over WebSocket (pure),
``session`` moves bytes between a client and a process, whose client speaks WebSocket (``websockets``) or SPDY
(``remotecommand``, over ``spdy/``); ``portforward`` dials into pods, ``logs`` and ``stats`` answer the rest.
"""
