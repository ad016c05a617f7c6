"""What every cluster has from its first second: namespaces, roles, priority classes and the ``kubernetes`` service."""

from apiserver.bootstrap.run import run

__all__ = ["run"]
