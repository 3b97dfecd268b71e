"""How long data are kept, and how a deleted project's media are removed."""
