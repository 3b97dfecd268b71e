"""How django-q2's cluster of processes is made robust: its broker, processes and watchdog, and retries for outages."""
