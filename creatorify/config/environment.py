"""Typed reading of environment variables.

A wrong value raises ImproperlyConfigured, in one sentence that names the variable. NAME_FILE gives the value of NAME as
a file. An empty value counts as not set.
"""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

TRUE = ("true", "on", "ok", "y", "yes", "1")
FALSE = ("false", "off", "n", "no", "0")
URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")
# Becomes part of a User-Agent header, between round brackets: so it may contain none.
CONTACT = re.compile(r"https?://[!-'*-~]{1,200}|(mailto:)?[!-'*-?A-~]{1,64}@[!-'*-?A-~]{1,200}")


class Environment:
    def __init__(self) -> None:
        self._variables = FileAwareMapping()

    def text(self, name: str, default: str = "") -> str:
        try:
            return str(self._variables.get(name, "")) or default
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(f"The file that {name}_FILE names cannot be read: {error}") from error

    def flag(self, name: str) -> bool:
        """False unless the variable is set to one of TRUE."""
        value = self.text(name).strip().lower()
        if value not in (*TRUE, *FALSE, ""):
            _refuse(name, value, "true or false")
        return value in TRUE

    def whole(self, name: str, default: int, *, least: int = 0) -> int:
        try:
            value = int(self.text(name).strip() or default)
        except ValueError:
            value = least - 1
        if value < least:
            _refuse(name, self.text(name).strip(), f"a whole number, {least} or more")
        return value

    def number(self, name: str, default: float, *, least: float = 0.001) -> float:
        """least: a thousandth by default, because most are times in seconds, and a loop must pause at all."""
        try:
            value = float(self.text(name).strip() or default)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            _refuse(name, self.text(name).strip(), f"a number, {least:g} or more")
        return value

    def choice(self, name: str, default: str, choices: Collection[str]) -> str:
        value = self.text(name, default).strip()
        if value not in choices:
            _refuse(name, value, f"one of {', '.join(choices)}")
        return value

    def choices(self, name: str, default: list[str], choices: Collection[str]) -> list[str]:
        """Separated by commas."""
        values = self.texts(name, default)
        if not set(values) <= set(choices):
            _refuse(name, ",".join(values), f"some of {', '.join(choices)}, separated by commas")
        return values

    def texts(self, name: str, default: list[str], *, pattern: str = ".*", expected: str = "") -> list[str]:
        """Separated by commas. pattern: a regular expression that each must match; expected: the same in words."""
        value = self.text(name)
        values = [part.strip(" ") for part in value.split(",") if part.strip()]
        if not all(re.fullmatch(pattern, part, re.DOTALL) for part in values):
            _refuse(name, value, expected)
        return values or default

    def numbers(self, name: str, default: list[float]) -> list[float]:
        """Separated by commas."""
        values = self.texts(name, [], pattern=r"\d+(\.\d+)?", expected="numbers, separated by commas")
        return [float(value) for value in values] or default

    def url(self, name: str) -> str:
        """An http or https address without query; empty if the variable is not set."""
        value = self.text(name).strip()
        if value and not URL.fullmatch(value):
            _refuse(name, value, "an address that begins with http:// or https://")
        return value

    def contact(self, name: str) -> str:
        """A web or mail address; empty if the variable is not set."""
        value = self.text(name).strip()
        if value and not CONTACT.fullmatch(value):
            _refuse(name, value, "an address that begins with http:// or https://, or a mail address")
        return value

    def path(self, name: str, default: Path) -> Path:
        return Path(self.text(name, str(default)))

    def file(self, name: str) -> str:
        """The path of an existing file; empty if the variable is not set."""
        value = self.text(name)
        if value and not Path(value).is_file():
            _refuse(name, value, "the name of a file that is there")
        return value


def _refuse(name: str, value: str, expected: str) -> NoReturn:
    raise ImproperlyConfigured(f"The environment variable {name} is {value!r}, and must be {expected}.")
