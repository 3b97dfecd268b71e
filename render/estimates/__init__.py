"""Where a render stands in its queue and how long it may take. Only shown to customers: nothing is decided by it."""
