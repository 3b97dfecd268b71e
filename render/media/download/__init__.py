"""Downloads from addresses of customers, without a way into the private network."""
