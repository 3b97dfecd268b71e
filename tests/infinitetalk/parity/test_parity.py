"""Parity with the reference, on every golden file found; `--golden DIR` adds others, see docs/infinitetalk.md."""

import pytest

from tests.infinitetalk.parity.conditioning import CONDITIONING
from tests.infinitetalk.parity.golden import FOLDER, GoldenFile
from tests.infinitetalk.parity.runs import check_run, check_unbroken_run
from tests.infinitetalk.parity.sampling import SAMPLING
from tests.infinitetalk.parity.transformer import TRANSFORMER
from tests.infinitetalk.parity.weights import WEIGHTS

CHECKS = {**TRANSFORMER, **CONDITIONING, **WEIGHTS, **SAMPLING}
# Read by the check of another file.
PARTS = {"pipeline_weights"}
# Three passes without TeaCache: `run_teacache_three_passes` has those, too, and leaves some out.
SLOW = {"run_guided_three_passes"}
# Of the others each chunk is compared always; that chunks follow each other, one run shows.
QUICK_UNBROKEN = {"run_video_input"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--golden") or FOLDER
    paths = sorted(folder.rglob("*.json"))
    assert paths, f"no golden data in {folder}"
    files = [GoldenFile(path) for path in paths if path.stem not in PARTS]
    if metafunc.function is test_an_unbroken_run_equals_the_reference:
        files = [file for file in files if file.name.startswith("run_") and file.facts["case"]["chunks"] > 1]
        slow = {file.name for file in files} - QUICK_UNBROKEN
    else:
        slow = SLOW
    marks = {True: [pytest.mark.slow], False: []}
    metafunc.parametrize("golden", [pytest.param(file, id=file.name, marks=marks[file.name in slow]) for file in files])


def test_it_equals_the_reference(golden: GoldenFile) -> None:
    check = check_run if golden.name.startswith("run_") else CHECKS[golden.name]
    check(golden)


def test_an_unbroken_run_equals_the_reference(golden: GoldenFile) -> None:
    check_unbroken_run(golden)
