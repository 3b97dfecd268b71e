"""The demo's tenant with its API key, and its user of the admin. Both secrets are kept in files and used again."""

import contextlib
import os
from pathlib import Path

from django.contrib.auth.models import User

from accounts.api_keys import keys
from accounts.errors import ServiceError
from accounts.models import Plan, Scope, Tenant
from creatorify.config import secret_key_file

TENANT = "Demo"
USER = "demo"


def api_key(path: Path) -> str:
    """The key in the file, so that printed commands work the next time too; a new one if it is not valid any more."""
    if path.exists():
        with contextlib.suppress(ServiceError):
            keys.authenticate(plain_key := path.read_text())
            return plain_key
    plan, _ = Plan.objects.get_or_create(name="Demo")
    tenant, _ = Tenant.objects.get_or_create(name=TENANT, defaults={"plan": plan})
    _, plain_key = keys.issue(tenant, name="demo", scopes=list(Scope))
    write_private(path, plain_key)
    return plain_key


def admin_password(path: Path) -> str:
    """The password in the file, which is created if it does not exist; the user gets it."""
    password = secret_key_file.read_or_create(path)
    user, _ = User.objects.get_or_create(username=USER, defaults={"is_staff": True, "is_superuser": True})
    if not user.check_password(password):  # Only then: setting it ends the sessions of those who are logged in.
        user.set_password(password)
        user.save()
    return password


def write_private(path: Path, content: str) -> None:
    """For the owner of the file only, and in one step: another program may be reading it."""
    draft = path.with_name(f"{os.getpid()}-{path.name}")
    draft.touch(mode=0o600)
    draft.write_text(content)
    draft.replace(path)
