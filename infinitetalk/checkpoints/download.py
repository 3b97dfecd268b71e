"""`python -m infinitetalk download`: the published weights, resumed after an interruption, and checked.

An incomplete file is kept as NAME.partial. huggingface_hub's own hf_hub_download would delete it.
"""

import argparse
import errno
import hashlib
import shutil
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, but not in __all__

from infinitetalk.checkpoints import hub
from infinitetalk.errors import InfiniteTalkError


class DownloadFailed(InfiniteTalkError):
    """The detail says what to do."""


@dataclass(frozen=True)
class RemoteFile:
    name: str
    size: int
    sha256: str | None  # None for small files, of which the hub does not list it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True, help="the folder to write to; some 80 GB")
    parser.add_argument("--no-loras", action="store_true", help="without the files of the presets fast and standard")
    parser.add_argument(
        "--preset-lora",
        type=_preset_lora,
        action="append",
        default=[],
        metavar="PRESET=OWNER/NAME:FILE",
        help="another place of a preset's LoRA file, in case its publisher has moved it",
    )


def run(options: argparse.Namespace) -> int:
    for repository in hub.REPOSITORIES:
        fetch(repository, options.weights / repository.folder)
    if not options.no_loras:
        sources = {**hub.PRESET_LORAS, **dict(options.preset_lora)}
        for preset, lora in sources.items():
            _fetch_lora(lora, hub.lora_file(options.weights, hub.PRESET_LORAS[preset]), preset)
    print(f"All weights are in {options.weights}")
    return 0


def fetch(repository: hub.Repository, folder: Path) -> list[Path]:
    """Download the needed files of the repository, except those that are complete already. Returns their paths.

    Size and SHA-256 are checked. Raises DownloadFailed.
    """
    return [_fetch_file(repository, file, folder / file.name) for file in _listed(repository)]


def _fetch_lora(lora: hub.PublishedLora, path: Path, preset: str) -> None:
    repository = hub.Repository(lora.repository, hub.LORAS, (lora.file,))
    try:
        [file] = _listed(repository)
        _fetch_file(repository, file, path)
    except DownloadFailed as error:
        if error.code not in ("file_missing", "not_found", "gated"):
            raise
        advice = f"Give another place by --preset-lora {preset}=OWNER/NAME:FILE, or go without: --no-loras."
        raise DownloadFailed(error.code, f"{error.detail} {advice}") from error


def _fetch_file(repository: hub.Repository, file: RemoteFile, path: Path) -> Path:
    if _is_complete(path, file):
        return path
    print(f"{repository.name}: {file.name} ({file.size / 1e9:.2f} GB)", file=sys.stderr)
    partial = path.with_name(f"{path.name}{hub.PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        done = partial.stat().st_size if partial.is_file() else 0
        if done > file.size:
            partial.unlink()
            done = 0
        if shutil.disk_usage(path.parent).free < file.size - done:
            raise OSError(errno.ENOSPC, "too little free space")
        url = hf_hub_url(repository.name, file.name, revision=repository.revision)
        with partial.open("ab") as opened:
            http_get(
                url,
                opened,
                resume_size=done,
                headers=build_hf_headers(),
                expected_size=file.size,
                displayed_filename=path.name,
            )
    except Exception as error:
        raise _explained(error, repository, file.name) from error
    if not _is_complete(partial, file):
        partial.unlink(missing_ok=True)
        raise DownloadFailed("download_damaged", f"{path} differs from what {repository.name} lists; it was deleted.")
    partial.replace(path)
    return path


def _listed(repository: hub.Repository) -> list[RemoteFile]:
    try:
        info = HfApi().model_info(repository.name, revision=repository.revision, files_metadata=True)
    except Exception as error:
        raise _explained(error, repository, "") from error
    files = [
        RemoteFile(sibling.rfilename, sibling.size or 0, sibling.lfs.sha256 if sibling.lfs else None)
        for sibling in info.siblings or []
    ]
    needed = [file for file in files if any(fnmatch(file.name, pattern) for pattern in repository.patterns)]
    if any(".." in Path(file.name).parts or Path(file.name).is_absolute() for file in needed):
        raise DownloadFailed("hub_error", f"{repository.name} lists files outside its folder.")
    for pattern in repository.patterns:
        if not any(fnmatch(file.name, pattern) for file in needed):
            raise DownloadFailed("file_missing", f"{repository.name} ({repository.revision}) has no {pattern}.")
    return needed


def _is_complete(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256 is None:
        return True
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


def _explained(error: Exception, repository: hub.Repository, name: str) -> DownloadFailed:
    place = f"{repository.name}: {name}" if name else repository.name
    if isinstance(error, DownloadFailed):
        return error
    if isinstance(error, GatedRepoError):
        return DownloadFailed(
            "gated",
            f"{place} is gated: accept its terms on its page on the hub, then set HF_TOKEN to a token of yours.",
        )
    if isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError):
        return DownloadFailed("no_network", f"{place} could not be reached. Run the same command again to go on.")
    if isinstance(error, RepositoryNotFoundError):
        return DownloadFailed("not_found", f"{place} does not exist, or HF_TOKEN may not read it.")
    if isinstance(error, EntryNotFoundError | RevisionNotFoundError):
        return DownloadFailed("file_missing", f"{place} does not exist in revision {repository.revision}.")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DownloadFailed("disk_full", f"The disk is full at {place}. Make room and run the same command again.")
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return DownloadFailed("gated", f"{place} may not be read: set HF_TOKEN to a token that may read it.")
        return DownloadFailed("hub_error", f"{place}: the hub answered {status}. Run the same command again later.")
    return DownloadFailed("download_failed", f"{place}: {error}")


def _preset_lora(text: str) -> tuple[str, hub.PublishedLora]:
    preset, _, place = text.partition("=")
    repository, _, file = place.partition(":")
    if preset not in hub.PRESET_LORAS or repository.count("/") != 1 or not file or set(file) & set("*?["):
        raise argparse.ArgumentTypeError(f"not PRESET=OWNER/NAME:FILE: {text}")
    return preset, hub.PublishedLora(repository, file)
