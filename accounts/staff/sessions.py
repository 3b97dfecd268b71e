"""Log a deactivated account out everywhere. When it is activated again, it has to log in again."""

from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db.models.functions import Now
from django.db.models.signals import post_save
from django.dispatch import receiver


@receiver(post_save, sender=User, dispatch_uid="accounts.staff.sessions")
def end_sessions_of_inactive(instance: User, created: bool, **_: Any) -> None:
    if created or instance.is_active:
        return
    # The account is encoded inside the session, so all are read. There are no more than logged-in staff.
    for session in Session.objects.filter(expire_date__gt=Now()):
        if session.get_decoded().get(SESSION_KEY) == str(instance.pk):
            session.delete()
