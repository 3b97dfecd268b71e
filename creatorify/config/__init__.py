"""Configuration: environment variables, the database and its roles, storages, and checks of all that at the start."""
