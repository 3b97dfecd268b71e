"""Whether the recorded segments of a render are the ones that its plan says."""

from typing import Any, cast

from render.models import Render


class WrongSegments(Exception):
    """A recorded segment is missing or has another length than planned. The text says which, and what was expected."""

    def __init__(self, message: str, *, first: int) -> None:
        super().__init__(message)
        self.first = first  # index of the first wrong segment


def require_planned_segments(render: Render) -> int:
    """Return the number of frames of all recorded segments. Raises WrongSegments."""
    ranges = cast(dict[str, Any], render.plan)["segments"]
    planned = {index: span["stop"] - span["start"] for index, span in enumerate(ranges)}
    recorded = {segment.index: segment.frames for segment in render.segments.all()}
    wrong = sorted(index for index in planned.keys() | recorded.keys() if planned.get(index) != recorded.get(index))
    if wrong:
        lengths = [
            f"segment {index}: {recorded.get(index, 'no')} frames instead of {planned.get(index, 'none')}"
            for index in wrong
        ]
        raise WrongSegments(f"Render {render.pk} has wrong segments; {', '.join(lengths)}", first=wrong[0])
    return sum(recorded.values())
