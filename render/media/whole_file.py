"""Files that are there whole or not at all, because a worker may be killed while it writes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(destination: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the name `destination` when the block ends well, else it is removed."""
    handle, name = tempfile.mkstemp(dir=destination.parent, prefix=".", suffix=destination.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
