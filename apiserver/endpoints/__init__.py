"""The verbs of the API: a file each, over one small request and one small answer.

``paths`` says what a URL means, ``options`` what its query says, ``views`` how an object is written for this client
(JSON, Table, metadata only), ``metadata`` what is true of every object's metadata. The verbs know nothing of single
kinds: what is special about one is in its row of the resource table.
"""
