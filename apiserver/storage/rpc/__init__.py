"""gRPC to etcd on the event loop itself: HTTP/2 in as few steps as etcd's calls need.

Every write costs one call of etcd and every change one message of its watch, so this is the hottest path of the server
after its own HTTP. Measured for one compare-and-swap (docs/benchmarks.md): ``grpc.aio`` spends two and a half times as
much, most of it in threads that hand results to the event loop, and h2, which is pure Python, spends that much on its
state machine alone. What is hard to do well stays in a library: hpack codes the headers.

- ``frames``: frames and settings as bytes; ``reading``: bytes into frames
- ``headers``: header blocks, each coded once; ``statuses``: what they say of a call's end
- ``calls``: what a response becomes: one message, or a stream of them
- ``sending``: flow control
- ``connection``: one HTTP/2 connection: streams, deadlines, pings
- ``channel``: connections to one address, made again when they break

https://www.rfc-editor.org/rfc/rfc9113, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from apiserver.storage.rpc.calls import StreamCall
from apiserver.storage.rpc.channel import Channel
from apiserver.storage.rpc.statuses import Code, NotConnected, RpcError

__all__ = ["Channel", "Code", "NotConnected", "RpcError", "StreamCall"]
