"""The paths that the layers around Django treat in a way of their own, each once.

Django resolves paths later, in its threads, by the patterns in `urls.py` of the apps; a test compares the two.
"""

import re

from asgiref.typing import HTTPScope

# The group is the token of the upload, or the id of the project.
UPLOAD = re.compile(r"/api/v1/uploads/([^/]+)/content/?")
EVENTS = re.compile(r"/api/v1/projects/[^/]+/events/?")
STATUS = re.compile(r"/api/v1/projects/([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})/status/?")


def upload_token(scope: HTTPScope) -> str | None:
    """The token, if the request is the PUT of an upload's file."""
    match = UPLOAD.fullmatch(scope["path"]) if scope["method"] == "PUT" else None
    return match[1] if match else None
