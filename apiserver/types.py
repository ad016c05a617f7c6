"""The few interfaces between the rooms of the API server.

Objects are plain JSON dicts here: the server must keep what a client sent field for field, and the schema (not a class)
says what is valid. Everything else in the server is written against these types, so that a room can be read alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from common.api.status import FieldError

Object = dict[str, Any]
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. ``groups`` includes ``system:authenticated`` or ``system:unauthenticated``."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Attributes(NamedTuple):
    """What is asked, in the terms of authorisation (upstream: authorizer.Attributes)."""

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    is_resource: bool = True
    field_selector: str = ""
    """Of a list, a watch or a deletecollection (KEP-4601)."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a Table. ``priority`` above 0 is shown by ``-o wide`` only. ``cell`` takes the object."""

    name: str
    type: str
    cell: Callable[[Object], Any]
    priority: int = 0
    description: str = ""
    format: str = ""


class Strategy(Protocol):
    """What is special about one kind. All methods are pure; ``obj`` arguments may be changed in place.

    The generic verbs call, for a create: default, (admission), prepare_for_create, validate; for an update:
    prepare_for_update, default, (admission), validate_update. ``subresource`` is "" or "status".
    Generic metadata (name, namespace, uid, labels, annotations, owner references, generation) is not their business.
    """

    def default(self, obj: Object) -> None: ...
    def prepare_for_create(self, obj: Object) -> None: ...
    def prepare_for_update(self, obj: Object, old: Object, subresource: str) -> None: ...
    def validate(self, obj: Object) -> list[FieldError]: ...
    def validate_update(self, obj: Object, old: Object, subresource: str) -> list[FieldError]: ...
    def warnings(self, obj: Object) -> list[str]: ...
    def update_warnings(self, obj: Object, old: Object, subresource: str) -> list[str]: ...


@dataclass(frozen=True)
class Resource:
    """A row of the table of what is served."""

    group: str
    version: str
    plural: str
    kind: str
    singular: str
    namespaced: bool
    strategy: Strategy
    columns: Sequence[Column] = ()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
    status: bool = False
    """Whether there is a /status subresource."""
    scale: ScalePaths | None = None
    """Where /scale finds its fields, if the resource has it."""
    has_generation: bool = False
    """Whether a change of spec raises metadata.generation."""
    selectable_fields: Mapping[str, Callable[[Object], str]] = field(default_factory=dict)
    """Field selectors beside metadata.name and metadata.namespace."""
    renamed_fields: Mapping[str, str] = field(default_factory=dict)
    """Field selectors by the name that they have in the stored kind, or have had since."""
    unknown_field: str = "field label not supported: {}"
    """What a selector of another field is told, if there are selectable fields."""
    name_validation: Callable[[str], list[str]] | None = None
    """Texts of what is wrong with a name; default: DNS-1123 subdomain."""
    stored_as: tuple[str, str] | None = None
    """(group, plural) of the resource whose storage this one shares (events.k8s.io events are core events)."""
    graceful: bool = False
    """Pods: a delete first sets deletionTimestamp and waits for the node."""
    create_on_update: bool = False
    """Whether a PUT of an object that is not there creates it (upstream: AllowCreateOnUpdate)."""
    unconditional_update: bool = True
    """Whether a PUT may name no resourceVersion (upstream: AllowUnconditionalUpdate)."""
    row_conditions: Callable[[Object], list[Object]] | None = None
    """What a Table says of a row beside its cells."""
    has_dependents: bool = True
    """Whether a delete may ask for what becomes of them (upstream: GarbageCollectionPolicy Unsupported)."""
    orphans_dependents: bool = False
    """Whether a delete that names no policy leaves the dependents (upstream: DefaultGarbageCollectionPolicy)."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """``deployments.apps`` or ``pods``: as upstream's messages name a resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True)
