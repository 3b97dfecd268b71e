"""A machine that has no room, no descriptors or no rights: what waits is not to blame, and others take it."""

import errno
import logging
import os
import resource
import tempfile
from datetime import timedelta
from pathlib import Path

import av
import httpx
import pytest
from django.db.models.functions import Now
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from PIL import Image

from accounts.errors import ServiceError
from accounts.models import UsageEntry
from render import node_faults, tasks
from render.cluster.broker import PatientBroker
from render.lifecycle import progress, transitions
from render.machine import disk_room, nodes
from render.media.image.portrait import normalise_portrait
from render.media.video import output_video, segment_file
from render.models import Attempt, Node, Render, State
from render.parameters import Parameters
from render.pipeline import runner
from render.queue import tickets
from render.speech.base import SpeechUnavailable
from render.storage import media
from render.storage.failures import Reason, StorageFailure
from tests.engines import InstantEngine

DISK = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO]
DESCRIPTORS = [errno.EMFILE, errno.ENFILE]
MEMORY = [errno.ENOMEM]


SHORT = Parameters(seed=1, frame_num=25)


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch) -> None:
    monkeypatch.setattr(disk_room, "CHECK_SECONDS", 0)
    monkeypatch.setattr(tasks, "FAULTY_PAUSE_SECONDS", 0)


def caused_by(error: BaseException, cause: BaseException) -> BaseException:
    try:
        raise error from cause
    except type(error) as raised:
        return raised


def os_error(code: int, path: object = None) -> OSError:
    return OSError(code, os.strerror(code), *([str(path)] if path else []))


@pytest.mark.parametrize("code", DISK + DESCRIPTORS + MEMORY)
def test_it_is_the_machines_fault_however_it_is_wrapped(code: int) -> None:
    error = os_error(code, "/x")
    for wrapped in (
        error,
        caused_by(ServiceError("image_invalid", "Not a picture."), error),
        caused_by(SpeechUnavailable("x"), caused_by(httpx.ConnectError("x"), error)),
        caused_by(RuntimeError("x"), error),
    ):
        assert node_faults.fault_in(wrapped) == f"{os.strerror(code)}: /x"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_ffmpeg_that_cannot_write_our_file_is_the_machines_fault(code: int) -> None:
    assert node_faults.fault_in(av.error.OSError(code, os.strerror(code), "/x"))


@pytest.mark.parametrize(
    "error",
    [
        caused_by(ServiceError("video_invalid", "x"), av.error.OSError(errno.EIO, "Input/output error", "/x")),
        caused_by(ServiceError("video_invalid", "x"), av.error.OSError(errno.ENOSPC, "No space left", "/x")),
        av.error.OSError(errno.EIO, "Input/output error", "/x"),
        OSError("image file is truncated"),
        caused_by(ServiceError("video_invalid", "x"), av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")),
        OSError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.ECONNRESET, "Connection reset by peer"),
        OSError(errno.EACCES, "Permission denied", "/etc/shadow"),
        FileNotFoundError(errno.ENOENT, "No such file", "/x"),
        caused_by(StorageFailure(Reason.FULL, "x"), OSError(errno.ENOSPC, "No space left")),
        ZeroDivisionError(),
    ],
    ids=repr,
)
def test_a_customers_file_a_storage_and_a_bug_are_no_fault_of_the_machine(error: BaseException) -> None:
    assert node_faults.fault_in(error) is None


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_missing_rights_count_where_workers_write(code: int, settings) -> None:
    assert node_faults.fault_in(os_error(code, settings.WORK_DIR / "a" / "b"))
    assert node_faults.fault_in(os_error(code, Path(tempfile.gettempdir()) / "b"))


