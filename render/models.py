"""The tables of renders: the renders with their attempts and segments, and the nodes. Others: `render.side_tables`."""

import uuid

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from accounts.models import Tenant
from render.side_tables import ReaperClock as ReaperClock  # Django looks for models in this module.
from render.side_tables import RunningRenders as RunningRenders


class State(models.TextChoices):
    """See `render.lifecycle.transitions` for the changes between states."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL_STATES = [State.FINISHED, State.FAILED, State.CANCELED]


class Phase(models.TextChoices):
    """What is being done, or comes next while the render is queued."""

    PREPARE = "prepare"
    WAITING = "waiting"
    LOADING = "loading"
    RENDERING = "rendering"
    ASSEMBLING = "assembling"
    UPLOADING = "uploading"


FINISHING = (Phase.ASSEMBLING, Phase.UPLOADING)  # The rest of the work needs no GPU.


class Node(models.Model):
    """A machine that takes renders from one queue."""

    name = models.CharField(max_length=120)
    queue = models.CharField(max_length=20)
    heartbeat_at = models.DateTimeField(db_default=Now())
    model_state = models.CharField(max_length=10, blank=True, help_text="Its model server: loading, ready, ...")
    gpu = models.CharField(max_length=120, blank=True)
    memory_plan = models.CharField(max_length=40, blank=True, help_text="Which networks the GPU's memory holds.")
    canary_at = models.DateTimeField(null=True, help_text="When one of its workers last answered the watchdog.")
    draining = models.BooleanField(default=False, help_text="Takes no new render and hands its current one back.")
    fault = models.CharField(max_length=200, blank=True, db_default="", help_text="Why it cannot take work now.")
    fault_since = models.DateTimeField(null=True)
    rests_until = models.DateTimeField(null=True, help_text="After a fault it takes no work until then.")
    unloadable = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text="Variants of the model whose files are missing or damaged here, and why. It renders none of these.",
    )
    unloadable_since = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text="Since when each of these cannot be loaded, in seconds of Unix time by the database's clock.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "queue"], name="one_node_a_queue")]

    def __str__(self) -> str:
        return f"{self.name} ({self.queue})"


class Render(models.Model):
    """A video, from its request to its end. Only `render.lifecycle` writes the state, the lease and the attempt."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="renders")
    engine = models.CharField(max_length=40)
    queue = models.CharField(max_length=20, help_text="The queue whose nodes can do its next step.")

    # What was requested
    image_url = models.TextField(help_text="A portrait, or a video to dub.")
    audio_url = models.TextField(blank=True, help_text="Empty if the voice is spoken from the script.")
    script = models.JSONField(null=True, blank=True, help_text="text, voice and language.")
    audio_url_2 = models.TextField(blank=True)
    audio_order = models.CharField(max_length=12, default="left_right")
    speakers = models.JSONField(default=list, db_default=Value([], models.JSONField()), blank=True)
    prompt = models.TextField(blank=True)
    parameters = models.JSONField()
    test_scenario = models.CharField(max_length=40, blank=True, help_text="With a test key: how the render is to end.")

    # From the preparation: storage keys of the normalised files, and the engine's plan
    sources = models.JSONField(null=True, blank=True)
    warnings = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        blank=True,
        help_text="About the customer's files: param, code and detail.",
    )
    plan = models.JSONField(null=True, blank=True)
    frame = models.JSONField(null=True, help_text="width and height of the video, crop: the part that is shown.")
    segments_total = models.PositiveIntegerField(null=True)
    num_frames = models.PositiveIntegerField(null=True)
    variant = models.CharField(
        max_length=40,
        blank=True,
        db_default="",
        help_text="Of the model: which of its files are needed.",
    )

    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    phase = models.CharField(max_length=12, choices=Phase, default=Phase.PREPARE)
    progress = models.PositiveSmallIntegerField(default=0)

    # The worker that holds it. `attempt` is the fencing token: it grows with each claim, and only its holder may write.
    attempt = models.PositiveIntegerField(default=0)
    node = models.ForeignKey(Node, on_delete=models.SET_NULL, null=True, related_name="renders")
    lease_until = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    not_before = models.DateTimeField(db_default=Now())
    crashes = models.PositiveSmallIntegerField(default=0)
    failures = models.PositiveSmallIntegerField(default=0)
    storage_failures = models.PositiveSmallIntegerField(db_default=0, help_text="Of the media storage; counted apart.")
    cancel_requested_at = models.DateTimeField(null=True)
    # See `render.deadlines`.
    start_deadline_at = models.DateTimeField(null=True, help_text="Fails if it has not begun by then.")
    total_deadline_at = models.DateTimeField(null=True, help_text="Fails if it is not finished by then.")
    begun_at = models.DateTimeField(null=True, help_text="When its engine first began with it.")

    # The result
    video_key = models.CharField(max_length=300, blank=True)
    poster_key = models.CharField(max_length=300, blank=True)
    alpha_key = models.CharField(max_length=300, blank=True, db_default="", help_text="The video without background.")
    duration_seconds = models.FloatField(null=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True, help_text="For the customer.")
    error_param = models.CharField(max_length=40, blank=True)
    error_retryable = models.BooleanField(null=True, help_text="Whether a retry may help; null: as the code says.")
    error_trace = models.TextField(blank=True, help_text="For staff only: may hold addresses.")

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    work_deleted_at = models.DateTimeField(null=True, help_text="When its segments and sources were deleted.")
    films_deleted_at = models.DateTimeField(null=True, help_text="When its video and poster were deleted.")

    class Meta:
        permissions = [("view_media", "Can look at a tenant's media")]
        constraints = [
            models.CheckConstraint(
                name="running_holds_a_lease",
                condition=Q(state=State.RUNNING, lease_until__isnull=False)
                | (~Q(state=State.RUNNING) & Q(lease_until__isnull=True)),
            ),
            models.CheckConstraint(
                name="terminal_is_completed",
                condition=Q(state__in=TERMINAL_STATES, completed_at__isnull=False)
                | (~Q(state__in=TERMINAL_STATES) & Q(completed_at__isnull=True)),
            ),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="newest_renders"),
            models.Index(fields=["state", "lease_until"]),
            models.Index(fields=["queue", "created_at"], name="queued", condition=Q(state=State.QUEUED)),
            models.Index(fields=["tenant"], name="running_of_tenant", condition=Q(state=State.RUNNING)),
            models.Index(fields=["tenant", "started_at"], name="turns", condition=Q(started_at__isnull=False)),
            models.Index(
                fields=["total_deadline_at", "start_deadline_at"],
                name="with_a_deadline",
                condition=Q(state__in=[State.QUEUED, State.RUNNING])
                & (Q(total_deadline_at__isnull=False) | Q(start_deadline_at__isnull=False)),
            ),
            models.Index(fields=["completed_at"], name="work_to_delete", condition=Q(work_deleted_at=None)),
            models.Index(
                fields=["completed_at"],
                name="films_to_delete",
                condition=Q(state=State.FINISHED, films_deleted_at=None),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_terminal(self) -> bool:
        return self.state in TERMINAL_STATES


class Attempt(models.Model):
    """One claim of a render by a node, from the claim to its end."""

    class Outcome(models.TextChoices):
        DONE = "done"
        HANDED_OVER = "handed_over", "handed over to the engine's queue"
        FAILED = "failed"
        CANCELED = "canceled"
        LEASE_LOST = "lease_lost"
        YIELDED = "yielded"
        NODE_FAULT = "node_fault", "handed back because of a fault of the node"

    render = models.ForeignKey(Render, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    node = models.ForeignKey(Node, on_delete=models.SET_NULL, null=True, related_name="attempts")
    outcome = models.CharField(max_length=12, choices=Outcome, blank=True)
    render_seconds = models.FloatField(default=0, help_text="Seconds in the engine, without transfers.")
    started_at = models.DateTimeField(db_default=Now(), editable=False)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["render", "number"], name="one_attempt_a_number")]

    def __str__(self) -> str:
        return f"attempt {self.number} of {self.render_id}"


class Segment(models.Model):
    """A rendered part of the video: it can be watched already, and another attempt goes on after it."""

    render = models.ForeignKey(Render, on_delete=models.CASCADE, related_name="segments")
    index = models.PositiveIntegerField()
    attempt = models.PositiveIntegerField(help_text="0: of an earlier render, which this one continues.")
    key = models.CharField(max_length=300, help_text="Ends in the SHA-256 of the content.")
    num_bytes = models.PositiveBigIntegerField()
    frames = models.PositiveIntegerField()
    state_key = models.CharField(max_length=300, blank=True, help_text="The engine's own checkpoint, if it needs one.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["render", "index"], name="one_segment_an_index")]
        ordering = ["index"]

    def __str__(self) -> str:
        return f"segment {self.index} of {self.render_id}"
