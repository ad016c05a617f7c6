"""The annotation that client-side apply keeps, for objects that move to server-side apply and back.

``kubectl apply`` without ``--server-side`` writes ``kubectl.kubernetes.io/last-applied-configuration``. While it is
there, what it says counts as owned by the manager ``kubectl``, and server-side apply by that manager keeps it true.
https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply;
upstream: lastappliedmanager.go and lastappliedupdater.go.
"""

from __future__ import annotations

import json

import orjson

from apiserver.managedfields.sets import LEAF, Fields, FieldsError, difference
from apiserver.managedfields.typed import field_set
from apiserver.managedfields.types import Struct
from apiserver.managedfields.validate import check
from apiserver.types import Object

MANAGER = "kubectl"
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
MAX_ANNOTATIONS = 256 * 1024


def annotation_of(obj: Object) -> str:
    return (obj["metadata"].get("annotations") or {}).get(ANNOTATION) or ""


def owned_by_client(kind: Struct, live: Object) -> Fields:
    """The fields that client-side apply set and that are still as it set them."""
    try:
        applied = orjson.loads(annotation_of(live))
    except orjson.JSONDecodeError:
        return LEAF
    if not isinstance(applied, dict) or applied.get("apiVersion") != live.get("apiVersion") or check(kind, applied):
        return LEAF
    try:
        changed, removed = kind.compare(applied, live)
        fields = field_set(kind, applied)
    except FieldsError:
        return LEAF
    return difference(difference(fields, changed or LEAF), removed or LEAF)


def update_annotation(obj: Object, config: Object) -> None:
    """Writes what was applied into the annotation, if the object has one."""
    if not annotation_of(obj):
        return
    metadata = config.get("metadata") or {}
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != ANNOTATION}
    if metadata.get("annotations"):
        metadata = {k: v for k, v in metadata.items() if k != "annotations"}
        if annotations:
            metadata["annotations"] = annotations
    text = json.dumps({**config, "metadata": metadata}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":  # as Go writes JSON
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    kept = {**obj["metadata"]["annotations"], ANNOTATION: text + "\n"}
    if sum(len(k.encode()) + len(v.encode()) for k, v in kept.items()) > MAX_ANNOTATIONS:
        del kept[ANNOTATION]
    obj["metadata"] = {**obj["metadata"], "annotations": kept}
