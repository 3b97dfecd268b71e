"""What a process that decodes a stranger's file may use."""

import resource
from dataclasses import dataclass

# The largest picture needs 1.25 GB, a 4K film 0.5 GB, the program itself 0.1 GB.
MEMORY_BYTES = 2 * 2**30
OPEN_FILES = 64


@dataclass(frozen=True)
class Limits:
    cpu_seconds: int  # of all threads together
    file_bytes: int  # of each file that it writes
    memory_bytes: int = MEMORY_BYTES  # private and writable; libraries' code does not count

    @property
    def wall_seconds(self) -> float:
        """It may wait for its turn on a busy machine, and for a slow disk."""
        return 2 * self.cpu_seconds + 60


def apply(limits: Limits) -> None:
    """Limit this process, for good. What is too much ends in MemoryError, OSError EFBIG or EMFILE, or SIGXCPU."""
    # Not RLIMIT_AS: that counts what is only reserved, which libraries do by the gigabyte.
    _limit(resource.RLIMIT_DATA, limits.memory_bytes)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_CORE, 0)  # It would be as large as the memory, and hold customers' pictures.
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1)


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    _, most = resource.getrlimit(kind)
    hard = soft if hard is None else hard
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(kind, (soft, hard))
