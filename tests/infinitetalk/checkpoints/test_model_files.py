"""Bad files of the model: the variant that is loaded goes on, the bad one is refused until its files are good again."""

import errno
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from infinitetalk.acceleration.memory_plan import PLANS
from infinitetalk.checkpoints import hub
from infinitetalk.checkpoints.load_encoders import Encoders, load_encoders
from infinitetalk.checkpoints.load_transformer import LoraFile
from infinitetalk.checkpoints.merge import merge
from infinitetalk.errors import AttentionUnavailable, InvalidCheckpoint
from infinitetalk.server import loaded_model
from infinitetalk.server.loaded_model import Readiness
from infinitetalk.server.model import ModelWorker
from infinitetalk.server.variants import PLAIN_VARIANTS, SCALED_VARIANTS, Variant, VariantLoader
from tests.infinitetalk.server.test_model import CPU, RUNTIME

PLAN = PLANS["resident"]
BASE, FAST, STANDARD = Variant(lora=None), Variant(lora="fast"), Variant(lora="standard")
EVERY = {variant.name for variant in (*PLAIN_VARIANTS, *SCALED_VARIANTS)}
WITH_FAST = {"1-fast", "1-fast-scaled", "2-fast", "2-fast-scaled"}


@pytest.fixture
def folder(weights: Path, tmp_path: Path) -> Path:
    """A copy of the weights. Small files: a test may damage them."""
    shutil.copytree(weights, tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def loader(folder: Path) -> VariantLoader:
    return VariantLoader(folder, [], torch.float32, CPU)


@pytest.fixture(scope="module")
def encoders(weights: Path) -> Encoders:
    return load_encoders(weights, dtype=torch.float32)


@pytest.fixture
def start(folder: Path, loader: VariantLoader, encoders, monkeypatch) -> Callable[..., ModelWorker]:
    """A model whose encoders are loaded already: only the transformer is of interest."""
    monkeypatch.setattr(ModelWorker, "_load_encoders", lambda self: encoders)
    monkeypatch.setattr(ModelWorker, "_free", lambda self: None)  # gc.collect() takes longer than all the rest.

    def start(variant: Variant = BASE, loader: VariantLoader = loader) -> ModelWorker:
        model = ModelWorker(folder, loader, RUNTIME, PLAN)
        model.start(variant).result(60)
        return model

    return start


def fast_file(folder: Path) -> Path:
    return hub.lora_file(folder, hub.PRESET_LORAS["fast"])


def shard(folder: Path) -> Path:
    return next((folder / hub.BASE).glob("*-00002-of-*.safetensors"))


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def hang(path: Path) -> None:
    """Where a link of the hub's cache points to a file that was deleted."""
    path.unlink()
    path.symlink_to(path.parent / "blobs" / "0123")


def download(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.partial"))


def rewrite(**changes: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """Well-formed, with other values: only loading finds that."""

    def write(path: Path) -> None:
        tensors = load_file(path)
        for key, tensor in tensors.items():
            for part, change in changes.items():
                if part in key:
                    tensors[key] = change(tensor).contiguous()
        save_file(tensors, path)

    return write


def drop_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.popitem()
    save_file(tensors, path)


SEEN_BEFOREHAND = {
    "missing": (Path.unlink, "There is no file"),
    "dangling": (hang, "a link to a file that is not there"),
    "downloading": (download, "Its download has not ended"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "There is no file"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "cut in the header": (lambda path: os.truncate(path, 100), "damaged or incomplete"),
    "cut in the tensors": (half, "damaged or incomplete"),
    "one byte short": (lambda path: os.truncate(path, path.stat().st_size - 1), "damaged or incomplete"),
    "too long": (lambda path: path.open("ab").write(b"more"), "damaged or incomplete"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)), "damaged or incomplete"),
    "web page": (lambda path: path.write_text("\n<!DOCTYPE html><title>404</title>"), "a web page"),
    "Git LFS": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS"),
}


def test_a_damaged_config_is_named_and_not_a_merged_file(folder, tmp_path) -> None:
    merge(folder, tmp_path / "merged.safetensors")
    loader = VariantLoader(folder, [tmp_path / "merged.safetensors"], torch.bfloat16, CPU)
    config = folder / hub.BASE / "config.json"
    good = config.read_text()
    config.write_text("{")

    assert "config.json is not JSON" in loader.unloadable(PLAN)["1-none"]

    config.write_text(good)
    assert loader.unloadable(PLAN) == {}


def test_an_attention_backend_that_fails_is_not_blamed_on_the_files(start, loader, monkeypatch) -> None:
    model = start()

    def refuse(transformer: object, backend: str) -> None:
        raise AttentionUnavailable("attention_unusable", f"{backend} cannot be used.")

    monkeypatch.setattr(loaded_model, "use_attention", refuse)
    with pytest.raises(AttentionUnavailable):
        model._use(FAST, PLAN)

    assert loader.unloadable(PLAN) == {}


@pytest.mark.parametrize("damage", SEEN_BEFOREHAND.values(), ids=SEEN_BEFOREHAND)
def test_a_bad_file_is_named_with_the_variants_that_need_it(folder, loader, damage) -> None:
    spoil, words = damage
    assert loader.unloadable(PLAN) == {}
    spoil(fast_file(folder))

    unloadable = loader.unloadable(PLAN)

    assert unloadable.keys() == WITH_FAST
    assert all(str(fast_file(folder)) in why and words in why for why in unloadable.values())


@pytest.mark.parametrize(
    ("bad", "needed_by"),
    [
        (shard, EVERY),
        (lambda folder: folder / hub.BASE / "config.json", EVERY),
        (lambda folder: folder / hub.SPEECH / "config.json", EVERY),
        (lambda folder: hub.infinitetalk_file(folder, 2), {name for name in EVERY if name.startswith("2-")}),
    ],
)
def test_every_file_of_the_transformer_counts(folder, loader, bad, needed_by) -> None:
    half(bad(folder))
    assert loader.unloadable(PLAN).keys() == needed_by
    bad(folder).unlink()
    assert loader.unloadable(PLAN).keys() == needed_by


def test_a_tensor_that_the_index_lists_and_no_shard_has(folder, loader) -> None:
    shards = sorted((folder / hub.BASE).glob("*.safetensors"))
    listed = {key: path.name for path in shards for key in load_file(path)}
    index = folder / hub.BASE / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(f'{{"weight_map": {str(listed).replace(chr(39), chr(34))}}}')
    assert loader.unloadable(PLAN) == {}

    drop_a_tensor(shards[1])

    assert loader.unloadable(PLAN).keys() == EVERY
    assert "which the index beside it lists" in loader.unloadable(PLAN)["1-none"]


@pytest.mark.parametrize("damage", [SEEN_BEFOREHAND[name] for name in ("missing", "folder", "cut in the tensors")])
def test_a_bad_file_is_seen_before_the_loaded_variant_is_freed(folder, start, damage) -> None:
    model = start()
    loaded = model._pipeline
    good = fast_file(folder).read_bytes()
    damage[0](fast_file(folder))

    with pytest.raises(InvalidCheckpoint, match=damage[1]):
        model._use(FAST, PLAN)

    assert (model._pipeline, model.variant, model.loads) == (loaded, BASE, 1)
    assert model._use(BASE, PLAN) is loaded

    # Put back, it is used again.
    if fast_file(folder).is_dir():
        fast_file(folder).rmdir()
    fast_file(folder).unlink(missing_ok=True)
    fast_file(folder).write_bytes(good)
    model._use(FAST, PLAN)
    assert (model.variant, model.loads, model.unloadable()) == (FAST, 2, {})


SEEN_BY_LOADING = {
    "another shape": rewrite(lora_down=lambda tensor: tensor[:, :-1]),
    "another shape of a difference": rewrite(diff_b=lambda tensor: tensor[:-1]),
    "no numbers": rewrite(lora_up=lambda tensor: tensor * torch.nan),
    "a crooked alpha": rewrite(alpha=lambda tensor: torch.ones(3)),
    "another network": lambda path: save_file({"conv.weight": torch.ones(3)}, path),
}


@pytest.mark.parametrize("spoil", SEEN_BY_LOADING.values(), ids=SEEN_BY_LOADING)
def test_what_only_loading_finds_brings_the_last_good_variant_back(folder, start, monkeypatch, spoil) -> None:
    model = start(STANDARD)
    good = fast_file(folder).read_bytes()
    spoil(fast_file(folder))
    assert model.unloadable() == {}

    with pytest.raises(InvalidCheckpoint, match="1-fast cannot be loaded"):
        model._use(FAST, PLAN)

    assert (model.variant, model.readiness, model.loads) == (STANDARD, Readiness.READY, 2)
    assert model._pipeline is not None
    # It is not tried again with the same file, in any scale.
    assert model.unloadable().keys() == {"1-fast", "1-fast-scaled"}
    with pytest.raises(InvalidCheckpoint, match="1-fast cannot be loaded"):
        model._use(FAST, PLAN)
    assert model.loads == 2

    fast_file(folder).write_bytes(good)
    os.utime(fast_file(folder), ns=(1, 1))  # A copy may keep an older time.
    model._use(FAST, PLAN)
    assert (model.variant, model.unloadable()) == (FAST, {})


def test_an_unforeseen_error_of_a_file_counts_as_bad_where_another_could_be_loaded(folder, start, monkeypatch) -> None:
    model = start()
    original = VariantLoader.load

    def load(self, variant, plan):
        if variant == FAST:
            raise RuntimeError("The size of tensor a (48) must match the size of tensor b (47)")
        return original(self, variant, plan)

    monkeypatch.setattr(VariantLoader, "load", load)
    with pytest.raises(InvalidCheckpoint, match="The size of tensor a"):
        model._use(FAST, PLAN)
    assert (model.variant, model.unloadable().keys()) == (BASE, {"1-fast", "1-fast-scaled"})

    # At the start it may be the machine: no other variant is tried.
    with pytest.raises(RuntimeError, match="The size of tensor a"):
        start(FAST, VariantLoader(folder, [], torch.float32, CPU))


@pytest.mark.parametrize(
    "failure",
    [torch.OutOfMemoryError("CUDA out of memory"), OSError(errno.EIO, "Input/output error"), MemoryError()],
)
def test_what_is_not_the_files_fault_brings_it_back_too_and_may_be_tried_again(start, monkeypatch, failure) -> None:
    model = start()
    original = VariantLoader.load

    def load(self, variant, plan):
        if variant == FAST:
            raise failure
        return original(self, variant, plan)

    with monkeypatch.context() as failing:
        failing.setattr(VariantLoader, "load", load)
        with pytest.raises(type(failure)):
            model._use(FAST, PLANS["streamed"])  # It has no other plan to fall back on.
    assert (model.variant, model.plan, model.unloadable()) == (BASE, PLAN, {})
    model._use(FAST, PLAN)
    assert model.variant == FAST


def test_what_was_loaded_of_the_bad_variant_is_freed_before_the_good_one_comes(start, monkeypatch) -> None:
    model = start()
    parts: list[weakref.ref] = []
    held: list[object] = []
    original = VariantLoader.load

    def fail() -> None:
        part = torch.zeros(3)
        parts.append(weakref.ref(part))
        raise torch.OutOfMemoryError("CUDA out of memory")

    def load(self, variant, plan):
        if variant == FAST:
            part = torch.zeros(3)
            parts.append(weakref.ref(part))
            try:
                fail()
            except torch.OutOfMemoryError as error:
                raise torch.OutOfMemoryError("Again") from error
        held.extend(part() for part in parts)
        return original(self, variant, plan)

    monkeypatch.setattr(VariantLoader, "load", load)
    with pytest.raises(torch.OutOfMemoryError):
        model._use(FAST, PLANS["streamed"])

    assert held == [None, None]


def test_when_nothing_can_be_loaded_the_next_job_loads_what_it_needs(folder, start) -> None:
    model = start(STANDARD)
    standard = hub.lora_file(folder, hub.PRESET_LORAS["standard"])
    good = standard.read_bytes()
    for path in (fast_file(folder), standard):
        SEEN_BY_LOADING["another shape"](path)

    with pytest.raises(InvalidCheckpoint):
        model._use(FAST, PLAN)
    assert (model._pipeline, model.readiness) == (None, Readiness.READY)

    model._use(BASE, PLAN)
    assert model.variant == BASE
    standard.write_bytes(good)
    assert model.unloadable().keys() == {"1-fast", "1-fast-scaled"}


def test_a_file_that_changes_while_it_is_loaded_is_not_refused_for_what_it_was(folder, start, monkeypatch) -> None:
    model = start()
    good = fast_file(folder).read_bytes()
    SEEN_BY_LOADING["another shape"](fast_file(folder))
    original = VariantLoader.load

    def load(self, variant, plan):
        try:
            return original(self, variant, plan)
        finally:
            if variant == FAST:
                fast_file(folder).write_bytes(good)

    monkeypatch.setattr(VariantLoader, "load", load)
    with pytest.raises(InvalidCheckpoint):
        model._use(FAST, PLAN)

    assert model.unloadable() == {}


@pytest.mark.parametrize("spoil", [half, SEEN_BY_LOADING["another shape"]])
def test_a_server_starts_with_another_variant_where_the_first_is_bad(folder, start, spoil, caplog) -> None:
    spoil(fast_file(folder))

    model = start(FAST)

    assert (model.variant, model.readiness) == (BASE, Readiness.READY)
    assert "Variant 1-fast cannot be loaded at the start" in caplog.text


def test_what_is_loaded_goes_on_without_its_files(folder, start, caplog) -> None:
    model = start()
    half(shard(folder))

    assert model.unloadable().keys() == EVERY - {"1-none"}
    assert "Variant 1-none cannot be loaded" in caplog.text  # After a restart it could not.
    with pytest.raises(InvalidCheckpoint):
        model._use(STANDARD, PLAN)
    assert model._use(BASE, PLAN) is model._pipeline


def test_a_server_without_any_good_variant_ends(folder, start) -> None:
    half(shard(folder))

    with pytest.raises(InvalidCheckpoint, match="00002-of"):
        start(FAST)


def test_it_says_once_when_a_variant_becomes_bad_and_when_it_is_good_again(folder, start, caplog) -> None:
    caplog.set_level("INFO")
    model = start()
    good = fast_file(folder).read_bytes()
    half(fast_file(folder))

    model.unloadable(), model.unloadable()
    assert caplog.text.count("Variant 1-fast cannot be loaded") == 1
    fast_file(folder).write_bytes(good)
    model.unloadable()
    assert "Variant 1-fast can be loaded again" in caplog.text


@pytest.mark.parametrize("where", ["open", "is_file"])
@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_machine_that_cannot_look_calls_no_file_bad(start, monkeypatch, number, where) -> None:
    """It has no descriptors left, or its disk or network file system fails."""
    model = start()

    def fail(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"infinitetalk.checkpoints.header.Path.{where}", fail)
    model._loader._headers._known.clear()
    assert model.unloadable() == {}
    with pytest.raises(OSError, match=os.strerror(number)):
        model._use(FAST, PLAN)


def test_a_merged_file_that_cannot_be_read_now_is_left_out_and_used_later(folder, merged, monkeypatch) -> None:
    original = Path.open

    def fail(self, *given, **named):
        if self == merged:
            raise OSError(errno.ESTALE, "Stale file handle")
        return original(self, *given, **named)

    monkeypatch.setattr("infinitetalk.checkpoints.header.Path.open", fail)
    loader = VariantLoader(folder, [merged], torch.bfloat16, CPU)
    assert fast_file(folder) in loader.files(FAST, PLAN)
    monkeypatch.undo()
    assert loader.files(FAST, PLAN) == [merged]


@pytest.fixture
def merged(folder: Path, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "fast.safetensors"
    merge(folder, path, loras=[LoraFile(fast_file(folder), 1.0)])
    return path


def test_a_bad_merged_file_is_left_out_until_it_is_good_again(folder, merged, caplog) -> None:
    good = merged.read_bytes()
    half(merged)
    loader = VariantLoader(folder, [merged], torch.bfloat16, CPU)

    assert fast_file(folder) in loader.files(FAST, PLAN)
    assert "The merged file is left out" in caplog.text
    assert loader.unloadable(PLAN) == {}
    merged.write_bytes(good)
    assert loader.files(FAST, PLAN) == [merged]
    merged.unlink()
    assert fast_file(folder) in loader.files(FAST, PLAN)
    shutil.copy(fast_file(folder), merged)  # Whole, and no merged file.
    assert fast_file(folder) in loader.files(FAST, PLAN)


def test_a_merged_file_needs_no_others_and_is_of_one_scale(folder, merged) -> None:
    loader = VariantLoader(folder, [merged], torch.bfloat16, CPU)
    half(shard(folder))

    assert loader.unloadable(PLAN).keys() == EVERY - {"1-fast"}
    assert loader.unloadable(PLANS["fp8"]).keys() == EVERY  # The file is not in 8 bits.
