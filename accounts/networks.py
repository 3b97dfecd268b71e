"""Parse and compare clients' IP addresses and networks. An IPv4 address written as IPv6 becomes the IPv4 address."""

import ipaddress
import re
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # IPv4 addresses written as IPv6 (RFC 4291, 2.5.5.2)
# With a port (`10.0.0.1:80`, `[2001:db8::1]:80`), or in brackets without one.
WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.%\w-]+)\](?::\d{1,5})?|(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}")


def parse_address(text: str) -> Address | None:
    """Return the address in the text of a proxy or a socket, without port, brackets and zone. None if there is none."""
    text = text.strip()
    if match := WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def parse_network(text: str) -> Network:
    """Return the network in CIDR notation; a single address is a network of one. Raises ValueError."""
    if "%" in text:
        raise ValueError("A zone has a meaning on one machine only.")
    network = ipaddress.ip_network(text.strip(), strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED):
        first = network.network_address.ipv4_mapped
        return ipaddress.ip_network(f"{first}/{network.prefixlen - MAPPED.prefixlen}")
    return network


def is_in(address: Address | None, networks: Iterable[str]) -> bool:
    return address is not None and any(address in parse_network(network) for network in networks)


def are_within(inner: Iterable[str], outer: Iterable[str]) -> bool:
    """Whether every address of `inner` is in `outer`. Neighboring networks in `outer` count as one."""
    parsed = [parse_network(network) for network in outer]
    # One call for each version: collapse_addresses refuses a mix.
    collapsed: list[Network] = [
        *ipaddress.collapse_addresses(network for network in parsed if isinstance(network, ipaddress.IPv4Network)),
        *ipaddress.collapse_addresses(network for network in parsed if isinstance(network, ipaddress.IPv6Network)),
    ]
    return all(any(_is_subnet(parse_network(network), other) for other in collapsed) for network in inner)


def _is_subnet(network: Network, other: Network) -> bool:
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]
