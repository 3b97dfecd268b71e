"""Each way in which a server that a customer has named can fail, with its own words: real servers on loopback."""

import contextlib
import errno
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import trustme

from render.media.download import ssrf_guard
from render.media.download.failures import Failure, failure_of, failure_of_status, retry_after
from render.media.download.ssrf_guard import AddressNotAllowed, SsrfGuardTransport

Answer = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UNKNOWN_ISSUER = "uses a certificate whose issuer is not known, or without its intermediate certificates"


@contextlib.contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that does so with each connection."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):  # The client did not like it, as it should.
                answer(context.wrap_socket(connection, server_side=True) if context else connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def says(content: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(content)

    return answer


def resets(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_silent(connection: socket.socket) -> None:
    time.sleep(0.5)


def failure(url: str, *, allow_private: bool = True) -> Failure:
    transport = SsrfGuardTransport(allow_private=allow_private, total_seconds=0.3)
    failed = pytest.raises((httpx.HTTPError, httpx.InvalidURL, AddressNotAllowed))
    with httpx.Client(transport=transport, trust_env=False) as client, failed as caught:
        client.get(url)
    return failure_of(caught.value)


@pytest.mark.parametrize(
    ("answer", "words", "may_pass"),
    [
        (resets, "broke the connection off", True),
        (says(b""), "broke the connection off", True),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), "broke off before the end of its answer", True),
        (
            says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
            "broke off before the end of its answer",
            True,
        ),
        (says(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "sent an answer that is not valid HTTP", False),
        (says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000), "sent response headers that are too large", False),
        (is_silent, "took too long to answer", True),
    ],
)
def test_a_server_that_does_not_answer_well(answer, words, may_pass) -> None:
    with serving(answer) as port:
        told = failure(f"http://127.0.0.1:{port}/?secret=1")

    assert (told.words, told.may_pass, told.is_timeout) == (words, may_pass, answer is is_silent)


def test_a_port_that_nobody_listens_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    told = failure(f"http://127.0.0.1:{port}/")
    assert told == Failure("refuses the connection: nothing listens at this port", may_pass=True)


@pytest.mark.parametrize(
    ("raised", "words", "may_pass", "is_timeout"),
    [
        (socket.gaierror(socket.EAI_NONAME, "10.0.0.1"), "was not found: its name does not exist (DNS)", False, False),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "has a name that could not be looked up now", True, False),
        (UnicodeError("label too long"), "has an address that cannot be used", False, False),
        (None, "has a name that could not be looked up in time", True, True),
    ],
)
def test_a_name_that_is_not_found(monkeypatch, raised, words, may_pass, is_timeout) -> None:
    def resolve(*arguments, **named):
        if raised is None:
            time.sleep(0.5)
        raise raised or OSError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    assert failure("http://files.example/") == Failure(words, may_pass, is_timeout)
    if not is_timeout:  # Else a stranger could ask what there is inside.
        words = "has no public address, or its name does not exist"
        assert failure("http://files.example/", allow_private=False).words == words
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **n: [(2, 1, 6, "", ("10.0.0.1", 80))])
        assert failure("http://files.example/", allow_private=False).words == words


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (TimeoutError(), "did not take the connection in time"),
        (OSError(errno.EHOSTUNREACH, "10.0.0.1"), "cannot be reached over the network"),
        (OSError(errno.ENETUNREACH, "x"), "cannot be reached over the network"),
        (OSError(errno.EADDRNOTAVAIL, "x"), "could not be reached, or broke the connection off"),
    ],
)
def test_a_server_that_takes_no_connection(monkeypatch, raised, words) -> None:
    def connect(*arguments, **named):
        raise raised

    monkeypatch.setattr(socket, "create_connection", connect)

    assert failure("http://127.0.0.1/") == Failure(words, True, isinstance(raised, TimeoutError))


