"""What a valid object looks like: decoding, pruning and OpenAPI, all from upstream's published definitions."""

from apiserver.schema.decode import Decoded, conform, decode, sent_kind

__all__ = ["Decoded", "conform", "decode", "sent_kind"]
