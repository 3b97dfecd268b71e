"""The port of the web server, as a command line names it."""

from argparse import ArgumentTypeError


def port_number(text: str) -> int:
    """For argparse's `type`."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise ArgumentTypeError(f"{text} is no port: a number from 1 to 65535 is wanted")
    return int(text)
