"""The README's Python, as a newcomer copies it."""

import re
import subprocess
import sys
from pathlib import Path

from creatorify.demo_media import write_portrait

README = Path(__file__).resolve().parents[2] / "README.md"
ONCE_MORE = """
project = requests.post(f"{api}/projects", headers=headers, json=job).json()
while project["status"] not in ("finished", "failed"):
    time.sleep(0.5)
    project = requests.get(project["urls"]["self"], headers=headers).json()
print(project["video_url"] or project["error"])
"""


def test_both_examples_make_a_video(service, alice, real_media, tmp_path) -> None:
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 2
    code = f"KEY = {alice.plain_key!r}\n" + "\n".join([*examples, ONCE_MORE])
    for old, new in {
        "http://127.0.0.1:8000": service.base_url,
        "https://example.com/portrait.jpg": real_media["image_url"],
        "https://example.com/speech.mp3": real_media["audio_url"],
    }.items():
        assert old in code
        code = code.replace(old, new)
    write_portrait(tmp_path / "me.jpg")

    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=100)

    assert run.returncode == 0, run.stderr
    films = run.stdout.split()
    assert len(films) == 2 and all(film.startswith(f"{service.base_url}/media/") for film in films), run.stdout
