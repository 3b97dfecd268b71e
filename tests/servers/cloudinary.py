"""Cloudinary's upload, destroy, explicit and download endpoints on loopback, and deletion by prefix of its admin API.

As far as the SDK uses them. It checks each signature by the documented rule (sorted parameters and the secret, SHA-1),
written here anew, and can be told to answer badly. https://cloudinary.com/documentation/authentication_signatures
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit

from creatorify.config import media_storages

CLOUD, KEY, SECRET = "Acme-Cloud", "123456789012345", "s3cr3t"
UNSIGNED = {"file", "signature", "api_key", "resource_type", "cloud_name"}
LARGEST = 400_000_000
MESSAGES = {
    401: "Invalid Signature",
    403: "cloud_name is disabled",
    420: "Rate Limit Exceeded. Limit of 500 api operations reached",
    429: "Too many requests",
    500: "General Error",
}


@dataclass
class Cloudinary:
    url: str = ""
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)  # (resource type, public id) -> content
    uploads: list[str] = field(default_factory=list)  # public ids, in the order of their arrival
    requests: list[dict[str, str]] = field(default_factory=list)
    # What the next uploads of names that contain `only` meet: a status, "reset" or "slow"; then all is well again.
    faults: list[object] = field(default_factory=list)
    only: str = ""
    pieces: dict[str, bytes] = field(default_factory=dict)
    deleted_at_once: int = 1000

    @property
    def environment(self) -> dict[str, str]:
        return {"CLOUDINARY_URL": f"cloudinary://{KEY}:{SECRET}@{CLOUD}?upload_prefix={self.url}"}

    @property
    def storages(self) -> dict[str, object]:
        """Entries of Django's STORAGES that lead here."""
        entry = media_storages.cloudinary(self.environment["CLOUDINARY_URL"], auth_token_key="")
        return {"default": entry, "work": entry}


def signature(params: dict[str, str]) -> str:
    signed = {name: value.replace("&", "%26") for name, value in params.items() if value and name not in UNSIGNED}
    text = "&".join(f"{name}={value}" for name, value in sorted(signed.items()))
    return hashlib.sha1((text + SECRET).encode()).hexdigest()


