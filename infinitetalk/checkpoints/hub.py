"""The published files: their repositories on the hub, and their places in the folder of weights."""

from dataclasses import dataclass
from pathlib import Path

BASE = "Wan2.1-I2V-14B-480P"
INFINITETALK = "InfiniteTalk"
SPEECH = "chinese-wav2vec2-base"
LORAS = "loras"

TEXT_ENCODER = "models_t5_umt5-xxl-enc-bf16.pth"
TOKENIZER = "google/umt5-xxl"
IMAGE_ENCODER = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
VAE = "Wan2.1_VAE.pth"
PARTIAL = ".partial"  # at the end of a file's name while it is downloaded


@dataclass(frozen=True)
class Repository:
    name: str  # on the hub
    folder: str  # in the folder of weights
    patterns: tuple[str, ...]  # of the needed files
    revision: str = "main"


REPOSITORIES = (
    Repository(
        "Wan-AI/Wan2.1-I2V-14B-480P",
        BASE,
        ("config.json", "diffusion_pytorch_model-*.safetensors", TEXT_ENCODER, f"{TOKENIZER}/*", IMAGE_ENCODER, VAE),
    ),
    Repository(
        "MeiGen-AI/InfiniteTalk", INFINITETALK, ("single/infinitetalk.safetensors", "multi/infinitetalk.safetensors")
    ),
    # The repository has its safetensors in a pull request only.
    Repository(
        "TencentGameMate/chinese-wav2vec2-base",
        SPEECH,
        ("config.json", "preprocessor_config.json", "model.safetensors"),
        "refs/pr/1",
    ),
)


@dataclass(frozen=True)
class PublishedLora:
    repository: str
    file: str
    scale: float = 1.0


# By the name that `infinitetalk.presets` uses. Publishers have moved such files: `download --preset-lora` takes another
# place.
PRESET_LORAS = {
    "standard": PublishedLora(
        "vrgamedevgirl84/Wan14BT2VFusioniX", "FusionX_LoRa/Wan2.1_I2V_14B_FusionX_LoRA.safetensors"
    ),
    "fast": PublishedLora(
        "lightx2v/Wan2.1-I2V-14B-480P-StepDistill-CfgDistill-Lightx2v",
        "loras/Wan21_I2V_14B_lightx2v_cfg_step_distill_lora_rank64.safetensors",
    ),
}


def infinitetalk_file(weights: Path, speakers: int) -> Path:
    return weights / INFINITETALK / ("single" if speakers == 1 else "multi") / "infinitetalk.safetensors"


def lora_file(weights: Path, lora: PublishedLora) -> Path:
    return weights / LORAS / Path(lora.file).name