def test_a_picture_that_could_not_be_opened_for_want_of_descriptors_is_not_damaged(tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(tmp_path / "good.png")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # There are more open ones already.
    try:
        with pytest.raises((ServiceError, OSError)) as failed:
            normalise_portrait(tmp_path / "good.png", tmp_path / "made.png", param="image_url")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert node_faults.fault_in(failed.value) == f"Too many open files: {tmp_path / 'good.png'}"


def _raising(code: int):
    def fail(*arguments, **named):
        raise os_error(code, "/work/x")

    return fail


# Where a render's attempt writes or opens files -> how that place is broken.
PLACES = {
    "work folder": (runner, "work_folder"),
    "sources": (runner, "prepare_sources"),
    "engine": (InstantEngine, "segments"),
    "segment": (segment_file, "encode_segment"),
    "joining": (output_video, "assemble_video"),
    "poster": (output_video, "save_poster"),
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("place", "code"),
    [*((place, errno.ENOSPC) for place in PLACES), ("sources", errno.EMFILE), ("segment", errno.ENOMEM)],
)
def test_a_render_is_handed_back_uncounted_and_its_node_rests(enqueue, claim, monkeypatch, caplog, place, code) -> None:
    other = nodes.Node.objects.create(name="other", queue="cpu")
    render, neighbour = enqueue(parameters=SHORT), enqueue(parameters=SHORT)
    with monkeypatch.context() as broken:
        broken.setattr(*PLACES[place], _raising(code))
        runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.failures, render.storage_failures, render.crashes) == (State.QUEUED, 0, 0, 0)
    assert render.not_before <= timezone.now()
    assert render.attempts.get().outcome == Attempt.Outcome.NODE_FAULT
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds is None
    node = Node.objects.get(name=nodes.settings.NODE_NAME)
    assert (node.fault, node.fault_since is not None) == (f"{os.strerror(code)}: /work/x", True)
    assert [record.levelno for record in caplog.records if "takes no work" in record.message] == [logging.ERROR]
    assert claim() is None  # Nothing here, the neighbour's neither.
    taken = {one.render_id: one for one in (transitions.claim_next("cpu", other), transitions.claim_next("cpu", other))}
    assert set(taken) == {render.pk, neighbour.pk}
    runner.run(taken[render.pk])
    render.refresh_from_db()
    assert render.state == State.FINISHED


@pytest.mark.django_db
def test_what_is_recorded_is_not_rendered_again_elsewhere(enqueue, claim, monkeypatch) -> None:
    render = enqueue()
    with monkeypatch.context() as broken:
        original = segment_file.encode_segment

        def fail_at_third(frames, path, start_frame, **named):
            if start_frame == 50:
                raise os_error(errno.ENOSPC)
            original(frames, path, start_frame, **named)

        broken.setattr(segment_file, "encode_segment", fail_at_third)
        runner.run(claim())
    assert render.segments.count() == 2

    runner.run(transitions.claim_next("cpu", Node.objects.create(name="other", queue="cpu")))

    render.refresh_from_db()
    assert render.state == State.FINISHED
    assert list(render.segments.values_list("attempt", flat=True)) == [1, 1, 2, 2]


@pytest.mark.django_db
def test_sources_that_do_not_fit_into_the_cache_are_no_failure_of_the_render(enqueue, claim, monkeypatch) -> None:
    render = enqueue(engine="stateful", parameters=SHORT)
    runner.run(claim("cpu"))
    with monkeypatch.context() as broken:
        broken.setattr(media, "cache_source", _raising(errno.ENOSPC))
        runner.run(claim("gpu"))

    render.refresh_from_db()
    outcomes = list(render.attempts.order_by("number").values_list("outcome", flat=True))
    assert (render.state, render.failures, outcomes) == (State.QUEUED, 0, ["handed_over", "node_fault"])
    faulty = set(Node.objects.exclude(fault="").values_list("queue", flat=True))
    assert faulty == {"gpu"}


@pytest.mark.django_db
def test_a_render_that_no_node_has_room_for_waits_longer_each_time_and_does_not_fail(
    enqueue, claim, monkeypatch, settings
) -> None:
    render = enqueue(parameters=SHORT)
    monkeypatch.setattr(segment_file, "encode_segment", _raising(errno.ENOSPC))
    waits = []
    for _ in range(6):
        Node.objects.update(fault="", fault_since=None, rests_until=None)
        Render.objects.update(not_before=timezone.now())
        runner.run(claim())
        render.refresh_from_db()
        waits.append(round((render.not_before - timezone.now()).total_seconds() / 10) * 10)

    assert waits == [0, 10, 60, 600, 600, 600]
    assert (render.state, render.failures) == (State.QUEUED, 0)


@pytest.mark.django_db
def test_a_cancel_that_came_meanwhile_still_counts(enqueue, claim, monkeypatch) -> None:
    render = enqueue()
    claimed = claim()
    transitions.request_cancel(render)
    monkeypatch.setattr(progress, "enter", _raising(errno.ENOSPC))

    runner.run(claimed)

    render.refresh_from_db()
    assert render.state == State.CANCELED


@pytest.fixture
def no_room(settings):
    """This machine has too little room, until the returned function is called."""
    settings.MIN_FREE_WORK_BYTES = 2**62

    def make_room() -> None:
        settings.MIN_FREE_WORK_BYTES = 1

    return make_room


