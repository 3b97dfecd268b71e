"""The limits of a process that decodes a customer's file: CPU time, memory, files."""

import resource
from dataclasses import dataclass

# The largest image needs 1.25 GB, a 4K video 0.5 GB, the program itself 0.1 GB.
MEMORY_BYTES = 2 * 2**30
OPEN_FILES = 64


@dataclass(frozen=True)
class Limits:
    cpu_seconds: int  # of all threads together
    file_bytes: int  # of each file that the process writes
    memory_bytes: int = MEMORY_BYTES  # private and writable; the code of libraries does not count

    @property
    def wall_seconds(self) -> float:
        """More than the CPU time, for a busy machine and a slow disk."""
        return 2 * self.cpu_seconds + 60


def apply(limits: Limits) -> None:
    """Limit this process for good. Beyond a limit it gets MemoryError, OSError EFBIG or EMFILE, or SIGXCPU."""
    # Not RLIMIT_AS: that counts memory that is only reserved, as libraries do by the gigabyte.
    _limit(resource.RLIMIT_DATA, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)  # a core dump would be as large as the memory, and hold customers' images
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1)


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))