class ScalePaths:
    spec_replicas: str = "spec.replicas"
    status_replicas: str = "status.replicas"
    selector: str = "spec.selector"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a write's transaction compares and does beside the object itself (etcd's Compare and RequestOp)."""

    compare: tuple[Any, ...] = ()
    then: tuple[Any, ...] = ()

    async def enter(self) -> Terms:
        return self

    def leave(self, revision: int) -> None:
        return None


class Guard(Protocol):
    """Something that must be so when a write reaches etcd, whatever other servers do meanwhile.

    What admission read from the cache may be out of date by then. A guard puts it into the write's own transaction:
    when it is not so any more, the write does not happen, and the request is looked at again.
    """

    async def enter(self) -> Terms:
        """The terms, computed just before the transaction. Raises what refuses the write."""

    def leave(self, revision: int) -> None:
        """After the transaction: the revision that it made, 0 when it made none (or nobody knows)."""


class ObjectStore(Protocol):
    """Storage of one resource. Objects handed out carry metadata.resourceVersion and may be changed by the caller."""

    resource: Resource

    async def get(self, namespace: str, name: str) -> Object:
        """The object as etcd has it now. Raises NotFound."""

    async def fresh(self) -> bool:
        """Whether the watch cache has come to what etcd holds now. Waits for it a little."""

    async def reached(self, revision: int) -> bool:
        """Whether the watch cache has come to ``revision``. Waits for it a little."""

    async def create(self, obj: Object, guards: Sequence[Guard] = ()) -> Object:
        """Stores as it is (no defaulting, no admission). Raises AlreadyExists, Stale."""

    async def update(
        self,
        namespace: str,
        name: str,
        change: Callable[[Object], Object | None] | Callable[[Object], Awaitable[Object | None]],
        *,
        resource_version: str | None = None,
    ) -> Object:
        """Reads, calls ``change`` with a private copy and writes what it returns; again if somebody wrote in between.

        ``change`` returning None leaves the object as it is. With ``resource_version`` the object must still be at it
        (Conflict). Raises NotFound. When the result has a deletionTimestamp and no finalizers are left
        (and deletionGracePeriodSeconds is 0 for graceful kinds), the object is removed.
        """

    async def delete(
        self, namespace: str, name: str, *, uid: str | None = None, resource_version: str | None = None
    ) -> Object:
        """Removes at once, whatever finalizers say. Raises NotFound, Conflict."""

    def cached(self, namespace: str, name: str) -> Object | None:
        """From the watch cache, at once. The object is shared: do not change it."""

    def cached_list(self, namespace: str | None = None) -> Iterable[Object]:
        """From the watch cache, at once. The objects are shared: do not change them."""

    def unchanged(self, namespace: str, name: str, revision: str) -> Terms:
        """The object is at ``revision``."""

    def replaced(self, obj: Object) -> Terms:
        """The object is still at its resourceVersion, and is replaced by ``obj``."""

    def claim(self, claims_of: Callable[[Object], Mapping[bytes, bytes]]) -> None:
        """Says which keys of etcd (and which owner in each) an object holds while it is stored."""

    def on_change(self, callback: Callable[[str, Object], None]) -> None:
        """Calls back with ("ADDED"|"MODIFIED"|"DELETED", object) for each change that the watch cache sees."""


class Registry(Protocol):
    """All stores."""

    def store(self, group: str, plural: str) -> ObjectStore: ...
    def resources(self) -> Iterable[Resource]: ...


class Authenticator(Protocol):
    async def authenticate(self, scope: Mapping[str, Any]) -> User:
        """The user of an ASGI scope (client certificate in scope["state"]["peer"], bearer token in the headers).

        No credentials at all: system:anonymous. Raises Unauthorized for bad ones.
        """


class Authorizer(Protocol):
    def authorize(self, attributes: Attributes) -> tuple[bool, str]:
        """Whether it is allowed, and why (or why not, in upstream's words)."""


@dataclass(slots=True)
class AdmissionRequest:
    """What admission plugins see. Mutating plugins change ``object`` in place."""

    operation: Operation
    resource: Resource
    subresource: str
    namespace: str
    name: str
    object: Object | None
    old_object: Object | None
    user: User
    options: Mapping[str, Any]
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    """What the write's transaction has to make sure of."""


class AdmissionPlugin(Protocol):
    """``admit`` mutates, ``validate`` refuses; both refuse by a StatusError. Either may do nothing.

    ``handles`` looks at the resource, the operation and the subresource, at whether there is a namespace and whether
    the user is a node, and at nothing else: its answer is remembered.
    """

    name: str

    def handles(self, request: AdmissionRequest) -> bool: ...
    async def admit(self, request: AdmissionRequest) -> None: ...
    async def validate(self, request: AdmissionRequest) -> None: ...


@dataclass(frozen=True)
class Connection:
    """A request to a subresource that is neither status nor scale (binding, token, log, exec …), already authorised."""

    resource: Resource
    subresource: str
    namespace: str
    name: str
    user: User
    rest: str
    """What follows the subresource in the path (of proxy subresources), with no leading slash."""


class ConnectHandler(Protocol):
    """An ASGI application for one subresource, made by the authn/authz/streaming rooms and mounted by the app.

    Handlers are found in ``apiserver.subresources.HANDLERS: dict[(group, plural, subresource), ConnectHandlerSpec]``.
    """

    async def __call__(self, connection: Connection, scope: Any, receive: Any, send: Any) -> None: ...