@pytest.mark.django_db
def test_a_node_without_room_takes_nothing_until_it_has_rested_and_has_room(enqueue, no_room, caplog) -> None:
    caplog.set_level(logging.INFO)
    render = enqueue(parameters=SHORT)

    for _ in range(3):
        tasks.run_ticket("cpu")

    node = Node.objects.get(queue="cpu")
    assert "MiB free and needs" in node.fault
    since = node.fault_since
    assert since is not None and not render.attempts.exists()
    no_room()
    Node.objects.update(rests_until=Now() + timedelta(seconds=nodes.REST_SECONDS))
    tasks.run_ticket("cpu")
    assert not render.attempts.exists()  # It has not rested yet.
    Node.objects.update(rests_until=Now())

    tasks.run_ticket("cpu")

    render.refresh_from_db()
    node.refresh_from_db()
    assert (render.state, node.fault, node.fault_since) == (State.FINISHED, "", None)
    told = [
        record.message
        for record in caplog.records
        if "work" in record.message and record.name == "render.machine.nodes"
    ]
    assert [line.split(":")[0].split(";")[0] for line in told] == [
        "This node takes no work",
        "This node takes work again",
    ]


@pytest.mark.django_db
def test_its_ticket_goes_on_to_others(enqueue, no_room) -> None:
    enqueue()
    OrmQ.objects.all().delete()

    tasks.run_ticket("cpu")

    assert OrmQ.objects.filter(key="cpu").count() == 1


@pytest.mark.django_db
def test_a_fault_that_another_process_of_the_same_name_has_noted_stops_no_healthy_one(enqueue, claim) -> None:
    """Two machines were given one NODE_NAME."""
    render = enqueue()
    Node.objects.create(name=nodes.settings.NODE_NAME, queue="cpu", fault="no room", fault_since=timezone.now())

    assert nodes.can_work(nodes.heartbeat("cpu"))
    assert claim().render_id == render.pk


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("other", "taken"),
    [
        ({}, False),
        ({"queue": "gpu"}, True),
        ({"draining": True}, True),
        ({"fault": "No room"}, True),
        ({"heartbeat_at": "old"}, True),
    ],
    ids=str,
)
def test_tickets_are_left_to_others_only_where_one_can_work(monkeypatch, no_room, other, taken) -> None:
    monkeypatch.setattr(Conf, "POLL", 0.01)
    broker = PatientBroker("cpu")
    tickets.add_ticket("cpu")
    if other.get("heartbeat_at"):
        other = {"heartbeat_at": timezone.now() - timedelta(hours=1)}
    Node.objects.create(**{"name": "other", "queue": "cpu", **other})

    assert (broker.dequeue() is not None) == taken


@pytest.mark.django_db
def test_a_claim_by_a_node_with_room_takes_no_more_queries_than_before(enqueue, django_assert_num_queries) -> None:
    enqueue()
    node = nodes.heartbeat("cpu")
    with django_assert_num_queries(0):
        assert nodes.can_work(node)


def test_the_disk_is_looked_at_once_in_a_while(monkeypatch) -> None:
    looks: list[int] = []
    monkeypatch.setattr(disk_room, "CHECK_SECONDS", 60)
    monkeypatch.setattr(disk_room, "_find_fault", lambda: looks.append(1) or "")
    for _ in range(50):
        assert disk_room.fault() == ""
    assert len(looks) == 1


def test_what_is_only_kept_for_later_makes_room_first(settings, monkeypatch) -> None:
    sources = settings.WORK_DIR / "sources"
    sources.mkdir(parents=True)
    (sources / "kept").write_bytes(b"x")
    monkeypatch.setattr(disk_room, "_find_fault", lambda: "full" if (sources / "kept").exists() else "")

    assert disk_room.fault() == ""
    assert not (sources / "kept").exists()


@pytest.mark.parametrize("kind", ["a file", "no folder for temporary files"])
def test_a_work_folder_that_cannot_be_written_to_is_told(settings, monkeypatch, tmp_path, kind: str) -> None:
    if kind == "a file":
        settings.WORK_DIR = tmp_path / "work"
        settings.WORK_DIR.write_text("no folder")
    else:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    assert "cannot be written to" in disk_room.fault()


@pytest.mark.django_db
def test_a_canary_sings_where_nothing_can_be_written(settings, tmp_path) -> None:
    settings.WORK_DIR = tmp_path / "work"
    settings.WORK_DIR.write_text("no folder")

    tasks.run_canary("cpu")

    node = Node.objects.get(queue="cpu")
    assert node.canary_at is not None and node.fault
