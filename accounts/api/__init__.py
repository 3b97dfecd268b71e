"""What every endpoint of the HTTP API shares; the endpoints themselves lie in other packages."""
