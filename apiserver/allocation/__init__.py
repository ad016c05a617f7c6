"""Which cluster address and which node ports a Service gets.

https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/
"""

from apiserver.allocation.loop import RepairLoop
from apiserver.allocation.services import ServiceAllocation

__all__ = ["RepairLoop", "ServiceAllocation"]
