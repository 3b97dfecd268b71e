"""The examples of the README, of docs/, and of the document of the service that this one succeeds, as somebody copies
them. Only in those of the older service address, key and the addresses of the media are changed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from creatorify.demo.media import write_portrait, write_speech
from tests import ROOT
from tests.own_service.demo_process import start, var  # noqa: F401
from tests.render.conftest import site, write_voice  # noqa: F401

PYTHON_EXAMPLE = """
import requests
import time

API_URL = "https://<username>--infinitetalk-api-fastapi-app.modal.run"
API_KEY = "your-api-key"

headers = {
    "X-API-Key": API_KEY,
    "Content-Type": "application/json"
}

# 1. Create project
project_data = {
    "title": "Test Avatar",
    "image_url": "https://example.com/face.jpg",
    "audio_url": "https://example.com/speech.mp3",
    "prompt": "A person is talking about AI",
    "parameters": {
        "sample_steps": 8,
        "seed": 42
    }
}

response = requests.post(
    f"{API_URL}/api/v1/projects",
    headers=headers,
    json=project_data
)
project = response.json()
project_id = project["id"]

print(f"Project created: {project_id}")

# 2. Poll for status
while True:
    response = requests.get(
        f"{API_URL}/api/v1/projects/{project_id}/status",
        headers=headers
    )
    status = response.json()
    
    print(f"Status: {status['status']} - Progress: {status['progress']}%")
    
    if status["status"] == "finished":
        print(f"Video URL: {status['video_url']}")
        break
    elif status["status"] == "failed":
        print(f"Error: {status['error_message']}")
        break
    
    time.sleep(10)  # Poll every 10 seconds
"""  # noqa: W293

CURL_EXAMPLE = r"""
# Set variables
API_URL="https://<username>--infinitetalk-api-fastapi-app.modal.run"
API_KEY="your-api-key"

# Create project
PROJECT_ID=$(curl -s -X POST "$API_URL/api/v1/projects" \
  -H "X-API-Key: $API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "title": "Test Video",
    "image_url": "https://example.com/portrait.jpg",
    "audio_url": "https://example.com/audio.mp3",
    "prompt": "A person talking"
  }' | jq -r '.id')

echo "Project ID: $PROJECT_ID"

# Check status
curl -X GET "$API_URL/api/v1/projects/$PROJECT_ID/status" \
  -H "X-API-Key: $API_KEY"
"""


def adapted(example: str, service, plain_key: str, media: dict[str, str]) -> str:
    for old, new in {
        "http://127.0.0.1:8000": service.base_url,
        "https://<username>--infinitetalk-api-fastapi-app.modal.run": service.base_url,
        "your-api-key": plain_key,
        "https://example.com/face.jpg": media["image_url"],
        "https://example.com/portrait.jpg": media["image_url"],
        "https://example.com/speech.mp3": media["audio_url"],
        "https://example.com/audio.mp3": media["audio_url"],
    }.items():
        example = example.replace(old, new)
    return example


@pytest.fixture(scope="session")
def short_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a second takes a ninth of the computing of one of the demo's sentences."""
    return write_speech(tmp_path_factory.mktemp("speech") / "speech.wav", "Hello.")


@pytest.fixture
def media(site, short_speech: Path) -> dict[str, str]:  # noqa: F811
    """Addresses of a real portrait and of a short spoken sentence."""
    base_url, folder = site
    write_portrait(folder / "face.jpg")
    shutil.copy(short_speech, folder / "short-speech.wav")
    return {"image_url": f"{base_url}/face.jpg", "audio_url": f"{base_url}/short-speech.wav"}


def test_the_older_python_example_gets_its_video(service, alice, media) -> None:
    script = adapted(PYTHON_EXAMPLE, service, alice.plain_key, media).replace("time.sleep(10)", "time.sleep(0.2)")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    assert "Project created: " in run.stdout
    assert f"Video URL: {service.base_url}/media/" in run.stdout, run.stdout


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="the example needs curl and jq")
def test_the_older_curl_example_gets_a_status(service, alice, media) -> None:
    script = adapted(CURL_EXAMPLE, service, alice.plain_key, media)

    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)

    heading, _, answer = run.stdout.partition("\n")
    status = json.loads(answer)
    assert heading == f"Project ID: {status['id']}"
    assert status["status"] in ("queued", "processing")


def examples(document: str, language: str) -> list[str]:
    """The blocks of code in a document, as they are printed there."""
    blocks: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE
    )
    return blocks


def run_together(curl: str, python: str, **options: Any) -> list[subprocess.CompletedProcess[str]]:
    """The ends of both, which ran at the same time."""
    with ThreadPoolExecutor() as threads:
        run = partial(subprocess.run, capture_output=True, text=True, **options)
        return list(threads.map(run, (["bash", "-c", curl], [sys.executable, "-c", python])))


