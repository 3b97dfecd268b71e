"""Quota and usage: holds, charges, sums, statements, and the endpoints under /api/v1/usage."""