@pytest.fixture
def authority(monkeypatch, tmp_path) -> trustme.CA:
    """One whose certificates are trusted."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    trusting = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    monkeypatch.setattr(ssrf_guard, "authorities", lambda: trusting)
    return made


def of(issued: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


def days(number: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=number)


@pytest.mark.parametrize(
    ("names", "validity", "words"),
    [
        (["localhost"], {"not_before": days(-9), "not_after": days(-1)}, "uses a certificate that has expired"),
        (["localhost"], {"not_before": days(1), "not_after": days(9)}, "uses a certificate that is not valid yet"),
        (["other.example"], {}, "uses a certificate that is for another name"),
    ],
)
def test_a_certificate_that_is_wrong(authority, names, validity, words) -> None:
    with serving(says(OK), of(authority.issue_cert(*names, **validity))) as port:
        assert failure(f"https://localhost:{port}/") == Failure(words, may_pass=False)


def test_a_certificate_for_another_address(authority) -> None:
    with serving(says(OK), of(authority.issue_cert("localhost"))) as port:
        assert failure(f"https://127.0.0.1:{port}/").words == "uses a certificate that is for another name"


def test_a_certificate_of_an_unknown_issuer(authority) -> None:
    with serving(says(OK), of(trustme.CA().issue_cert("localhost"))) as port:
        assert failure(f"https://localhost:{port}/") == Failure(UNKNOWN_ISSUER, may_pass=False)


def test_a_chain_without_the_certificates_in_between(authority, tmp_path) -> None:
    issued = authority.create_child_ca().issue_cert("localhost")
    own = tmp_path / "own.pem"
    own.write_bytes(issued.private_key_pem.bytes() + issued.cert_chain_pems[0].bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)

    with serving(says(OK), context) as port:
        assert failure(f"https://localhost:{port}/") == Failure(UNKNOWN_ISSUER, may_pass=False)


def test_a_certificate_that_has_signed_itself(authority, tmp_path) -> None:
    alone = trustme.CA()
    own = tmp_path / "own.pem"
    own.write_bytes(alone.private_key_pem.bytes() + alone.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)

    with serving(says(OK), context) as port:
        told = failure(f"https://localhost:{port}/")
    assert told == Failure("uses a self-signed certificate", may_pass=False)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_a_server_without_tls_or_with_an_old_one(authority) -> None:
    with serving(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert failure(f"https://localhost:{port}/") == Failure("does not speak TLS at this port", may_pass=False)
    old = of(authority.issue_cert("localhost"))
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.minimum_version = ssl.TLSVersion.TLSv1
    with serving(says(OK), old) as port:
        told = failure(f"https://localhost:{port}/")
    assert told == Failure("offers no TLS version or cipher that is secure enough", may_pass=False)


def test_a_server_that_ends_the_handshake(authority) -> None:
    with serving(resets) as port:
        assert failure(f"https://localhost:{port}/") == Failure("broke the connection off", may_pass=True)


@pytest.mark.parametrize(
    ("status", "words", "may_pass"),
    [
        (404, "answered 404 (Not Found)", False),
        (401, "answered 401 (Unauthorized)", False),
        (501, "answered 501 (Not Implemented)", False),
        (503, "answered 503 (Service Unavailable)", True),
        (522, "answered 522", True),
        (302, "answered 302 (Found), which is a redirect, and redirects are not followed", False),
    ],
)
def test_a_status_that_is_no_success(status, words, may_pass) -> None:
    assert failure_of_status(status) == Failure(words, may_pass)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        pytest.param(format_datetime(days(1), usegmt=True), 24 * 3600, id="tomorrow"),
        pytest.param(format_datetime(days(1)).removesuffix(" +0000"), 24 * 3600, id="tomorrow, without a zone"),
        pytest.param(format_datetime(days(-1), usegmt=True), None, id="yesterday"),
        ("Fri, 31 Dec 1999 23:59:59", None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 30, None),
        ("Fri, 99 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_how_long_a_server_asks_to_wait(given, seconds) -> None:
    told = retry_after(httpx.Response(503, headers={"Retry-After": given}))

    assert told == (None if seconds is None else pytest.approx(seconds, abs=3600))
