"""The process that decodes strangers' files: its limits hold, it hurts nobody, and it does not outlive its caller."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from accounts.errors import ServiceError
from render.media.isolation import calls as isolated
from render.media.isolation import client as isolation
from render.media.isolation import decoding_server, jobs, process_limits
from render.media.isolation.client import decode
from render.media.isolation.process_limits import Limits
from tests.render import hostile_media
from tests.render.media_makers import film, picture, png, wav

PLENTY = Limits(cpu_seconds=60, file_bytes=2**30)
WAIT_SECONDS = 20  # Until something has happened that takes moments.


@pytest.fixture(scope="module")
def long_film(tmp_path_factory) -> Path:
    """Ten seconds of more than full HD, within all budgets: four seconds of computing time. One frame a second, so that
    it is quickly made.
    """
    path = tmp_path_factory.mktemp("film") / "long.mp4"
    path.write_bytes(hostile_media.timed_film("libx264", "mp4", 1920, 11, lambda at: at * 90_000))
    return path


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a decoder that is to be killed: it runs for as long."""
    monkeypatch.setattr(isolation, "CHECK_SECONDS", 0.02)


def normalise(source: Path, folder: Path, limits: Limits = PLENTY, check: Callable[[], None] = lambda: None):
    arguments = {"source": source, "destination_mp4": folder / "out.mp4", "max_seconds": 10}
    return decode("normalise_video", arguments, limits=limits, param="image_url", check=check)


