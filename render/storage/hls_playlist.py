"""The stored segments of a video as an HLS playlist (RFC 8216): it can be watched while the rest still renders."""

from math import ceil
from typing import Any, cast

from render.engines.base import FPS
from render.models import Render
from render.storage import media

CONTENT_TYPE = "application/vnd.apple.mpegurl"


def media_playlist(render: Render) -> str:
    """The media playlist (RFC 8216, 4.3) of the recorded segments, by one query. `render` must have a plan.

    It has no EXT-X-MEDIA-SEQUENCE, which defaults to 0: Chromium's player takes a playlist with that tag for a live
    broadcast and starts at its end.
    """
    plan = cast(dict[str, Any], render.plan)
    # From the whole plan, because the value must never change (4.3.3.1).
    longest = max(span["stop"] - span["start"] for span in plan["segments"])
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",  # durations with a fraction (RFC 8216, 7)
        f"#EXT-X-TARGETDURATION:{ceil(longest / FPS)}",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0",  # Without it players start near the end, as with a broadcast.
    ]
    # The render was read before the segments: once it is terminal, no segment is added any more.
    for segment in render.segments.all():
        lines += [f"#EXTINF:{segment.frames / FPS:.2f},", media.link(segment.key)]
    if render.is_terminal:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join([*lines, ""])
