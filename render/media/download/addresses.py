"""Which addresses (URLs) of customers may be fetched at all, before their names are looked up."""

import httpx

MAX_HOST = 253  # characters, RFC 1035


def parse_address(url: str, base: httpx.URL | None = None) -> httpx.URL | None:
    """The address; None for one that is never fetched: another scheme, a password, no host or an impossible one.

    base: the address that redirects to `url`, which may be relative.
    """
    try:
        address = base.join(url) if base else httpx.URL(url)
        host = address.host  # decodes an international name
    except (httpx.InvalidURL, UnicodeError):
        return None
    if address.scheme not in ("http", "https") or address.userinfo:
        return None
    if not host or len(host) > MAX_HOST or ".." in host:
        return None
    if address.port is not None and not 0 < address.port < 65_536:
        return None
    return address
