"""One module for each command; its help text says what it does."""
