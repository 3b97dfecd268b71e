"""What a customer has requested, as readable text: used on the pages of renders and of projects."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.html import format_html, format_html_join

from accounts.admin.base import NOTHING, preformatted

AUDIO_ORDERS = {
    "left_right": "the first voice, then the second one",
    "right_left": "the second voice, then the first one",
    "meanwhile": "both at once",
}


def script_text(script: Mapping[str, Any] | None) -> str:
    """The voice and the language, then the text with its line breaks."""
    if not script:
        return NOTHING
    about = [f"{name}: {script[name]}" for name in ("voice", "language") if script.get(name)]
    return format_html("{}{}", ", ".join(about), preformatted(script.get("text")))


def values_table(values: Mapping[str, Any] | None) -> str:
    """One row for each name; None is shown as `default`."""
    rows = [(name, "default" if value is None else value) for name, value in (values or {}).items()]
    if not rows:
        return NOTHING
    return format_html("<table>{}</table>", format_html_join("", "<tr><th>{}</th><td>{}</td></tr>", rows))


def warnings_list(warnings: Sequence[Mapping[str, Any]]) -> str:
    """One line for each warning: the parameter, the text for the customer, the code."""
    rows = [(warning["param"] or NOTHING, warning["detail"], warning["code"]) for warning in warnings]
    if not rows:
        return NOTHING
    return format_html("<ul>{}</ul>", format_html_join("", "<li>{}: {} ({})</li>", rows))


def audio_order_text(order: str, second_audio: str | None) -> str:
    """With one voice there is no order."""
    return AUDIO_ORDERS.get(order, order) if second_audio else NOTHING


def speakers_text(speakers: Sequence[Mapping[str, Any]]) -> str:
    """Whose face each voice moves, as requested."""
    try:
        return "; ".join(f"audio {speaker['audio']}: {_face_text(speaker['face'])}" for speaker in speakers) or NOTHING
    except (KeyError, TypeError):  # Of another version: the page must open all the same.
        return preformatted(speakers)


def _face_text(face: Mapping[str, Any]) -> str:
    if "index" in face:
        return f"face {face['index']}, from the left and from 0 on"
    return "the face in " + ", ".join(f"{name} {share:g}" for name, share in face["box"].items())


def frame_text(frame: Mapping[str, Any] | None) -> str:
    """The size of the video, and which part of the image it shows."""
    if not frame:
        return NOTHING
    crop = frame.get("crop")
    part = ", ".join(f"{name} {share:g}" for name, share in crop.items()) if crop else "all of the image"
    return f"{frame.get('width')} x {frame.get('height')} pixels; shows {part}"


def plan_text(plan: Mapping[str, Any] | None) -> str:
    """The size, and the first and the last frame of each segment."""
    if not plan:
        return NOTHING
    try:
        size, num_frames = f"{plan['width']} x {plan['height']} pixels", plan["num_frames"]
        segments = ", ".join(f"{span['start']} to {span['stop'] - 1}" for span in plan["segments"])
    except (KeyError, TypeError):  # Of another version: the page must open all the same.
        return preformatted(plan)
    return f"{size}, {num_frames} frames; segments: {segments}"
