"""How many connections a web process may hold, so that it never runs out of file descriptors."""

import resource

from django.conf import settings

DESCRIPTORS_OF_A_CONNECTION = 2  # its socket, and the file that it sends or receives
OTHER_DESCRIPTORS = 200  # of database connections, libraries and logs
UNLIMITED_DESCRIPTORS = 65_536  # counted where the machine sets no limit


def raise_descriptor_limit() -> None:
    """Raise this process's limit of file descriptors as far as the machine allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        soft = hard
    elif soft != resource.RLIM_INFINITY:
        soft = max(soft, UNLIMITED_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def most() -> int:
    """The number that may be open at once: MAX_CONNECTIONS, or fewer if the limit of descriptors is too low."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = UNLIMITED_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    possible = (descriptors - OTHER_DESCRIPTORS) // DESCRIPTORS_OF_A_CONNECTION
    return max(min(settings.MAX_CONNECTIONS, possible), 1)
