"""Parse JSON bodies, limited in size and depth."""

import io
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from accounts.errors import ServiceError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50  # Code that reads the parsed body is recursive; this keeps it far from Python's recursion limit.


class BoundedJSONParser(JSONParser):
    """Raises ServiceError `payload_too_large`, and ParseError for other faults of the body."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        # DRF reads the stream itself, so Django's DATA_UPLOAD_MAX_MEMORY_SIZE does not apply.
        body = stream.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise ServiceError("payload_too_large", f"A body may have at most {MAX_BYTES} bytes.")
        too_deep = ParseError(f"JSON parse error - nested more than {MAX_DEPTH} deep")
        try:
            data = super().parse(io.BytesIO(body), media_type, parser_context)
        except RecursionError:
            raise too_deep from None
        if not _is_shallow(data):
            raise too_deep
        return data


def _is_shallow(data: Any) -> bool:
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return True
    return False
