"""What the tests' own Neargate promises: what it could not take down is told, never passed over."""

import pathlib
import shutil

import pytest

import neargate


def test_a_down_that_fails_fails_the_test_and_keeps_the_folder(monkeypatch):
    running = neargate.Neargate()
    monkeypatch.setattr(neargate, "BINARY", pathlib.Path("/bin/false"))
    try:
        with pytest.raises(AssertionError, match="left things behind"):
            running.down()
        assert running.data.exists()
    finally:
        shutil.rmtree(running.data)
