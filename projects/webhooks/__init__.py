"""Webhooks: events are recorded in the outbox, become deliveries, and are sent. With the endpoints of the API."""
