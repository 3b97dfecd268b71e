"""The errors of this library, each with a stable code for programs and a sentence for people."""


class InfiniteTalkError(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class InvalidInput(InfiniteTalkError):
    """The image, the voice or a setting cannot be used."""


class InvalidCheckpoint(InfiniteTalkError):
    """A file of weights is missing, damaged or of another model. The detail names the file and the keys."""


class AttentionUnavailable(InfiniteTalkError):
    """The requested attention backend cannot be used here. The detail names its package and the option."""
