"""Services that a test starts for itself, for they have an environment of their own."""
