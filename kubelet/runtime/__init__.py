"""Docker behind an interface shaped like CRI; the only place in the kubelet that knows Docker."""
