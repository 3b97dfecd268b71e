"""The tables of `accounts`. Import them from this package, not from its modules."""

from accounts.models.api_keys import ApiKey, Scope, default_scopes
from accounts.models.audit import AuditEntry
from accounts.models.requests import FailedLogins, IdempotentResponse, RequestWindow
from accounts.models.tenants import Membership, Plan, Tenant
from accounts.models.usage import UsageEntry, UsageThreshold

__all__ = [
    "ApiKey",
    "AuditEntry",
    "FailedLogins",
    "IdempotentResponse",
    "Membership",
    "Plan",
    "RequestWindow",
    "Scope",
    "Tenant",
    "UsageEntry",
    "UsageThreshold",
    "default_scopes",
]
