"""Around its imports a process does not look for garbage; afterwards it does, and not among what they have made."""

import gc

import pytest

from creatorify.config.start import loading


@pytest.fixture(autouse=True)
def _as_before():
    yield
    gc.unfreeze()
    gc.enable()


def test_garbage_is_collected_again_after_the_imports() -> None:
    kept = [[number] for number in range(1000)]
    with loading():
        assert not gc.isenabled()

    assert gc.isenabled()
    assert gc.get_freeze_count() > len(kept)
    assert not any(found is kept for found in gc.get_objects())


def test_also_after_imports_that_failed() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError

    assert gc.isenabled()
