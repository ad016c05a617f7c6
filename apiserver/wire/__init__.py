"""Request bodies in Kubernetes' protobuf encoding.

Go clients since 1.32, kubectl among them, encode what they send for built-in kinds this way and do not fall back to
JSON (they do take JSON answers). So such a body becomes JSON before anything else looks at it: ``transcode`` reads the
envelope, ``table`` says what each field number means, ``generate`` made that table.
"""
