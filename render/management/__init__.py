"""The management commands of `render`."""
