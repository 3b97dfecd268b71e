"""What `MediaStorage` declares, on each storage: files, Cloudinary's protocol, S3's protocol."""

import hashlib
from collections.abc import Iterator

import httpx
import pytest
from django.core.files.base import ContentFile

from render.storage import links
from render.storage.backends.base import MediaStorage
from render.storage.backends.cloudinary import CloudinaryStorage
from render.storage.backends.files import SignedFileStorage
from render.storage.backends.s3 import SignedS3Storage
from render.storage.failures import Reason, StorageFailure
from tests.servers.cloudinary import CLOUD, KEY, SECRET, Cloudinary, running_cloudinary
from tests.servers.s3 import running_s3

FILM = bytes(range(256)) * 4000
NAMES = ["acme/renders/film.mp4", "acme/renders/poster.jpg", "work/acme/state.bin", "work/acme/segment.ts"]


@pytest.fixture(autouse=True)
def _no_backoff(settings) -> None:
    settings.STORAGE_BACKOFF_SECONDS = 0.001


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with running_s3() as settings:
        yield settings


@pytest.fixture
def cloud() -> Iterator[Cloudinary]:
    with running_cloudinary() as cloud:
        yield cloud


def s3_storage(s3: dict[str, str], **changes: str) -> SignedS3Storage:
    return SignedS3Storage(
        **{
            "bucket_name": s3["S3_BUCKET"],
            "endpoint_url": s3["S3_ENDPOINT_URL"],
            "region_name": s3["S3_REGION"],
            "access_key": s3["S3_ACCESS_KEY_ID"],
            "secret_key": s3["S3_SECRET_ACCESS_KEY"],
            **changes,
        }
    )


def cloudinary_storage(cloud: Cloudinary, **changes: str) -> CloudinaryStorage:
    return CloudinaryStorage(
        **{"cloud_name": CLOUD, "api_key": KEY, "api_secret": SECRET, "api_url": cloud.url, **changes}
    )


@pytest.fixture(scope="module")
def shared_s3_storage(s3: dict[str, str]) -> SignedS3Storage:
    """boto3 takes 0.2 s of computing to make a client."""
    return s3_storage(s3)


@pytest.fixture(params=["files", "cloudinary", "s3"])
def storage(request, settings) -> MediaStorage:
    if request.param == "files":
        return SignedFileStorage(allow_overwrite=True)
    if request.param == "cloudinary":
        return cloudinary_storage(request.getfixturevalue("cloud"))
    return request.getfixturevalue("shared_s3_storage")


@pytest.fixture
def get(client):
    """GET of a link: of this service's own by its view, of any other over HTTP. -> status, body"""

    def ask(url: str, **headers: str) -> tuple[int, bytes]:
        if url.startswith("/"):
            answer = client.get(url, headers=headers)
            return answer.status_code, b"".join(answer) if answer.streaming else answer.content
        response = httpx.get(url, headers=headers, timeout=10)
        return response.status_code, response.content

    return ask


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_comes_back_and_goes(storage, name):
    assert not storage.exists(name)
    assert storage.save(name, ContentFile(FILM)) == name
    assert storage.exists(name)
    with storage.open(name) as file:
        assert file.read() == FILM

    assert storage.save(name, ContentFile(FILM[:10])) == name  # the same name again, not another one
    with storage.open(name) as file:
        assert file.read() == FILM[:10]

    storage.delete(name)
    storage.delete(name)
    assert not storage.exists(name)
    with pytest.raises(FileNotFoundError):
        storage.open(name)


def test_a_link_serves_ranges_to_who_has_it_until_it_ends(storage, get, settings, monkeypatch):
    storage.save("acme/film.mp4", ContentFile(FILM))
    url = storage.url("acme/film.mp4")

    assert get(url) == (200, FILM)
    assert get(url, Range="bytes=100-199") == (206, FILM[100:200])
    if not isinstance(storage, SignedS3Storage):  # moto looks at no signature
        assert get(url.replace("signature=", "signature=0"))[0] in (401, 403)
        real = links.time.time
        monkeypatch.setattr(links.time, "time", lambda: real() - 2 * settings.MEDIA_LINK_SECONDS)
        old = storage.url("acme/film.mp4")
        monkeypatch.undo()
        assert get(old)[0] in (401, 403)


def test_a_link_stays_the_same_for_a_while(storage, settings, monkeypatch):
    storage.save("acme/film.mp4", ContentFile(FILM))
    settings.MEDIA_LINK_SECONDS = 7200
    monkeypatch.setattr(links.time, "time", lambda: 1_900_000_800)

    first = storage.url("acme/film.mp4")
    monkeypatch.setattr(links.time, "time", lambda: 1_900_000_800 + 1000)
    assert storage.url("acme/film.mp4") == first
    assert links.link_expiry() - 1_900_000_800 > settings.MEDIA_LINK_SECONDS / 2
    monkeypatch.setattr(links.time, "time", lambda: 1_900_000_800 + 3600)
    if not isinstance(storage, SignedS3Storage):  # whose signature takes its date from another clock
        assert storage.url("acme/film.mp4") != first


