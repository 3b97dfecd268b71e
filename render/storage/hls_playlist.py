"""The stored pieces of a film as a playlist of HLS (RFC 8216): it can be watched while the rest of it renders."""

from math import ceil
from typing import Any, cast

from render.engines.base import FPS
from render.models import Render
from render.storage import media

CONTENT_TYPE = "application/vnd.apple.mpegurl"


def media_playlist(render: Render) -> str:
    """The playlist (RFC 8216, 4.3) of what is recorded; one query. `render` has a plan.

    There is no EXT-X-MEDIA-SEQUENCE, which defaults to 0: by that tag Chromium's own player tells a broadcast, which it
    joins at its end.
    """
    plan = cast(dict[str, Any], render.plan)
    # From the plan, because it must never change (4.3.3.1), whatever is there already.
    longest = max(span["stop"] - span["start"] for span in plan["segments"])
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",  # durations with a fraction (RFC 8216, 7)
        f"#EXT-X-TARGETDURATION:{ceil(longest / FPS)}",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0",  # else a player begins near the end, as with a broadcast
    ]
    # Read after the render: once that is terminal, no segment can be added any more.
    for segment in render.segments.all():
        lines += [f"#EXTINF:{segment.frames / FPS:.2f},", media.link(segment.key)]
    if render.is_terminal:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join([*lines, ""])
