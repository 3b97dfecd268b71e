"""The actions of support staff on a project, each with a reason that goes into the audit log."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from accounts.billing import quota
from accounts.money import MICROS_PER_UNIT
from projects import services
from projects.models import Project
from render.models import State


class ReasonForm(forms.Form):
    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), max_length=2000, help_text="For the audit log.")


class CreditForm(ReasonForm):
    seconds = forms.IntegerField(min_value=0, initial=0, help_text="Of output, given back to this month's quota.")
    amount = forms.DecimalField(
        min_value=0, initial=0, decimal_places=6, max_digits=14, help_text="In the plan's currency, given back."
    )

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if not values.get("seconds") and not values.get("amount"):
            raise ValidationError("Give back seconds or money.")
        return values


def _cancel(project: Project, values: dict[str, Any], author: User) -> str:
    is_canceled = services.cancel(project).state == State.CANCELED
    return "It is canceled." if is_canceled else "Its worker was told to stop."


def _retry(project: Project, values: dict[str, Any], author: User) -> str:
    take = services.retry(project, api_key=None)  # Staff have requested it, and no key of the tenant.
    return f"Take {take.number} is queued."


def _credit(project: Project, values: dict[str, Any], author: User) -> str:
    amount: Decimal = values["amount"]
    quota.adjust(
        project.tenant,
        seconds=-values["seconds"],
        amount_micros=-int(amount * MICROS_PER_UNIT),
        reason=f"{values['reason']} (project {project.pk})",
        author=author,
    )
    return f"{values['seconds']} s and {amount} {project.tenant.plan.currency} were given back."


@dataclass(frozen=True)
class StaffAction:
    """What staff can do to a project, in the admin, after they have given a reason."""

    label: str
    permission: str
    form: type[ReasonForm]
    act: Callable[[Project, dict[str, Any], User], str]  # Returns the message to show; raises ServiceError.
    possible: Callable[[str | None], bool]  # Whether it is offered, by the state of the latest render.


STAFF_ACTIONS = {
    "cancel": StaffAction(
        "Cancel", "projects.cancel_project", ReasonForm, _cancel, lambda state: state in (State.QUEUED, State.RUNNING)
    ),
    "retry": StaffAction(
        "Retry", "projects.retry_project", ReasonForm, _retry, lambda state: state in (State.FAILED, State.CANCELED)
    ),
    "credit": StaffAction("Credit", "accounts.credit_tenant", CreditForm, _credit, lambda state: True),
}