@pytest.mark.parametrize("name", ["acme/voice.wav", "acme/notes.bin"])
def test_a_customer_sends_a_file_straight_to_it(storage, name):
    if storage.service_receives_uploads:
        pytest.skip("this service takes it itself: tests/projects/assets/test_uploads.py")
    digest = hashlib.sha256(FILM).hexdigest()

    upload = storage.direct_upload(name, content_type="audio/wav", num_bytes=len(FILM), sha256=digest, seconds=60)
    body = {"content": FILM} if upload.method == "PUT" else {"data": upload.fields, "files": {"file": FILM}}
    httpx.request(upload.method, upload.url, headers=upload.headers, **body).raise_for_status()

    with storage.open(name) as file:
        assert file.read() == FILM


def test_support_staff_have_a_link_too(storage, get):
    storage.save("acme/film.mp4", ContentFile(FILM))

    assert get(storage.staff_url("acme/film.mp4")) == (200, FILM)


def test_where_there_is_no_smaller_image_its_thumbnail_is_the_image(storage):
    link = storage.thumbnail_url("acme/poster.jpg", width=320)

    if isinstance(storage, CloudinaryStorage):
        assert "c_limit,w_320" in link
    else:
        assert link == storage.url("acme/poster.jpg")


def test_a_size_is_in_bytes_and_known_of_no_missing_file(storage):
    storage.save("acme/film.mp4", ContentFile(FILM))

    assert storage.size("acme/film.mp4") == len(FILM)
    with pytest.raises(FileNotFoundError):
        storage.size("acme/other.mp4")


def test_either_this_service_receives_uploads_or_the_storage_itself(storage):
    upload = storage.direct_upload("acme/a.wav", content_type="audio/wav", num_bytes=1, sha256="", seconds=60)

    assert upload.url.startswith("/") is storage.service_receives_uploads
    if storage.service_receives_uploads:
        file = storage.incoming_file()
        file.write(FILM)
        file.flush()
        assert list(storage.abandoned(seconds=-60)) == []  # It is being written.
        file.release()
        with storage.open(file.name) as stored:
            assert stored.read() == FILM
        assert list(storage.abandoned(seconds=-60)) == [file.name]
        file.delete()
        assert not storage.exists(file.name)
    else:
        with pytest.raises(NotImplementedError):
            storage.incoming_file()
        assert list(storage.abandoned(seconds=-60)) == []


@pytest.mark.parametrize(
    "name", ["acme/none.mp4", "acme", "../settings.py", f"acme/{'x' * 300}.mp4", "acme/film.mp4/x"]
)
def test_this_service_serves_only_files_of_its_own(storage, name):
    storage.save("acme/film.mp4", ContentFile(FILM))

    with pytest.raises(FileNotFoundError):
        storage.open_served(name)
    if storage.service_receives_uploads:
        with storage.open_served("acme/film.mp4") as file:
            assert file.read() == FILM


def test_a_storage_without_a_method_of_the_interface_cannot_be_made():
    class Incomplete(MediaStorage):
        pass

    with pytest.raises(TypeError, match="delete_folder"):
        Incomplete()


def test_a_folder_goes_with_all_that_is_below_it_and_nothing_beside_it(storage, monkeypatch):
    folder = "acme/renders/1"
    inside = [f"{folder}/{name}" for name in ("a1/film.mp4", "a1/poster.jpg", "a2/state.bin", "a2/b/segment.ts")]
    beside = ["acme/renders/10/film.mp4", "acme/renders/1.mp4", f"other/{folder}/film.mp4"]
    for name in inside + beside:
        storage.save(name, ContentFile(FILM[:10]))

    assert storage.delete_folder(folder) == 4

    assert [name for name in inside + beside if storage.exists(name)] == beside
    assert storage.delete_folder(folder) == 0


def test_cloudinary_deletes_a_large_folder_in_several_requests(cloud):
    storage = cloudinary_storage(cloud)
    for number in range(7):
        storage.save(f"acme/renders/1/segment-{number}.ts", ContentFile(b"x"))
    cloud.deleted_at_once = 3

    assert storage.delete_folder("acme/renders/1") == 7


def test_cloudinary_is_told_what_is_what(cloud):
    storage = cloudinary_storage(cloud)
    for name in NAMES:
        storage.save(name, ContentFile(FILM))

    assert set(cloud.objects) == {
        ("video", "acme/renders/film"), ("image", "acme/renders/poster"),
        ("raw", "work/acme/state.bin"), ("raw", "work/acme/segment.ts"),
    }  # fmt: skip
    storage.delete("acme/renders/film.mp4")
    assert cloud.requests[-1]["invalidate"] == "1"


def test_cloudinary_gets_a_large_file_in_pieces(cloud, monkeypatch):
    monkeypatch.setattr("render.storage.backends.cloudinary.CHUNK_BYTES", 300_000)
    read = []

    class Watched(ContentFile):
        def read(self, num_bytes=-1):
            read.append(num_bytes)
            return super().read(num_bytes)

    cloudinary_storage(cloud).save("acme/film.mp4", Watched(FILM))

    assert cloud.objects["video", "acme/film"] == FILM
    assert read == [300_000] * 5  # never the whole file in memory


