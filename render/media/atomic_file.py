"""Files that appear complete or not at all, because a worker may be killed while it writes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(destination: Path) -> Iterator[Path]:
    """Give a temporary path to write to. After the block it is renamed to `destination`; after an error, removed."""
    handle, name = tempfile.mkstemp(dir=destination.parent, prefix=".", suffix=destination.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
