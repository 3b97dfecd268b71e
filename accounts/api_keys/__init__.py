"""API keys: issuing, checking and revoking them, and the endpoints under /api/v1/keys."""
