"""The import of projects from the older service."""
