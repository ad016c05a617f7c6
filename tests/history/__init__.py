"""A test in the style of Jepsen (https://jepsen.io): many clients write, read and watch over several API servers while
etcd and the servers are killed, held and compacted; what each client saw is written down, and then checked against what
etcd says has happened.

- ``records``: what clients write down
- ``checker``: the laws, as one pure function; tests/unit/apiserver/test_history_checker.py shows that each can fail
- ``clients``: the clients
- ``faults``: what is done to the servers meanwhile
- ``truth``: what etcd says has happened

By hand, longer: ``COX_HISTORY_SECONDS=600 pytest tests/integration/apiserver/test_history.py``.
"""
