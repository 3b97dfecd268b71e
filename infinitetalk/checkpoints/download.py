"""`python -m infinitetalk download`: the published weights, resumed where a download broke off, and checked."""

import argparse
import errno
import hashlib
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from infinitetalk.checkpoints import layout
from infinitetalk.errors import InfiniteTalkError


class DownloadFailed(InfiniteTalkError):
    pass


@dataclass(frozen=True)
class RemoteFile:
    name: str
    size: int
    sha256: str | None  # known of large files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True, help="where to; some 80 GB")
    parser.add_argument("--no-loras", action="store_true", help="without the files of the presets fast and standard")


def run(options: argparse.Namespace) -> int:
    for repository in layout.REPOSITORIES:
        fetch(repository, options.weights / repository.folder)
    if not options.no_loras:
        for lora in layout.PRESET_LORAS.values():
            path = layout.lora_file(options.weights, lora)
            single = layout.Repository(lora.repository, layout.LORAS, (lora.file,))
            [fetched] = fetch(single, options.weights / layout.LORAS / ".hub")
            fetched.replace(path)
    print(f"All weights are in {options.weights}")
    return 0


def fetch(repository: layout.Repository, folder: Path) -> list[Path]:
    """Download the repository's files that are needed, unless they are there already, and check size and SHA-256.

    Raises DownloadFailed with what to do about it.
    """
    wanted = _listed(repository)
    paths = []
    for file in wanted:
        path = folder / file.name
        if not _is_whole(path, file):
            print(f"{repository.name}: {file.name} ({file.size / 1e9:.2f} GB)", file=sys.stderr)
            # What broke off lies under another name; a whole file that is damaged would be taken for the right one.
            path.unlink(missing_ok=True)
            try:
                path = Path(hf_hub_download(repository.name, file.name, revision=repository.revision, local_dir=folder))
            except Exception as error:
                raise _explained(error, repository, file.name) from error
            if not _is_whole(path, file):
                path.unlink(missing_ok=True)
                raise DownloadFailed("download_damaged", f"{path} is not what {repository.name} lists; it was deleted.")
        paths.append(path)
    return paths


def _listed(repository: layout.Repository) -> list[RemoteFile]:
    try:
        info = HfApi().model_info(repository.name, revision=repository.revision, files_metadata=True)
    except Exception as error:
        raise _explained(error, repository, "") from error
    files = [
        RemoteFile(sibling.rfilename, sibling.size or 0, sibling.lfs.sha256 if sibling.lfs else None)
        for sibling in info.siblings or []
    ]
    wanted = [file for file in files if any(fnmatch(file.name, pattern) for pattern in repository.patterns)]
    for pattern in repository.patterns:
        if not any(fnmatch(file.name, pattern) for file in wanted):
            raise DownloadFailed("file_missing", f"{repository.name} ({repository.revision}) has no {pattern}.")
    return wanted


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256 is None:
        return True
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256


def _explained(error: Exception, repository: layout.Repository, name: str) -> DownloadFailed:
    what = f"{repository.name}: {name}" if name else repository.name
    if isinstance(error, DownloadFailed):
        return error
    if isinstance(error, GatedRepoError):
        return DownloadFailed(
            "gated", f"{what} is gated: accept its terms on its page on the hub, then set HF_TOKEN to a token of yours."
        )
    if isinstance(error, LocalEntryNotFoundError | httpx2.TransportError | ConnectionError | TimeoutError):
        return DownloadFailed("no_network", f"{what} could not be reached. Run the same command again to go on.")
    if isinstance(error, RepositoryNotFoundError):
        return DownloadFailed("not_found", f"{what} does not exist, or HF_TOKEN does not open it.")
    if isinstance(error, EntryNotFoundError | RevisionNotFoundError):
        return DownloadFailed("file_missing", f"{what} does not exist in revision {repository.revision}.")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return DownloadFailed("disk_full", f"The disk is full at {what}. Make room and run the same command again.")
    if isinstance(error, HfHubHTTPError):
        return DownloadFailed("hub_error", f"{what}: the hub answered {error.response.status_code}.")
    return DownloadFailed("download_failed", f"{what}: {error}")
