"""Upstream's words for what is not allowed."""

from __future__ import annotations

import json

from apiserver.types import Attributes
from common.api.status import Forbidden, forbidden


def forbidden_message(attributes: Attributes, reason: str = "") -> str:
    """``User "x" cannot list resource "pods" in API group "" in the namespace "default"``."""
    user = json.dumps(attributes.user.name, ensure_ascii=False)
    if not attributes.is_resource:
        text = f'User {user} cannot {attributes.verb} path "{attributes.path}"'
    else:
        resource = attributes.resource
        if attributes.subresource:
            resource += f"/{attributes.subresource}"
        where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
        text = f'User {user} cannot {attributes.verb} resource "{resource}" in API group "{attributes.group}" {where}'
    return f"{text}: {reason}" if reason else text


def forbidden_error(attributes: Attributes, message: str = "") -> Forbidden:
    """The 403 answer. ``message`` is what the authorizer said; made here when there is none."""
    message = message or forbidden_message(attributes)
    if not attributes.is_resource or not attributes.resource:
        return Forbidden(f"forbidden: {message}", {})
    return forbidden(attributes.resource, attributes.name, attributes.group, message)
