"""Against a hub on loopback that speaks the part of the real one's protocol that a download needs."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import disk_usage
from threading import Thread
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download

from infinitetalk.__main__ import main
from infinitetalk.checkpoints import download
from infinitetalk.checkpoints import hub as layout
from infinitetalk.checkpoints.download import DownloadFailed, fetch
from infinitetalk.checkpoints.hub import PublishedLora, Repository

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = Repository("owner/model", "model", ("config.json", "part-*.bin"))


class Hub:
    def __init__(self) -> None:
        self.files = {"config.json": b"{}", "part-1.bin": b"one" * 1000, "part-2.bin": b"two" * 1000, "README.md": b"#"}
        self.listed_sha256: dict[str, str] = {}
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self.break_off_after: int | None = None  # bytes of a file, once

    def listing(self) -> dict:
        siblings = []
        for name, content in self.files.items():
            sha256 = self.listed_sha256.get(name, hashlib.sha256(content).hexdigest())
            sibling = {"rfilename": name, "size": len(content), "blobId": sha256[:40]}
            if name.endswith(".bin"):
                sibling["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        return {"id": "owner/model", "modelId": "owner/model", "sha": COMMIT, "siblings": siblings}


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            state.asked.append(f"{self.command} {path}")
            if state.status:
                self.send_response(state.status)
                for name, value in state.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            is_listing = path.startswith("/api/models/")
            content = (
                json.dumps(state.listing()).encode() if is_listing else state.files[path.partition("/resolve/main/")[2]]
            )
            start = 0
            if wanted := self.headers.get("Range"):
                state.asked[-1] += f" from {wanted}"
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            content = content[start:]
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if state.break_off_after is not None and path.endswith(".bin"):
                content = content[: state.break_off_after]
                state.break_off_after, state.status = None, 503
            if body:
                self.wfile.write(content)

        def log_message(self, *arguments) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(download, "HfApi", lambda: download_api(address))
        yield state
        server.shutdown()


def download_api(address: str):
    from huggingface_hub import HfApi

    return HfApi(endpoint=address)


def test_it_fetches_what_is_needed_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    paths = fetch(REPOSITORY, tmp_path)

    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["config.json", "part-1.bin", "part-2.bin"]
    assert (tmp_path / "part-2.bin").read_bytes() == hub.files["part-2.bin"]
    assert not (tmp_path / "README.md").exists()


def test_what_is_there_and_whole_is_not_fetched_again(hub: Hub, tmp_path: Path) -> None:
    fetch(REPOSITORY, tmp_path)
    (tmp_path / "part-1.bin").write_bytes(b"cut")
    hub.asked.clear()

    fetch(REPOSITORY, tmp_path)

    assert (tmp_path / "part-1.bin").read_bytes() == hub.files["part-1.bin"]
    assert not any("part-2" in request for request in hub.asked)


def test_a_file_with_another_hash_is_deleted_and_named(hub: Hub, tmp_path: Path) -> None:
    hub.listed_sha256["part-1.bin"] = "0" * 64

    with pytest.raises(DownloadFailed, match=r"part-1\.bin") as caught:
        fetch(REPOSITORY, tmp_path)

    assert caught.value.code == "download_damaged"
    assert not (tmp_path / "part-1.bin").exists()


def test_a_missing_file_is_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"weights\.pth") as caught:
        fetch(Repository("owner/model", "model", ("weights.pth",)), tmp_path)

    assert caught.value.code == "file_missing"


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        (403, {"X-Error-Code": "GatedRepo"}, "gated"),
        (401, {"X-Error-Code": "GatedRepo"}, "gated"),
        (403, {}, "gated"),
        (404, {"X-Error-Code": "RepoNotFound"}, "not_found"),
        (404, {"X-Error-Code": "RevisionNotFound"}, "file_missing"),
        (418, {}, "hub_error"),
    ],
)
def test_each_refusal_of_the_hub_is_explained(hub: Hub, tmp_path: Path, status: int, headers: dict, code: str) -> None:
    hub.status, hub.headers = status, headers

    with pytest.raises(DownloadFailed) as caught:
        fetch(REPOSITORY, tmp_path)

    assert caught.value.code == code


def test_no_network_is_explained(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(download, "HfApi", lambda: download_api("http://127.0.0.1:9"))

    with pytest.raises(DownloadFailed) as caught:
        fetch(REPOSITORY, tmp_path)

    assert caught.value.code == "no_network"


def test_what_broke_off_goes_on_where_it_stopped(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    monkeypatch.setattr(file_download, "time", SimpleNamespace(sleep=lambda seconds: None))  # before it tries again
    hub.break_off_after = 1000
    with pytest.raises(DownloadFailed) as caught:
        fetch(REPOSITORY, tmp_path)
    assert caught.value.code == "hub_error"
    assert (tmp_path / "part-1.bin.partial").stat().st_size == 1000

    hub.status = None
    fetch(REPOSITORY, tmp_path)

    assert (tmp_path / "part-1.bin").read_bytes() == hub.files["part-1.bin"]
    assert not list(tmp_path.glob("*.partial"))
    assert any(request.endswith("part-1.bin from bytes=1000-") for request in hub.asked)


def test_a_partial_file_of_something_else_is_found_out(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "part-1.bin.partial").write_bytes(b"x" * 1000)

    with pytest.raises(DownloadFailed, match=r"part-1\.bin") as caught:
        fetch(REPOSITORY, tmp_path)

    assert caught.value.code == "download_damaged"
    fetch(REPOSITORY, tmp_path)  # It was deleted: the next run starts anew.


def test_a_full_disk_is_explained_before_anything_is_fetched(hub: Hub, tmp_path: Path, monkeypatch) -> None:
    full = disk_usage(tmp_path)._replace(free=1)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: full)

    with pytest.raises(DownloadFailed, match="Make room") as caught:
        fetch(REPOSITORY, tmp_path)

    assert caught.value.code == "disk_full"
    assert not any("resolve" in request for request in hub.asked)


def test_names_that_lead_out_of_the_folder_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"google/../../evil": b"x"}

    with pytest.raises(DownloadFailed, match="outside"):
        fetch(Repository("owner/model", "model", ("google/*",)), tmp_path / "weights")

    assert not any("resolve" in request for request in hub.asked)


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def one_repository(self, hub: Hub, monkeypatch) -> None:
        monkeypatch.setattr(layout, "REPOSITORIES", (REPOSITORY,))
        monkeypatch.setattr(layout, "PRESET_LORAS", {"fast": PublishedLora("owner/model", "deep/part-2.bin")})
        hub.files["deep/part-2.bin"] = hub.files["part-2.bin"]

    def test_a_lora_lies_where_its_preset_looks_and_is_fetched_once(self, hub: Hub, tmp_path: Path) -> None:
        assert main(["download", "--weights", str(tmp_path)]) == 0
        assert layout.lora_file(tmp_path, layout.PRESET_LORAS["fast"]).read_bytes() == hub.files["part-2.bin"]
        hub.asked.clear()

        assert main(["download", "--weights", str(tmp_path)]) == 0
        assert not any("resolve" in request for request in hub.asked)

    def test_a_lora_can_come_from_another_place(self, hub: Hub, tmp_path: Path) -> None:
        assert main(["download", "--weights", str(tmp_path), "--preset-lora", "fast=owner/model:part-1.bin"]) == 0

        assert layout.lora_file(tmp_path, layout.PRESET_LORAS["fast"]).read_bytes() == hub.files["part-1.bin"]

    def test_a_lora_that_is_gone_comes_with_advice(self, hub: Hub, tmp_path: Path, capsys) -> None:
        del hub.files["deep/part-2.bin"]

        assert main(["download", "--weights", str(tmp_path)]) == 2

        assert "--preset-lora fast=" in capsys.readouterr().err
