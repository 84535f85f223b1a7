"""Hosts: things with devices, addresses, neighbours, routes, maps and a clock, that send packets."""
