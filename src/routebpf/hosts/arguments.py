"""What a caller hands to a host, as values: what is none is an InputError that says what is wanted.

Numbers and names are refused as the kernel refuses them, before anything is changed.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Any

from routebpf.datapath.fib import ROUTE_TYPES, Hop, Prefix
from routebpf.errors import InputError
from routebpf.hosts.device_names import LONGEST_NAME, is_device_name
from routebpf.spec.program_types import PROGRAM_TYPES

_MTU_RANGE = (68, 65535)  # kernel: ETH_MIN_MTU, ETH_MAX_MTU; dev_validate_mtu()
_MAC_BYTES = 6
_LAST_NANOSECOND = (1 << 63) - 1
# By the name of the argument, and of the field of a `Hop`: `in` is a word of Python.
HOOK_TYPES = {"in_" if row.hook == "in" else row.hook: row.name for row in PROGRAM_TYPES}
_U32, _U8 = (1 << 32) - 1, 255


def address_of(text: str, what: str) -> IPv4Address | IPv6Address:
    """An address. `what` names its role in the error."""
    try:
        return ip_address(text)
    except ValueError as error:
        raise InputError(f"{what} {text}: {error}") from None


def interface_of(device: str, text: str) -> IPv4Interface | IPv6Interface:
    """An address of a device with its prefix length, as "10.0.0.1/24"."""
    try:
        return ip_interface(text)
    except ValueError as error:
        raise InputError(f"device {device}: {error}; an address is written 10.0.0.1/24 or fd00::1/64") from None


def is_bare_ipv4(address: str) -> bool:
    """Whether an address is of IPv4 and without a prefix length: it is then deleted whatever its length, as by `ip`."""
    return "/" not in address and ":" not in address


def network_of(prefix: str, via: str | None, source: str | None) -> Prefix:
    """A route's prefix; "default" is of the family that its gateway or source has, IPv4 if it has none."""
    if prefix == "default":
        like = next((one for one in (via, source) if one), "0.0.0.0")
        return ip_network("::/0" if address_of(like, "route default:").version == 6 else "0.0.0.0/0")
    try:
        return ip_network(prefix)
    except ValueError as error:
        raise InputError(f"route {prefix}: {error}") from None


def check_device(name: str, mtu: int | None, mac: bytes | None, *, is_loopback: bool) -> None:
    """Refuse a name, an MTU or a link address that no device has; None: not said."""
    if not is_device_name(name):
        raise InputError(f'device {name!r}: a name has 1 to {LONGEST_NAME} bytes, without "/", ":" and spaces')
    least, most = (0, _U32 >> 1) if is_loopback else _MTU_RANGE
    if mtu is not None and not least <= mtu <= most:
        raise InputError(f"device {name}: its MTU is {mtu}; it is {least} to {most} (Invalid argument)")
    if mac is not None:
        check_mac(f"device {name}", mac)


def check_mac(what: str, mac: bytes) -> None:
    """Refuse what is no Ethernet address."""
    if not isinstance(mac, bytes) or len(mac) != _MAC_BYTES:
        shown = f"{len(mac)} bytes" if isinstance(mac, bytes) else repr(mac)
        raise InputError(f"{what}: its MAC address is {shown}; give {_MAC_BYTES}, as bytes.fromhex('020000000001')")


def check_route(
    prefix: Prefix, type: str, hops: tuple[Hop, ...], *, table: int, metric: int | None, tos: int, mtu: int
) -> None:
    """Refuse the type, the numbers and the programs that no route has."""
    where = f"route {prefix}"
    if type not in ROUTE_TYPES:
        raise InputError(f"{where}: its type is {type}; there are {', '.join(ROUTE_TYPES)}")
    numbers = (("table", table, _U32), ("metric", metric or 0, _U32), ("tos", tos, _U8), ("mtu", mtu, _U32))
    for name, value, most in numbers:
        if not 0 <= value <= most:
            raise InputError(f"{where}: its {name} is {value}; it is 0 to {most}")
    for hop in hops:
        if not 0 <= hop.realm <= _U32:
            raise InputError(f"{where}: its realm is {hop.realm}; it is 0 to {_U32}")
        for hook, wanted in HOOK_TYPES.items():
            _check_program(f"{where}: {hook}", getattr(hop, hook), wanted)


def _check_program(what: str, program: Any, wanted: str) -> None:
    if program is None:
        return
    found = getattr(program, "program_type", None)
    if found is None:
        raise InputError(f"{what}: {program!r} is no program; give one of an object's programs: obj.programs[NAME]")
    if found != wanted:
        raise InputError(f"{what}: {program.name} is an {found} program; {what.rpartition(' ')[2]} takes {wanted}")


def check_packet(packet: bytes, time: int) -> bytes:
    """The packet as bytes. `time` in ns."""
    if not isinstance(packet, (bytes, bytearray, memoryview)):
        raise InputError(f"a packet is bytes, from its IP header on, not {type(packet).__name__}")
    check_time("the packet's time", time)
    return bytes(packet)


def check_time(what: str, time: object) -> None:
    """Refuse what is no time in ns."""
    if not isinstance(time, int) or not 0 <= time <= _LAST_NANOSECOND:
        raise InputError(f"{what} is {time!r}; it is a number of nanoseconds, 0 to {_LAST_NANOSECOND}")


def check_clock(clock: object) -> None:
    """Refuse what is no clock of a host: "capture", "machine" or a time in ns."""
    if clock not in ("capture", "machine"):
        check_time("a host's clock, if neither 'capture' nor 'machine',", clock)


def check_seed(seed: object) -> None:
    """Refuse what is no seed of random numbers."""
    if not isinstance(seed, int):
        raise InputError(f"a host's seed is {seed!r}; it is a whole number")


def check_cpus(cpus: object) -> None:
    """Refuse what is no number of CPUs."""
    if not isinstance(cpus, int) or cpus < 1:
        raise InputError(f"a number of CPUs is at least 1, not {cpus!r}")
