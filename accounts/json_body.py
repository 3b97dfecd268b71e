"""JSON bodies, bounded in size and depth."""

import io
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from accounts.errors import ServiceError

MAX_BYTES = 1_000_000


class BoundedJSONParser(JSONParser):
    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        # DRF reads the stream itself, past Django's DATA_UPLOAD_MAX_MEMORY_SIZE.
        body = stream.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise ServiceError("payload_too_large", f"A body may have {MAX_BYTES} bytes.")
        try:
            return super().parse(io.BytesIO(body), media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deeply") from None