def test_cloudinary_s_own_delivery_is_signed_too(cloud):
    plain = cloudinary_storage(cloud).thumbnail_url("acme/poster.jpg", width=320)
    assert plain.startswith(f"https://res.cloudinary.com/{CLOUD}/image/authenticated/s--")
    assert plain.endswith("/c_limit,w_320/v1/acme/poster.jpg")

    with_token = cloudinary_storage(cloud, auth_token_key="00112233ff99")
    assert "__cld_token__=exp=" in with_token.thumbnail_url("acme/other.jpg", width=320)
    film = with_token.url("acme/film.mp4")
    assert film.startswith(f"https://res.cloudinary.com/{CLOUD}/video/authenticated/")
    assert f"exp={links.link_expiry()}~hmac=" in film


@pytest.mark.parametrize(
    ("faults", "reason", "requests"),
    [
        ([401], Reason.CREDENTIALS, 1),
        ([403], Reason.FULL, 1),
        (["too large"], Reason.TOO_LARGE, 1),
        ([420] * 9, Reason.LIMITED, 4),
        ([429] * 9, Reason.LIMITED, 4),
        ([500] * 9, Reason.UNAVAILABLE, 4),
        (["reset"] * 9, Reason.UNAVAILABLE, 4),
        ([429, 500, "reset"], None, 4),
    ],
)
def test_cloudinary_s_failures_have_a_reason_and_pass_if_they_may(cloud, faults, reason, requests):
    cloud.faults = list(faults)
    storage = cloudinary_storage(cloud)

    if reason is None:
        storage.save("acme/film.mp4", ContentFile(FILM))
        assert cloud.objects["video", "acme/film"] == FILM
    else:
        with pytest.raises(StorageFailure) as caught:
            storage.save("acme/film.mp4", ContentFile(FILM))
        assert caught.value.reason == reason
    assert len(cloud.requests) == requests


def test_a_slow_answer_is_not_waited_for_for_ever(cloud, monkeypatch, settings):
    settings.STORAGE_ATTEMPTS = 1
    monkeypatch.setattr("render.storage.backends.cloudinary.TIMEOUT_SECONDS", 0.2)
    cloud.faults = ["slow"]

    with pytest.raises(StorageFailure) as caught:
        cloudinary_storage(cloud).save("acme/film.mp4", ContentFile(FILM))
    assert caught.value.reason == Reason.UNAVAILABLE


def test_wrong_keys_are_told_from_everything_else(cloud):
    storage = cloudinary_storage(cloud, api_secret="another")

    for attempt in (
        lambda: storage.save("acme/film.mp4", ContentFile(FILM)),
        lambda: storage.open("acme/film.mp4"),
        lambda: storage.delete("acme/film.mp4"),
        lambda: storage.exists("acme/film.mp4"),
        lambda: storage.delete_folder("acme"),
    ):
        with pytest.raises(StorageFailure) as caught:
            attempt()
        assert caught.value.reason == Reason.CREDENTIALS


def test_s3_s_failures_have_a_reason(s3, settings):
    settings.STORAGE_ATTEMPTS = 1  # botocore waits up to a second before another.
    with pytest.raises(StorageFailure) as caught:
        s3_storage(s3, bucket_name="none-of-ours").save("acme/film.mp4", ContentFile(FILM))
    assert caught.value.reason == Reason.CREDENTIALS

    with pytest.raises(StorageFailure) as caught:
        s3_storage(s3, endpoint_url="http://127.0.0.1:9").save("acme/film.mp4", ContentFile(FILM))
    assert caught.value.reason == Reason.UNAVAILABLE


def test_s3_signs_the_size_and_the_hash_of_a_direct_upload(shared_s3_storage):
    digest = hashlib.sha256(FILM).hexdigest()

    upload = shared_s3_storage.direct_upload(
        "acme/voice.wav", content_type="audio/wav", num_bytes=len(FILM), sha256=digest, seconds=60
    )

    assert "content-length" in upload.url and "X-Amz-Expires=60" in upload.url
    assert upload.headers["x-amz-checksum-sha256"]


def test_a_full_disk_is_a_full_account(settings, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)

    with pytest.raises(StorageFailure) as caught:
        SignedFileStorage().save("acme/film.mp4", ContentFile(FILM))
    assert caught.value.reason == Reason.FULL
    assert list((settings.MEDIA_ROOT / "acme").iterdir()) == []


def test_what_cannot_be_deleted_is_a_failure_that_others_outlive(settings) -> None:
    storage = SignedFileStorage()
    storage.save("acme/film.mp4", ContentFile(FILM))

    with pytest.raises(StorageFailure):
        storage.delete_folder("acme/film.mp4")  # It is a file.
    with pytest.raises(StorageFailure):
        storage.delete(f"acme/{'x' * 300}.mp4")
    assert storage.exists("acme/film.mp4")
