#!/usr/bin/env python3
"""podstart.py N KUBECONFIG IMAGE: create N pods at once; print created -> running as a watch sees it, then the deletion."""

import json
import subprocess
import sys
import threading
import time

n, kc, img = int(sys.argv[1]), sys.argv[2], sys.argv[3]
kubectl = ["kubectl", "--kubeconfig", kc, "-n", "default"]
pods = [
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"st-{n}-{i}", "labels": {"app": "st"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "c", "image": img, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "10000"]}
            ],
        },
    }
    for i in range(n)
]
watch = subprocess.Popen(
    kubectl + ["get", "--raw", "/api/v1/namespaces/default/pods?watch=1&labelSelector=app%3Dst"],
    stdout=subprocess.PIPE,
    text=True,
)
seen, gone, created = {}, {}, {}


def read():
    for line in watch.stdout:
        e = json.loads(line)
        name = e["object"]["metadata"]["name"]
        if e["type"] == "DELETED":
            gone[name] = time.time()
        statuses = e["object"].get("status", {}).get("containerStatuses") or []
        if statuses and all("running" in c["state"] for c in statuses):
            seen.setdefault(name, time.time())


threading.Thread(target=read, daemon=True).start()
time.sleep(1.5)
p = subprocess.Popen(kubectl + ["create", "-f", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
t0 = time.time()
p.stdin.write(json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
p.stdin.close()
for line in p.stdout:
    created[line.split("/")[1].split()[0]] = time.time()
while len(seen) < n and time.time() - t0 < 240:
    time.sleep(0.02)
lat = sorted(seen[k] - created[k] for k in seen if k in created) or [-1]
span = max(seen.values(), default=t0) - t0
print(
    f"{n} pods: running {len(seen)} in {span:.2f} s; latency p50 {lat[len(lat) // 2]:.2f} s max {lat[-1]:.2f} s; {len(seen) / span if span else 0:.1f} pods/s",
    flush=True,
)
t0 = time.time()
subprocess.run(kubectl + ["delete", "pods", "-l", "app=st", "--wait=false"], stdout=subprocess.DEVNULL)
while len(gone) < n and time.time() - t0 < 240:
    time.sleep(0.02)
print(f"   {len(gone)} deleted in {time.time() - t0:.2f} s", flush=True)
watch.kill()
