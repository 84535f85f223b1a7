"""routebpf: put an eBPF program on a route, and see, test and trust what it does."""