@contextmanager
def running_cloudinary() -> Iterator[Cloudinary]:
    cloud = Cloudinary()

    class Handler(_Handler):
        cloudinary = cloud

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        cloud.url = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield cloud
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cloudinary: Cloudinary

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        """Download of an original: `private_download_url` of the SDK."""
        address = urlsplit(self.path)
        resource, action = self._route(address.path)
        params = dict(parse_qsl(address.query))
        name = (resource, params.get("public_id", ""))
        if action != "download" or signature(params) != params.get("signature") or params.get("api_key") != KEY:
            self._answer(401, {"error": {"message": "Invalid Signature"}})
        elif "expires_at" in params and int(params["expires_at"]) < time.time():
            self._answer(401, {"error": {"message": "Link expired"}})
        elif name not in self.cloudinary.objects or params.get("type") != "authenticated":
            self._answer(404, {"error": {"message": "Resource not found"}})
        else:
            self._send(200, "application/octet-stream", self.cloudinary.objects[name])

    def do_POST(self) -> None:
        resource, action = self._route(self.path)
        params, file = self._form()
        self.cloudinary.requests.append({"action": action, "resource_type": resource, **params})
        if action == "upload" and self.cloudinary.faults and self.cloudinary.only in params.get("public_id", ""):
            fault = self.cloudinary.faults.pop(0)
            if fault == "reset":
                self.connection.close()
                self.close_connection = True
                return
            if fault == "slow":
                time.sleep(3)
            elif fault == "too large":
                self._answer(400, {"error": {"message": "File size too large. Got 10. Maximum is 5."}})
                return
            else:
                self._answer(int(str(fault)), {"error": {"message": MESSAGES[int(str(fault))]}})
                return
        if signature(params) != params.get("signature") or params.get("api_key") != KEY:
            self._answer(401, {"error": {"message": "Invalid Signature"}})
        elif abs(int(params["timestamp"]) - time.time()) > 3600:
            self._answer(400, {"error": {"message": "Stale request"}})
        else:
            self._act(action, (resource, params["public_id"]), params, file)

    def do_DELETE(self) -> None:
        """https://cloudinary.com/documentation/admin_api#delete_resources, which authenticates by HTTP Basic."""
        _, version, cloud, resources, resource, kind = urlsplit(self.path).path.split("/")
        assert (version, cloud, resources, kind) == ("v1_1", CLOUD, "resources", "authenticated"), self.path
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.cloudinary.requests.append({"action": "delete", "resource_type": resource, **asked})
        expected = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {expected}":
            self._answer(401, {"error": {"message": "Invalid credentials"}})
            return
        stored = self.cloudinary.objects
        found = [name for name in stored if name[0] == resource and name[1].startswith(asked["prefix"])]
        gone = found[: self.cloudinary.deleted_at_once]
        for name in gone:
            del stored[name]
        more = {"next_cursor": "more"} if len(gone) < len(found) else {}
        answer = {"deleted": {name[1]: "deleted" for name in gone}, "partial": bool(more), **more}
        self._answer(200, answer)

    def _act(self, action: str, name: tuple[str, str], params: dict[str, str], file: bytes) -> None:
        stored = self.cloudinary.objects
        if params.get("type") != "authenticated":
            self._answer(400, {"error": {"message": "Only authenticated media are expected here"}})
        elif action == "upload":
            self._upload(name, file)
        elif action == "destroy":
            gone = stored.pop(name, None)
            self._answer(200, {"result": "not found" if gone is None else "ok"})
        elif name in stored:
            self._answer(200, {"public_id": name[1], "bytes": len(stored[name])})
        else:
            self._answer(404, {"error": {"message": f"Resource not found - {name[1]}"}})

    def _upload(self, name: tuple[str, str], file: bytes) -> None:
        whole = file
        if span := re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", self.headers.get("Content-Range", "")):
            start, last, total = map(int, span.groups())
            upload_id = self.headers["X-Unique-Upload-Id"]
            before = self.cloudinary.pieces.get(upload_id, b"")
            assert (len(before), last + 1 - start) == (start, len(file))
            whole = before + file
            self.cloudinary.pieces[upload_id] = whole
            if len(whole) < total:
                self._answer(200, {"done": False, "public_id": name[1]})
                return
        if len(whole) > LARGEST:
            self._answer(400, {"error": {"message": f"File size too large. Got {len(whole)}. Maximum is {LARGEST}."}})
            return
        self.cloudinary.objects[name] = whole
        self.cloudinary.uploads.append(name[1])
        self._answer(200, {"public_id": name[1], "bytes": len(whole), "resource_type": name[0]})

    def _route(self, path: str) -> tuple[str, str]:
        _, version, cloud, resource, action = path.split("/")
        assert (version, cloud) == ("v1_1", CLOUD), path
        return resource, action

    def _form(self) -> tuple[dict[str, str], bytes]:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])
        assert boundary
        params, file = {}, b""
        for part in body.split(b"--" + boundary[1].encode())[1:-1]:
            head, _, content = part.partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]+)"', head)
            assert name
            if name[1] == b"file":
                file = content.removesuffix(b"\r\n")
            else:
                params[name[1].decode()] = content.removesuffix(b"\r\n").decode()
        return params, file

    def _answer(self, status: int, body: dict[str, object]) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, content_type: str, content: bytes) -> None:
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        whole = len(content)
        if span and self.command == "GET" and status == 200:
            status = 206
            start, stop = int(span[1]), int(span[2] or whole - 1) + 1
            content = content[start:stop]
        self.send_response(status)
        if status == 206 and span:
            self.send_header("Content-Range", f"bytes {span[1]}-{int(span[1]) + len(content) - 1}/{whole}")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
