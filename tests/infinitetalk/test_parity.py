"""Parity with the reference, on every golden file found: `pytest tests/infinitetalk/test_parity.py [--golden DIR]`."""

import pytest

from tests.infinitetalk.golden import FOLDER, GoldenFile
from tests.infinitetalk.parity_conditioning import CONDITIONING
from tests.infinitetalk.parity_runs import check_run
from tests.infinitetalk.parity_sampling import SAMPLING
from tests.infinitetalk.parity_transformer import TRANSFORMER
from tests.infinitetalk.parity_weights import WEIGHTS

CHECKS = {**TRANSFORMER, **CONDITIONING, **WEIGHTS, **SAMPLING}
# Read by the check of another file.
PARTS = {"pipeline_weights"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--golden") or FOLDER
    paths = sorted(folder.rglob("*.json"))
    assert paths, f"no golden data in {folder}"
    files = [GoldenFile(path) for path in paths if path.stem not in PARTS]
    metafunc.parametrize("golden", files, ids=[file.name for file in files])


def test_it_equals_the_reference(golden: GoldenFile) -> None:
    check = check_run if golden.name.startswith("run_") else CHECKS[golden.name]
    check(golden)
