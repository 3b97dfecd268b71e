"""The tables of what customers ask for."""

from projects.models.assets import Asset, Avatar, CheckTurn, DiscardedObject
from projects.models.projects import MAX_TAKES, AudioOrder, Deletion, Project, RetentionFailure, Take
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent

__all__ = [
    "MAX_TAKES",
    "Asset",
    "AudioOrder",
    "Avatar",
    "CheckTurn",
    "Deletion",
    "DiscardedObject",
    "EventType",
    "Project",
    "RetentionFailure",
    "Take",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
]
