"""Django's database ENGINE of the embedded Postgres: the server starts with the first connection of a process."""
