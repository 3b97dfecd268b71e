"""What this library refuses, with a stable code for programs and a sentence for people."""


class InfiniteTalkError(Exception):
    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class InvalidInput(InfiniteTalkError):
    """The picture, the voice or a setting cannot be used."""


class InvalidCheckpoint(InfiniteTalkError):
    """A file of weights is missing, damaged, or not what it should be. Names the file and the keys."""
