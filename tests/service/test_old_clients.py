"""The examples in the document of the service that this one succeeds, with nothing changed but address and key."""

import json
import shutil
import subprocess
import sys

import pytest

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
        "https://<username>--infinitetalk-api-fastapi-app.modal.run": service.base_url,
        "your-api-key": plain_key,
        "https://example.com/face.jpg": media["image_url"],
        "https://example.com/portrait.jpg": media["image_url"],
        "https://example.com/speech.mp3": media["audio_url"],
        "https://example.com/audio.mp3": media["audio_url"],
    }.items():
        example = example.replace(old, new)
    return example


def test_the_python_example_gets_its_video(service, alice, real_media) -> None:
    script = adapted(PYTHON_EXAMPLE, service, alice.plain_key, real_media)

    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)

    assert run.returncode == 0, run.stderr
    assert "Project created: " in run.stdout
    assert f"Video URL: {service.base_url}/media/" in run.stdout, run.stdout


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="the example needs curl and jq")
def test_the_curl_example_gets_a_status(service, alice, real_media) -> None:
    script = adapted(CURL_EXAMPLE, service, alice.plain_key, real_media)

    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)

    heading, _, answer = run.stdout.partition("\n")
    status = json.loads(answer)
    assert heading == f"Project ID: {status['id']}"
    assert status["status"] in ("queued", "processing")