def decoders(of: int | None = None) -> list[psutil.Process]:
    """The processes that decode a file just now: children of a server."""
    found = []
    for server in psutil.Process(of).children():
        if "render.media.isolation.decoding_server" in server.cmdline():
            found += server.children()
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def assert_still_works(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(picture("PNG"))
    facts = isolated.probe(tmp_path / "good.png", param="image_url", check=lambda: None)
    assert facts is not None and facts.format == "PNG"


def test_it_answers_what_the_step_itself_would(tmp_path: Path) -> None:
    (tmp_path / "voice.wav").write_bytes(wav(1))

    voice = isolated.normalise_voice(
        tmp_path / "voice.wav", tmp_path / "16k.wav", max_seconds=5, param="audio_url", check=lambda: None
    )

    assert (voice.path, voice.audio, voice.duration_seconds) == (tmp_path / "16k.wav", tmp_path / "voice.wav", 1.0)
    assert (tmp_path / "16k.wav").stat().st_size > 32_000


def test_too_much_computing_time_is_the_file_s_fault(long_film: Path, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="takes more than 1 s of computing time") as caught:
        normalise(long_film, tmp_path, replace(PLENTY, cpu_seconds=1))

    assert (caught.value.code, caught.value.param) == ("media_too_complex", "image_url")
    assert_still_works(tmp_path)


def test_too_much_memory_is_the_file_s_fault_and_ends_the_process_alone(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png(6000, 6000))
    arguments = {"source": tmp_path / "large.png", "destination_png": tmp_path / "p.png"}

    with pytest.raises(ServiceError, match="takes more than 150 MiB of memory") as caught:
        decode("normalise_portrait", arguments, limits=replace(PLENTY, memory_bytes=150 * 2**20), param="image_url")

    assert (caught.value.code, caught.value.param) == ("media_too_complex", "image_url")
    assert_still_works(tmp_path)


def test_a_film_that_takes_too_much_memory_is_refused(long_film: Path, tmp_path: Path) -> None:
    """FFmpeg calls a lack of memory by many names, so it may be told as a film that cannot be decoded."""
    with pytest.raises(ServiceError) as caught:
        normalise(long_film, tmp_path, replace(PLENTY, memory_bytes=150 * 2**20))

    assert caught.value.code in ("media_too_complex", "video_invalid")
    assert_still_works(tmp_path)


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_a_file_that_unpacks_to_too_much_is_refused(limit: int, tmp_path: Path) -> None:
    (tmp_path / "voice.wav").write_bytes(wav(20))
    arguments = {
        "source": tmp_path / "voice.wav",
        "destination_wav": tmp_path / "16k.wav",
        "max_seconds": 30,
        "audio_flac": tmp_path / "sound.flac",
    }

    with pytest.raises(ServiceError, match="the allowed disk space") as caught:
        decode("normalise_voice", arguments, limits=replace(PLENTY, file_bytes=limit), param="audio_url")

    assert (caught.value.code, caught.value.param) == ("media_too_complex", "audio_url")


def test_a_disk_that_does_not_take_it_is_not_the_file_s_fault(tmp_path: Path) -> None:
    (tmp_path / "voice.wav").write_bytes(wav(1))
    missing = tmp_path / "missing"

    with pytest.raises(OSError) as caught:
        isolated.normalise_voice(
            tmp_path / "voice.wav", missing / "16k.wav", max_seconds=5, param="audio_url", check=lambda: None
        )

    assert caught.value.errno == errno.ENOENT


def test_a_crash_is_the_file_s_fault_the_second_time(long_film: Path, tmp_path: Path) -> None:
    killed: set[int] = set()

    def crash() -> None:
        for process in decoders():
            killed.add(process.pid)
            process.send_signal(signal.SIGSEGV)

    with pytest.raises(ServiceError, match="crashes the program") as caught:
        normalise(long_film, tmp_path, check=crash)

    assert len(killed) == isolation.TRIES == 2
    assert (caught.value.code, caught.value.param) == ("media_too_complex", "image_url")
    assert_still_works(tmp_path)


def test_a_crash_alone_is_none(long_film: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(long_film, tmp_path / "film.mp4"))
    killed: list[int] = []

    def crash_once() -> None:
        for process in [] if killed else decoders():
            source.write_bytes(film("mp4", "libx264", frames=10))  # The second time it is quickly done.
            killed.append(process.pid)
            process.send_signal(signal.SIGSEGV)

    assert normalise(source, tmp_path, check=crash_once).num_frames == 10
    assert len(killed) == 1


def test_a_dead_server_is_replaced(tmp_path: Path) -> None:
    assert_still_works(tmp_path)
    isolation._SERVERS.server.kill()
    isolation._SERVERS.server.wait()

    assert_still_works(tmp_path)


# What the machine lacks is no fault of the file's.


def assert_no_memory(told: str, do: Callable[[], object]) -> None:
    with pytest.raises(OSError, match=told) as caught:
        do()
    assert caught.value.errno == errno.ENOMEM


@pytest.mark.parametrize("victim", ["the decoder", "its server"])
def test_a_process_that_the_kernel_kills_for_want_of_memory(victim: str, long_film: Path, tmp_path: Path) -> None:
    killed: set[int] = set()

    def kill() -> None:
        for process in decoders():
            doomed = process if victim == "the decoder" else process.parent()
            killed.add(doomed.pid)
            doomed.kill()

    assert_no_memory("was killed", lambda: normalise(long_film, tmp_path, check=kill))

    assert len(killed) == 1
    assert_still_works(tmp_path)


def test_a_process_that_cannot_be_made(tmp_path: Path) -> None:
    assert_still_works(tmp_path)
    psutil.Process(isolation._SERVERS.server.pid).rlimit(psutil.RLIMIT_NOFILE, (3, 3))

    assert_no_memory("Too many open files", lambda: assert_still_works(tmp_path))

    assert_still_works(tmp_path)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM])
def test_a_fork_that_fails_is_told(code: int, monkeypatch) -> None:
    def fork() -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fork", fork)

    assert decoding_server._run({}, -1) == {"not_started": os.strerror(code)}


def test_a_server_that_does_not_start(tmp_path: Path, monkeypatch) -> None:
    assert_still_works(tmp_path)
    isolation._kill(isolation._SERVERS.server)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", shutil.which("false"))
        assert_no_memory("does not start", lambda: assert_still_works(tmp_path))

    assert_still_works(tmp_path)


@pytest.mark.parametrize(("cpu_seconds", "refused"), [(59.9, False), (60.9, True)])
def test_a_process_that_is_killed_at_its_limit_of_computing_time_has_used_it_up(
    cpu_seconds: float, refused: bool, monkeypatch
) -> None:
    outcome = {"answer": None, "signal": signal.SIGKILL, "cpu_seconds": cpu_seconds, "most_bytes": 0}
    monkeypatch.setattr(isolation, "_run", lambda *arguments: outcome)

    with pytest.raises(ServiceError if refused else OSError):
        decode("probe", {}, limits=PLENTY, param="image_url")


