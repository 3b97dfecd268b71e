"""The queues: tickets that wake workers, and which render a woken worker may claim."""
