"""What stands beside the renders: the number of running ones of each tenant, and the reaper's clock."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Tenant


class RunningRenders(models.Model):
    """A view: how many renders of each tenant run. A GPU node's database role may see this number and nothing else."""

    tenant = models.OneToOneField(Tenant, on_delete=models.DO_NOTHING, primary_key=True, related_name="+")
    number = models.PositiveIntegerField()

    class Meta:
        managed = False
        default_permissions = ()
        db_table = "render_running_of_tenant"

    def __str__(self) -> str:
        return f"{self.number} of {self.tenant_id}"


class ReaperClock(models.Model):
    """One row: when the reaper ran last, so that an outage of the database is not taken for dead workers."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    last_run_at = models.DateTimeField(db_default=Now())
    grace_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(name="one_reaper_clock", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"last run {self.last_run_at}"
