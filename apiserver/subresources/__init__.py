"""Subresources that are neither status nor scale, and the resources that are only ever created to ask something.

``HANDLERS`` says what there is, for the app to mount and for discovery to list; ``build_context`` makes what the
handlers work with. A key ``(group, plural, "")`` is a resource of its own that is only POSTed to (reviews, bindings).
Handlers raise StatusError until they have begun to answer; whoever mounts them turns that into the answer.
"""

from apiserver.subresources.context import Context, build_context
from apiserver.subresources.table import HANDLERS, ConnectHandlerSpec, mount

__all__ = ["HANDLERS", "ConnectHandlerSpec", "Context", "build_context", "mount"]
