"""The embedded host: captures in and out, devices, routes, neighbours, and the path of a packet through `bpf_xmit`."""
