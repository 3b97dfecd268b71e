"""Addresses and networks of clients, in one form each: an IPv4 address that is written as IPv6 is the IPv4 address."""

import ipaddress
import re
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291, 2.5.5.2: IPv4 addresses as IPv6
# With a port: `10.0.0.1:80`, `[2001:db8::1]:80`; or in brackets alone.
WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.%\w-]+)\](?::\d{1,5})?|(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}")


def parse_address(text: str) -> Address | None:
    """The address that a proxy or a socket names, without port, brackets and zone; None for what is no address."""
    text = text.strip()
    if match := WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def parse_network(text: str) -> Network:
    """An address or a network in CIDR notation. Raises ValueError."""
    if "%" in text:
        raise ValueError("A zone means something on one machine only.")
    network = ipaddress.ip_network(text.strip(), strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(MAPPED):
        lowest = network.network_address.ipv4_mapped
        return ipaddress.ip_network(f"{lowest}/{network.prefixlen - MAPPED.prefixlen}")
    return network


def is_in(address: Address | None, networks: Iterable[str]) -> bool:
    return address is not None and any(address in parse_network(network) for network in networks)


def are_within(inner: Iterable[str], outer: Iterable[str]) -> bool:
    """Whether every address of `inner` is in `outer`; two halves of a network are as good as the network."""
    parsed = [parse_network(network) for network in outer]
    wide: list[Network] = [
        *ipaddress.collapse_addresses(network for network in parsed if isinstance(network, ipaddress.IPv4Network)),
        *ipaddress.collapse_addresses(network for network in parsed if isinstance(network, ipaddress.IPv6Network)),
    ]
    return all(any(_is_part(parse_network(network), of) for of in wide) for network in inner)


def _is_part(network: Network, of: Network) -> bool:
    return network.version == of.version and network.subnet_of(of)  # type: ignore[arg-type]
