"""kube-scheduler: finds a node for every pod that has none."""

import os

# NumPy's linear algebra, which is not used here, would start a thread and reserve memory for every core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
