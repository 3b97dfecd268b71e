"""Which errors of Django mean that the database is unavailable, so that the same call may succeed later.

It is defined here because `accounts` is the lowest layer: every other one may import it. A loop that must go on after
any error of the database catches `django.db.Error` instead, their base class.
"""

from django.db import InterfaceError, OperationalError

# OperationalError: the server cannot be reached, restarts, or takes no more connections. InterfaceError: a connection
# that was open before was closed.
DATABASE_UNAVAILABLE = (OperationalError, InterfaceError)
