"""Tests of the packages, in folders as theirs, and the longer runs that `make` has targets for."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
