"""The kinds of volumes that pods and PersistentVolumes share (upstream: validate…VolumeSource).

A check gets the errors, the source and its path. ``owner`` is the name of the volume, ``persistent`` says that the
source is a PersistentVolume's: some ask for more there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from apiserver.resources.checks import Errors
from apiserver.resources.pods.names import (
    check_descending,
    check_names,
    check_no_backsteps,
    label_problems,
    subdomain_problems,
)
from common.api.status import field_forbidden, invalid_value, not_supported, required, too_long

Source = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    path: str
    owner: str = ""
    persistent: bool = False


Check = Callable[[Errors, Source, Place], None]

HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_IQN = re.compile(r"iqn\.[0-9]{4}-[0-9]{2}\.([A-Za-z0-9\-.]+)(:[^,;*&$|\s]+)$")
_EUI = re.compile(r"^eui.[A-Za-z0-9]{16}$")
_NAA = re.compile(r"^naa.[A-Za-z0-9]{32}$")
_INITIATORS = {"iqn": _IQN, "eui": _EUI, "naa": _NAA}
_PORTAL_TEXT = (
    "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters "
    "if iscsi.initiatorName is specified."
)
_PAIRS = "must be a host:port pair or multiple pairs separated by commas"
_HOST_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*")
_CACHING = ("None", "ReadOnly", "ReadWrite")
_DISKS = ("Dedicated", "Managed", "Shared")
_MANAGED_URI = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
_BLOB_URI = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"


def need(errors: Errors, source: Mapping[str, Any], path: str, *fields: str) -> None:
    for field in fields:
        if not source.get(field):
            errors.append(required(f"{path}.{field}"))


def _needs(*fields: str) -> Check:
    def check(errors: Errors, source: Source, place: Place) -> None:
        need(errors, source, place.path, *fields)

    return check


def check_secret_ref(errors: Errors, source: Source, place: Place, *, namespace: bool = True) -> None:
    ref = source.get("secretRef")
    if ref is not None:
        need(
            errors, ref, f"{place.path}.secretRef", "name", *(("namespace",) if namespace and place.persistent else ())
        )


def host_path(errors: Errors, source: Source, place: Place) -> None:
    path = source.get("path", "")
    if not path:
        errors.append(required(f"{place.path}.path"))
        return
    check_no_backsteps(errors, path, f"{place.path}.path")
    kind = source.get("type")
    if kind is not None and kind not in HOST_PATH_TYPES:
        errors.append(not_supported(f"{place.path}.type", kind, HOST_PATH_TYPES))


def _disk(field: str) -> Check:
    def check(errors: Errors, source: Source, place: Place) -> None:
        need(errors, source, place.path, field)
        partition = source.get("partition", 0)
        if not 0 <= partition <= 255:
            errors.append(invalid_value(f"{place.path}.partition", partition, "must be between 1 and 255, inclusive"))

    return check


def nfs(errors: Errors, source: Source, place: Place) -> None:
    need(errors, source, place.path, "server", "path")
    path = source.get("path", "")
    if not path.startswith("/"):
        errors.append(invalid_value(f"{place.path}.path", path, "must be an absolute path"))


def iscsi(errors: Errors, source: Source, place: Place) -> None:
    portal, initiator = source.get("targetPortal", ""), source.get("initiatorName")
    too_long_together = initiator is not None and len(f"{place.owner}:{portal}") > 64
    need(errors, source, place.path, "targetPortal")
    if too_long_together and place.persistent:
        errors.append(invalid_value(f"{place.path}.targetportal", portal, _PORTAL_TEXT))
    start = "must be valid format" if place.persistent else "must be valid format starting with iqn, eui, or naa"
    if not source.get("iqn"):
        errors.append(required(f"{place.path}.iqn"))
    else:
        _check_initiator(errors, source["iqn"], f"{place.path}.iqn", start)
    lun = source.get("lun", 0)
    if not 0 <= lun <= 255:
        errors.append(invalid_value(f"{place.path}.lun", lun, "must be between 0 and 255, inclusive"))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        errors.append(required(f"{place.path}.secretRef"))
    if place.persistent:
        check_secret_ref(errors, source, place, namespace=False)
    if initiator is not None:
        _check_initiator(errors, initiator, f"{place.path}.initiatorname", start)
    if too_long_together and not place.persistent:
        errors.append(invalid_value(f"{place.path.rpartition('.')[0]}.name", place.owner, _PORTAL_TEXT))


def _check_initiator(errors: Errors, name: str, path: str, start: str) -> None:
    pattern = _INITIATORS.get(name[:3])
    if pattern is None:
        errors.append(invalid_value(path, name, start))
    elif not pattern.search(name):
        errors.append(invalid_value(path, name, "must be valid format"))


def glusterfs(errors: Errors, source: Source, place: Place) -> None:
    need(errors, source, place.path, "endpoints", "path")
    namespace = source.get("endpointsNamespace")
    if place.persistent and namespace is not None:
        at = f"{place.path}.endpointsNamespace"
        if namespace:
            check_names(errors, at, namespace, label_problems(namespace))
        else:
            detail = "if the endpointnamespace is set, it must be a valid namespace name"
            errors.append(invalid_value(at, namespace, detail))


def flocker(errors: Errors, source: Source, place: Place) -> None:
    name, uuid = source.get("datasetName"), source.get("datasetUUID")
    if not name and not uuid:
        errors.append(required(place.path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        detail = "datasetName and datasetUUID can not be specified simultaneously"
        errors.append(invalid_value(place.path, "resource", detail))
    if name and "/" in name:
        errors.append(invalid_value(f"{place.path}.datasetName", name, "must not contain '/'"))


def rbd(errors: Errors, source: Source, place: Place) -> None:
    need(errors, source, place.path, "monitors", "image")


def cinder(errors: Errors, source: Source, place: Place) -> None:
    need(errors, source, place.path, "volumeID")
    check_secret_ref(errors, source, place)


def quobyte(errors: Errors, source: Source, place: Place) -> None:
    registry = source.get("registry", "")
    if not registry:
        errors.append(required(f"{place.path}.registry", _PAIRS))
    elif len(source.get("tenant", "")) >= 65:
        detail = "must be a UUID and may not exceed a length of 64 characters"
        errors.append(required(f"{place.path}.tenant", detail))
    else:
        for pair in registry.split(","):
            if not _HOST_PORT.fullmatch(pair):
                errors.append(invalid_value(f"{place.path}.registry", registry, _PAIRS))
    need(errors, source, place.path, "volume")


def fc(errors: Errors, source: Source, place: Place) -> None:
    names, ids, lun = source.get("targetWWNs"), source.get("wwids"), source.get("lun")
    at = f"{place.path}.targetWWNs"
    if not names and not ids:
        errors.append(required(at, "must specify either targetWWNs or wwids, but not both"))
    if names and ids:
        errors.append(invalid_value(at, names, "targetWWNs and wwids can not be specified simultaneously"))
    if names:
        if lun is None:
            errors.append(required(f"{place.path}.lun", "lun is required if targetWWNs is specified"))
        elif not 0 <= lun <= 255:
            errors.append(invalid_value(f"{place.path}.lun", lun, "must be between 0 and 255, inclusive"))


def flex(errors: Errors, source: Source, place: Place) -> None:
    need(errors, source, place.path, "driver")
    for key in source.get("options") or ():
        domain = "." + key.partition("/")[0].lower()
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            detail = "kubernetes.io and k8s.io namespaces are reserved"
            errors.append(invalid_value(f"{place.path}.options[{key}]", key, detail))


def azure_file(errors: Errors, source: Source, place: Place) -> None:
    need(errors, source, place.path, "secretName", "shareName")
    if place.persistent and source.get("secretNamespace") == "":
        errors.append(required(f"{place.path}.secretNamespace"))


def azure_disk(errors: Errors, source: Source, place: Place) -> None:
    need(errors, source, place.path, "diskName", "diskURI")
    caching, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI", "")
    if caching is not None and caching not in _CACHING:
        errors.append(not_supported(f"{place.path}.cachingMode", caching, _CACHING))
    if kind is not None and kind not in _DISKS:
        errors.append(not_supported(f"{place.path}.kind", kind, _DISKS))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        errors.append(not_supported(f"{place.path}.diskURI", uri, (_MANAGED_URI,)))
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        errors.append(not_supported(f"{place.path}.diskURI", uri, (_BLOB_URI,)))


def storage_os(errors: Errors, source: Source, place: Place) -> None:
    name, namespace = source.get("volumeName", ""), source.get("volumeNamespace", "")
    if not name:
        errors.append(required(f"{place.path}.volumeName"))
    else:
        check_names(errors, f"{place.path}.volumeName", name, label_problems(name))
    if namespace:
        check_names(errors, f"{place.path}.volumeNamespace", namespace, label_problems(namespace))
    check_secret_ref(errors, source, place)


def check_csi_driver(errors: Errors, name: str, path: str) -> None:
    if not name:
        errors.append(required(path))
    if len(name) > 63:
        errors.append(too_long(path, 63))
    check_names(errors, path, name, subdomain_problems(name.lower()))


def local(errors: Errors, source: Source, place: Place) -> None:
    path = source.get("path", "")
    if not path:
        errors.append(required(f"{place.path}.path"))
    else:
        check_no_backsteps(errors, path, f"{place.path}.path")


def git_repo(errors: Errors, source: Source, place: Place) -> None:
    need(errors, source, place.path, "repository")
    check_descending(errors, source.get("directory", ""), f"{place.path}.directory")


SHARED: Mapping[str, Check] = {
    "hostPath": host_path,
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "nfs": nfs,
    "iscsi": iscsi,
    "glusterfs": glusterfs,
    "flocker": flocker,
    "rbd": rbd,
    "cinder": cinder,
    "cephfs": _needs("monitors"),
    "quobyte": quobyte,
    "fc": fc,
    "flexVolume": flex,
    "azureFile": azure_file,
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": azure_disk,
    "storageos": storage_os,
    "scaleIO": _needs("gateway", "system", "volumeName"),
}
_CHECKED_AT = {"gcePersistentDisk": "persistentDisk"}
_REFUSED_AT = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
"""Paths that upstream spells otherwise than the field."""


def check_one_of(
    errors: Errors, holder: Source, order: tuple[str, ...], checks: Mapping[str, Check], path: str, owner: str, *,
    persistent: bool = False,
) -> None:  # fmt: skip
    """Exactly one source, which must be right. ``order`` is that of upstream's checks."""
    found = False
    for kind in order:
        source = holder.get(kind)
        if source is None:
            continue
        if found:
            at = f"{path}.{_REFUSED_AT.get(kind, kind)}"
            errors.append(field_forbidden(at, "may not specify more than 1 volume type"))
        else:
            found = True
            checks[kind](errors, source, Place(f"{path}.{_CHECKED_AT.get(kind, kind)}", owner, persistent))
    if not found:
        errors.append(required(path, "must specify a volume type"))
