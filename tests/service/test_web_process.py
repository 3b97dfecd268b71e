"""The web process itself, with the limits that its server keeps: connections, headers, its port, and how it ends."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from django.core.files.storage import default_storage

from accounts.api_keys import keys
from creatorify.asgi_middleware import connections as connections_of
from creatorify.asgi_middleware.client_limits import READ_SECONDS, SILENCE_SECONDS
from creatorify.web import server
from tests import stack
from tests.stack import until, web_worker

HALF_SENT = b"PUT /api/v1/uploads/x/content HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
JSON = {"Content-Type": "application/json"}
MANY = 300  # More than the process may hold in the test of that.


@pytest.fixture
def connections(service) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        made = [socket.create_connection(("127.0.0.1", port_of(service)), 30) for _ in range(MANY)]
        for connection in made:
            stack.enter_context(connection)
        yield made


def port_of(service) -> int:
    return httpx.URL(service.base_url).port


def is_well(service) -> bool:
    return httpx.get(f"{service.base_url}/healthz", timeout=60).status_code == 200


def test_a_body_for_nobody_is_refused_before_it_comes(service) -> None:
    with socket.create_connection(("127.0.0.1", port_of(service)), 30) as connection:
        connection.sendall(HALF_SENT + b"\r\na")
        answer = connection.makefile("rb").read()  # Until the server ends the connection.

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ") and json.loads(body)["code"] == "not_found"


def test_a_body_may_come_in_chunks(client) -> None:
    body = json.dumps(
        {"title": "x", "image_url": "https://example.com/a.jpg", "audio_url": "https://example.com/a.mp3"}
    )

    created = client.post("/projects", content=iter([body[:20].encode(), body[20:].encode()]), headers=JSON)
    too_large = client.post("/projects", content=iter([b"x" * 600_000] * 2), headers=JSON)

    assert (created.status_code, too_large.status_code) == (201, 413), created.text


def test_clients_that_send_nothing_more_leave_the_service_to_others(service, connections) -> None:
    for number, connection in enumerate(connections):
        # No byte, a part of the headers, a part of a body.
        connection.sendall(
            [b"", HALF_SENT, HALF_SENT.replace(b"uploads/x/content", b"projects") + b"\r\na"][number % 3]
        )

    assert is_well(service)


@pytest.mark.slow
def test_clients_that_send_nothing_more_are_disconnected(service, connections) -> None:
    for number, connection in enumerate(connections):
        connection.sendall(
            [b"", HALF_SENT, HALF_SENT.replace(b"uploads/x/content", b"projects") + b"\r\na"][number % 3]
        )

    answers = []
    for connection in connections:
        connection.settimeout(server.HEADER_SECONDS + SILENCE_SECONDS + 30)
        answers.append(connection.makefile("rb").read())

    assert [answer[:12] for answer in answers[:3]] == [b"", b"", b"HTTP/1.1 408"]


@pytest.mark.slow
def test_a_client_that_reads_nothing_of_a_video_is_disconnected(service, client, service_folder) -> None:
    (service_folder / "media").mkdir(exist_ok=True)
    (service_folder / "media" / "film.mp4").write_bytes(bytes(50_000_000))
    worker = web_worker(service)
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", port_of(service)))
        stalled.sendall(f"GET {default_storage.url('film.mp4')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        until(lambda: stalled.getsockname() in peers_of(worker))
        until(lambda: stalled.getsockname() not in peers_of(worker), READ_SECONDS * 2 + 30)


def peers_of(process: psutil.Process) -> set[tuple[str, int]]:
    return {tuple(c.raddr) for c in process.net_connections("tcp") if c.raddr}


@pytest.mark.slow
def test_more_connections_than_it_may_hold_wait_and_are_answered(transactional_db, tmp_path, monkeypatch) -> None:
    """Each holds two descriptors: its socket, and the video that it is sent. The process never runs out of them."""
    held, port = 150, stack.free_port()
    limit = connections_of.OTHER_DESCRIPTORS + 2 * held
    monkeypatch.setattr(stack, "free_port", lambda: port)
    limited = f"ulimit -Sn {limit // 2}; ulimit -Hn {limit}; exec {sys.executable} -m creatorify.web --port={port}"
    (tmp_path / "media").mkdir()
    with (tmp_path / "media" / "film.mp4").open("wb") as film:
        film.truncate(50_000_000)
    request = f"GET {default_storage.url('film.mp4')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with stack.running_service(tmp_path, commands={"web": ["sh", "-c", limited]}) as service:
        assert stack.web_worker(service).rlimit(psutil.RLIMIT_NOFILE) == (limit, limit)
        with contextlib.ExitStack() as opened:
            watching = []
            for _ in range(MANY):
                connection = opened.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.settimeout(60)
                connection.connect(("127.0.0.1", port))
                connection.sendall(request)
                watching.append(connection)
            answers = []
            for number, connection in enumerate(watching):
                if number >= held:
                    watching[number - held].close()  # Who has seen enough makes room for who waits.
                answers.append(connection.recv(12))
        assert is_well(service)
        log = (tmp_path / "logs" / "web.log").read_text()
    assert set(answers) == {b"HTTP/1.1 200"}
    assert "Too many open files" not in log


def test_a_taken_port_is_refused_with_a_word(service) -> None:
    """Granian's sockets would share it, and each server would get a part of the requests."""
    second = subprocess.run(
        [sys.executable, "-m", "creatorify.web", f"--port={port_of(service)}"],
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port_of(service)}: Address already in use" in second.stderr


def test_it_ends_with_open_streams_and_takes_its_workers_along(service, client, post) -> None:
    project_id = post("held")
    main = psutil.Process(service.processes["web"].pid)
    workers = main.children()
    headers = {**client.headers, "Accept": "text/event-stream"}
    with httpx.stream("GET", f"{service.base_url}/api/v1/projects/{project_id}/events", headers=headers) as stream:
        next(stream.iter_lines())
        main.terminate()
        _, alive = psutil.wait_procs([main, *workers], timeout=server.STOP_SECONDS + 20)

    assert workers and alive == []


def test_a_killed_main_process_leaves_no_worker_behind(service) -> None:
    main = psutil.Process(service.processes["web"].pid)
    workers = main.children()

    main.send_signal(signal.SIGKILL)

    _, alive = psutil.wait_procs(workers, timeout=20)
    assert workers and alive == []
    time.sleep(0.1)
    until(lambda: service.processes["web"].pid != main.pid)
    until(lambda: _answers(service))


def test_who_forges_the_proxys_headers_is_believed_nothing(service, alice) -> None:
    """Without a proxy of ours (NUM_PROXIES=0) an address in a header is only what the client says."""
    plain = keys.issue(alice.tenant, name="bound", allowed_ips=["203.0.113.0/24"])[1]
    forged = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "X-Real-IP": "203.0.113.7"}

    answer = httpx.get(f"{service.base_url}/api/v1/projects", headers={"X-API-Key": plain, **forged}, timeout=30)

    assert (answer.status_code, answer.json()["code"]) == (403, "ip_not_allowed")


def _answers(service) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return is_well(service)
    return False
