"""Decoding of customers' files in a process with limits. The rest of the service uses only `calls` of this package."""
