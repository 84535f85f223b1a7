"""The running Linux: bpf(2), netlink, namespaces, packets. It knows nothing of the embedded side."""