@pytest.mark.parametrize("error", [OSError(errno.ENOMEM, "x"), MemoryError()])
def test_a_lack_of_memory_within_the_process_is_that_of_its_limit(error: Exception, monkeypatch) -> None:
    def do(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(jobs, "do", do)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        decoding_server._decode({"limits": asdict(PLENTY), "job": "probe", "arguments": {}}, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert json.loads(pipe.read()) == {"exceeded": "memory"}
    os.waitpid(child, 0)


def test_one_that_sleeps_is_ended_and_that_is_not_the_file_s_fault(
    long_film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep: list[psutil.Process] = []

    def put_to_sleep() -> None:
        for process in decoders():
            process.suspend()
            asleep.append(process)

    with monkeypatch.context() as patch, pytest.raises(isolation.DecodingTimeout):
        patch.setattr(Limits, "wall_seconds", 1.0)
        normalise(long_film, tmp_path, check=put_to_sleep)

    wait_until(lambda: all(map(is_gone, asleep)))
    assert asleep
    assert_still_works(tmp_path)


def test_it_ends_when_the_caller_wants_no_more(long_film: Path, tmp_path: Path) -> None:
    seen: list[psutil.Process] = []

    def lose_lease() -> None:
        seen.extend(decoders())
        if seen:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        normalise(long_film, tmp_path, check=lose_lease)

    wait_until(lambda: all(map(is_gone, seen)))
    assert not (tmp_path / "out.mp4").exists()


def test_it_dies_with_its_caller(long_film: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from render.media.isolation import calls as isolated;"
        "isolated.normalise_video(Path(sys.argv[1]), Path(sys.argv[2]), max_seconds=10, param='x', check=lambda: None)"
    )
    caller = subprocess.Popen([sys.executable, "-c", code, str(long_film), str(tmp_path / "out.mp4")])
    try:
        wait_until(lambda: decoders(caller.pid))
        [server] = psutil.Process(caller.pid).children()
        family = [server, *server.children()]
    finally:
        caller.kill()
        caller.wait()

    wait_until(lambda: all(map(is_gone, family)))
    assert len(family) == 2


def test_it_knows_no_secret_and_holds_nothing_of_its_caller(long_film: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(os.environ, "SECRET_KEY", "hidden")
    seen: dict[str, object] = {}

    def look() -> None:
        for process in [] if seen else decoders():
            wait_until(
                lambda process=process: process.rlimit(psutil.RLIMIT_CPU) != (-1, -1)
            )  # The last one that is set.
            seen.update(process.environ(), threads=process.parent().num_threads())
            seen["open"] = {os.readlink(path).split(":")[0] for path in Path(f"/proc/{process.pid}/fd").glob("[3-9]*")}
            limits = {name: process.rlimit(getattr(psutil, name)) for name in ("RLIMIT_CORE", "RLIMIT_DATA")}
            seen.update(limits)
            raise TimeoutError

    vars(isolation._SERVERS).clear()  # One that was started before the secret was there.
    with pytest.raises(TimeoutError):
        normalise(long_film, tmp_path, check=look)

    assert {name for name in seen if name.isupper()} == {
        *("PYTHONPATH", "PATH", "LANG", "OPENBLAS_NUM_THREADS", "RLIMIT_CORE", "RLIMIT_DATA"),
    }
    assert seen["threads"] == 1
    assert seen["RLIMIT_CORE"] == (0, 0) and seen["RLIMIT_DATA"] == (PLENTY.memory_bytes, PLENTY.memory_bytes)
    assert not any(name == "socket" for name in seen["open"])


def test_want_of_descriptors_in_the_decoding_process_is_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def do(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(jobs, "do", do)
    read, write = os.pipe()
    monkeypatch.setattr(decoding_server, "die_with_parent", lambda: None)
    monkeypatch.setattr(process_limits, "apply", lambda limits: None)
    monkeypatch.setattr(os, "_exit", lambda status: None)

    decoding_server._decode({"limits": asdict(PLENTY), "job": "probe", "arguments": {}}, write)

    with pytest.raises(ServiceError, match="64 open files") as raised:
        isolation._result(json.loads(os.read(read, 1000)), PLENTY, "audio_url")
    assert raised.value.code == "media_too_complex"
    os.close(read)
    os.close(write)