@pytest.fixture
def kept_demo(var: Path, short_speech: Path) -> Iterator[Path]:  # noqa: F811
    """The folder of a demo that was told to keep the service running."""
    folder = var / "var" / "demo"
    folder.mkdir(parents=True)
    shutil.copy(short_speech, folder / "speech.wav")  # A demo leaves its own there; this one is given another.
    demo = start(var / "var", "--keep", f"--speech={short_speech}")
    try:
        for line in demo.stdout:
            if "The service is running until you press Ctrl-C" in line:
                break
        assert demo.poll() is None, line
        yield folder
    finally:
        demo.send_signal(signal.SIGINT)
        said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 0, said


@pytest.mark.timeout(600)
def test_the_readmes_examples_get_their_videos_from_a_demo(kept_demo: Path) -> None:
    """As somebody pastes them, with nothing set and nothing changed but a shorter speech."""
    [of_make, curl] = examples("README.md", "sh")
    [python] = examples("README.md", "python")
    assert [line.split()[:2] for line in of_make.splitlines()] == [["make", "demo"], ["make", "test"]]
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    for run in run_together(curl, python, cwd=kept_demo.parents[1], env=plain, timeout=150):
        assert run.returncode == 0, run.stdout + run.stderr
        [film] = re.findall(r"http://[^\s\"]+\.mp4[^\s\"]*", run.stdout)
        assert httpx.get(film).raise_for_status().content[4:8] == b"ftyp"


@pytest.mark.slow
def test_a_demo_beside_one_that_is_kept_ends_and_changes_nothing_for_it(kept_demo: Path, short_speech: Path) -> None:
    address = (kept_demo / "api_url").read_text()

    beside, _ = start(kept_demo.parent, f"--speech={short_speech}").communicate(timeout=150)

    assert "Port 8431 cannot be used (Address already in use): the service uses port " in beside
    assert "To use the API yourself, keep the service running: make demo KEEP=1" in beside.splitlines()[-1]
    assert (kept_demo / "api_url").read_text() == address


@pytest.fixture
def demo_folder(tmp_path: Path) -> Path:
    """What a demo leaves for the examples, but for the address."""
    folder = tmp_path / "var" / "demo"
    folder.mkdir(parents=True)
    write_portrait(folder / "portrait.jpg")
    for name, content in {"api_key": "x", "project.json": "{}", "speech.wav": "x"}.items():
        (folder / name).write_text(content)
    return folder


def run_examples(folder: Path) -> list[subprocess.CompletedProcess[str]]:
    [_, curl], [python] = examples("README.md", "sh"), examples("README.md", "python")
    return run_together(curl, python, cwd=folder, timeout=30)


@pytest.mark.timeout(100)
@pytest.mark.parametrize("answer", [401, 404, 503])
def test_the_readmes_examples_end_where_every_request_is_refused(demo_folder, tmp_path: Path, answer: int) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(answer)
            self.send_header("Content-Length", "15")
            self.end_headers()
            self.wfile.write(b'{"detail": "x"}')

        do_GET = do_POST = do_PUT = refuse

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        (demo_folder / "api_url").write_text(f"http://127.0.0.1:{server.server_port}/api/v1")
        of_curl, of_python = run_examples(tmp_path)
        server.shutdown()

    assert of_curl.stderr == f'curl: (22) The requested URL returned error: {answer}\n{{"detail": "x"}}\n'
    assert (of_curl.returncode, of_curl.stdout) == (1, "")
    assert of_python.returncode == 1 and f': {answer} {{"detail": "x"}}' in of_python.stderr


@pytest.mark.timeout(100)
def test_the_readmes_examples_end_where_nothing_answers_or_no_demo_was(demo_folder, tmp_path: Path) -> None:
    (demo_folder / "api_url").write_text("http://127.0.0.1:1/api/v1")
    for said in ("curl: (7) Failed to connect to 127.0.0.1 port 1", "cat: var/demo/api_url: No such file"):
        of_curl, of_python = run_examples(tmp_path)
        assert (of_curl.returncode, of_curl.stdout) == (1, "")
        assert of_curl.stderr.startswith(said) and len(of_curl.stderr.splitlines()) <= 2
        assert of_python.returncode == 1
        (demo_folder / "api_url").unlink(missing_ok=True)


@pytest.mark.slow
def test_the_librarys_example_without_a_gpu_makes_a_film(tmp_path: Path) -> None:
    [tiny] = [block for block in examples("docs/infinitetalk.md", "sh") if "infinitetalk tiny" in block]
    write_portrait(tmp_path / "portrait.jpg")
    write_voice(tmp_path / "speech.wav", 0.6)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}

    run = subprocess.run(
        ["bash", "-ec", tiny], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )

    assert run.returncode == 0, run.stderr
    assert (tmp_path / "video.mp4").read_bytes()[4:8] == b"ftyp"
