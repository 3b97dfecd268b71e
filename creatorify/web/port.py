"""Parsing of the option --port."""

from argparse import ArgumentTypeError


def port_number(text: str) -> int:
    """For `type` of argparse. Raises ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise ArgumentTypeError(f"{text} is not a port: it must be a number from 1 to 65535")
    return int(text)
