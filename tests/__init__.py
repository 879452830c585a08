"""Tests: a folder for each of the package's, the laws of the wrappers, and here what is about the whole."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The repository."""
