"""The examples of the README, and of the document of the service that this one succeeds, as somebody copies them.

Nothing is changed but address, key and the addresses of the media.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from creatorify.demo_media import write_portrait

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


README = Path(__file__).resolve().parents[2] / "README.md"
# The second of its examples leaves a project to be made.
ONCE_MORE = """
project = requests.post(f"{api}/projects", headers=headers, json=job).json()
while project["status"] not in ("finished", "failed"):
    time.sleep(0.5)
    project = requests.get(project["urls"]["self"], headers=headers).json()
print(project["video_url"] or project["error"])
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


def test_the_python_examples_get_their_videos(service, alice, real_media, tmp_path) -> None:
    script = adapted(PYTHON_EXAMPLE, service, alice.plain_key, real_media)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    assert "Project created: " in run.stdout
    assert f"Video URL: {service.base_url}/media/" in run.stdout, run.stdout

    script = adapted(readme_examples(), service, alice.plain_key, real_media)
    write_portrait(tmp_path / "me.jpg")
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    films = run.stdout.split()
    assert len(films) == 2 and all(film.startswith(f"{service.base_url}/media/") for film in films), run.stdout


def readme_examples() -> str:
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 2
    return "\n".join(['KEY = "your-api-key"', *examples, ONCE_MORE])


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="the example needs curl and jq")
def test_the_curl_example_gets_a_status(service, alice, real_media) -> None:
    script = adapted(CURL_EXAMPLE, service, alice.plain_key, real_media)

    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)

    heading, _, answer = run.stdout.partition("\n")
    status = json.loads(answer)
    assert heading == f"Project ID: {status['id']}"
    assert status["status"] in ("queued", "processing")
