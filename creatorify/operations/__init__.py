"""For the operator: pages of the admin about the queues, invariants and money, and the health check."""
