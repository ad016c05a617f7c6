"""What every cluster has from its first second: namespaces, roles, priority classes and the ``kubernetes`` service."""

from apiserver.bootstrap.members import Members
from apiserver.bootstrap.run import Bootstrap, run

__all__ = ["Bootstrap", "Members", "run"]
