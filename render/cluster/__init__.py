"""How django-q2's cluster of processes is made robust: its broker, its processes, its watchdog, retries of its database."""
