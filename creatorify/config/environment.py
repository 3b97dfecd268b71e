"""The environment variables, each with what it must be. A wrong one raises ImproperlyConfigured, in one sentence that
names it. NAME_FILE gives the value of NAME as a file; an empty value counts as none.
"""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from environ import Env
from environ.fileaware_mapping import FileAwareMapping

TRUE, FALSE = ("true", "on", "ok", "y", "yes", "1"), ("false", "off", "n", "no", "0")
# It goes into a header, between round brackets.
CONTACT = re.compile(r"https?://[!-'*-~]{1,200}|(mailto:)?[!-'*-?A-~]{1,64}@[!-'*-?A-~]{1,200}")
URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


class Environment:
    def __init__(self) -> None:
        self._variables = FileAwareMapping()

    def text(self, name: str, default: str = "") -> str:
        try:
            return str(self._variables.get(name, "")) or default
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(f"The file that {name}_FILE names cannot be read: {error}") from error

    def flag(self, name: str) -> bool:
        """False unless it is given."""
        given = self.text(name).strip().lower()
        if given not in (*TRUE, *FALSE, ""):
            _refuse(name, given, "true or false")
        return given in TRUE

    def whole(self, name: str, default: int, *, least: int = 0) -> int:
        return int(self._number(name, default, least, int, f"a whole number, {least} or more"))

    def number(self, name: str, default: float, *, least: float = 0.001) -> float:
        """least: by default a thousandth, as a time of nothing would never rest."""
        return float(self._number(name, default, least, float, f"a number, {least:g} or more"))

    def choice(self, name: str, default: str, choices: Collection[str]) -> str:
        given = self.text(name, default).strip()
        if given not in choices:
            _refuse(name, given, f"one of {', '.join(choices)}")
        return given

    def choices(self, name: str, default: list[str], choices: Collection[str]) -> list[str]:
        """Separated by commas."""
        parts = self.texts(name, default)
        if not set(parts) <= set(choices):
            _refuse(name, ",".join(parts), f"some of {', '.join(choices)}, separated by commas")
        return parts

    def texts(self, name: str, default: list[str], *, pattern: str = ".*", wanted: str = "") -> list[str]:
        """Separated by commas. pattern: that each must match, which `wanted` tells in words."""
        given = self.text(name)
        parts = [part.strip(" ") for part in given.split(",") if part.strip()]
        if not all(re.fullmatch(pattern, part, re.DOTALL) for part in parts):
            _refuse(name, given, wanted)
        return parts or default

    def numbers(self, name: str, default: list[float]) -> list[float]:
        """Separated by commas."""
        parts = self.texts(name, [], pattern=r"\d+(\.\d+)?", wanted="numbers, separated by commas")
        return [float(part) for part in parts] or default

    def url(self, name: str) -> str:
        given = self.text(name).strip()
        if given and not URL.fullmatch(given):
            _refuse(name, given, "an address that begins with http:// or https://")
        return given

    def contact(self, name: str) -> str:
        given = self.text(name).strip()
        if given and not CONTACT.fullmatch(given):
            _refuse(name, given, "an address that begins with http:// or https://, or a mail address")
        return given

    def path(self, name: str, default: Path) -> Path:
        return Path(self.text(name, str(default)))

    def file(self, name: str) -> str:
        """Of a file that is there; empty if none is given."""
        given = self.text(name)
        if given and not Path(given).is_file():
            _refuse(name, given, "the name of a file that is there")
        return given

    def _number(self, name: str, default: float, least: float, kind: type[int] | type[float], wanted: str) -> Any:
        given = self.text(name).strip()
        try:
            value = kind(given) if given else default
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            _refuse(name, given, wanted)
        return value


def database_of(url: str) -> dict[str, Any]:
    """An entry of Django's DATABASES. The address is not repeated where it is wrong: it holds a password."""
    try:
        database: dict[str, Any] = Env.db_url_config(url)
    except ValueError:
        database = {}
    if not re.match("(postgres|postgresql|psql|pgsql)://", url) or not database.get("NAME"):
        raise ImproperlyConfigured(
            "The environment variable DATABASE_URL must be the address of a Postgres database: "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with what is special in the password percent-encoded."
        )
    return database


def _refuse(name: str, given: str, wanted: str) -> NoReturn:
    raise ImproperlyConfigured(f"The environment variable {name} is {given!r}, and must be {wanted}.")
