"""Whether a run is slower, or takes more memory, than an earlier run of the same workload on the same machine."""

from collections.abc import Iterator
from typing import Any

# Worse is by this factor and by this amount.
SLOWER, SLOWER_SECONDS = 1.08, 0.5
LARGER, LARGER_BYTES = 1.05, 256e6


def regressions(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """old, new: reports as JSON. Returns a line for each case that is worse."""
    # Reports of another machine or workload cannot be compared.
    if any(old[part] != new[part] for part in ("machine", "workload")):
        return []
    before = {_identity(variant): variant for variant in old["variants"]}
    lines = []
    for variant in new["variants"]:
        known = before.get(_identity(variant))
        if known is not None:
            lines += [f"{variant['name']}: {line}" for line in _worse(known, variant)]
    return lines


def _identity(variant: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(variant[name] for name in ("name", "plan", "attention", "compiled"))


def _worse(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before = {chunk["schedule"]: chunk["timing"]["seconds"] for chunk in old["chunks"]}
    for chunk in new["chunks"]:
        was, now = before.get(chunk["schedule"]), chunk["timing"]["seconds"]
        if was is not None and now > SLOWER * was and now - was > SLOWER_SECONDS:
            yield f"a chunk at {chunk['schedule']} takes {now:.2f} s, it took {was:.2f} s"
    was, now = old["peak_allocated_bytes"], new["peak_allocated_bytes"]
    if was is not None and now is not None and now > LARGER * was and now - was > LARGER_BYTES:
        yield f"it takes {now / 1e9:.2f} GB, it took {was / 1e9:.2f} GB"
