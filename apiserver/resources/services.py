"""The strategy of Services. Addresses and node ports are given by ``apiserver.allocation``, before validation."""

from __future__ import annotations

from apiserver.resources.core_defaults import default_service, keep_service, prepare_service
from apiserver.resources.service_validation import (
    check_service,
    check_service_status,
    check_service_update,
    service_warnings,
)
from apiserver.resources.strategy import KindStrategy

SERVICE = KindStrategy(
    status=True,
    defaults=default_service,
    on_create=prepare_service,
    on_update=keep_service,
    checks=check_service,
    update=check_service_update,
    status_update=check_service_status,
    warn=service_warnings,
)
