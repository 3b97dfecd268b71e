"""Tenants, their API keys, usage and billing, and what every endpoint of the API shares (`accounts.api`)."""
