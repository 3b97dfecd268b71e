"""How many connections a web process may hold: so many that it never runs out of file descriptors."""

import resource

from django.conf import settings

OF_A_CONNECTION = 2  # its socket, and the file that it sends or receives
OTHER_DESCRIPTORS = 200  # of database connections, libraries and logs
WITHOUT_A_LIMIT = 65_536  # descriptors that are used where the machine allows any number


def raise_descriptor_limit() -> None:
    """As far as this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        soft = hard
    elif soft != resource.RLIM_INFINITY:
        soft = max(soft, WITHOUT_A_LIMIT)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def most() -> int:
    """That may be open at once: MAX_CONNECTIONS, or what the limit of descriptors allows."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = WITHOUT_A_LIMIT if soft == resource.RLIM_INFINITY else soft
    wanted: int = settings.MAX_CONNECTIONS
    return max(min(wanted, (descriptors - OTHER_DESCRIPTORS) // OF_A_CONNECTION), 1)
