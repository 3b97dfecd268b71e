"""The paths that the layers around Django must know before Django has resolved them."""

import re

UPLOAD = re.compile(r"/api/v1/uploads/([^/]+)/content/?")
EVENTS = re.compile(r"/api/v1/projects/[^/]+/events/?")
STATUS = re.compile(r"/api/v1/projects/([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})/status/?")
