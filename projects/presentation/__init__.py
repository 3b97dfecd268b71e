"""How projects are shown: the same JSON in the API, in webhooks and in the admin."""
