"""The `generate` command: one video from files, without the service."""
