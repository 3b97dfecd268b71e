"""What a request costs in hops between our files and in statements to Postgres: `make request-cost`."""
