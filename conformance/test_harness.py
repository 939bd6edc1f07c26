"""What the tests' own Neargate promises: what it could not take down is told, never passed over."""

import ipaddress
import pathlib
import shutil
import subprocess

import pytest

import leaks
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


@pytest.fixture()
def killed(tmp_path):
    """A data directory that another test process works on, and how to kill that process."""
    claims, data = tmp_path / "claims", tmp_path / "neargate-test-x"
    data.mkdir()
    leaks.log_of(data).touch()
    process = subprocess.Popen(["sleep", "600"])
    leaks.claim(data, True, claims, process.pid)

    def kill():
        process.kill()
        process.wait()

    yield claims, data, kill
    kill()


def program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_what_a_killed_run_left_is_taken_down_and_nothing_of_one_that_goes_on(killed, tmp_path):
    claims, data, kill = killed
    down = program(tmp_path / "binary", f'echo "$@" >> {tmp_path}/asked')
    assert leaks.take_down_left_over(down, claims) == [] and data.exists()
    assert not (tmp_path / "asked").exists()
    kill()
    assert leaks.take_down_left_over(down, claims) == []
    assert (tmp_path / "asked").read_text() == f"down --grace 0 --data-dir {data}\n"
    assert not data.exists() and not leaks.log_of(data).exists() and leaks.left_over(claims) == []


def test_what_cannot_be_taken_down_is_told_and_kept_for_the_next_run(killed, tmp_path):
    claims, data, kill = killed
    kill()
    stubborn = leaks.take_down_left_over(program(tmp_path / "binary", "echo why not >&2; exit 1"), claims)
    assert stubborn == [f"{data}: why not"]
    assert data.exists() and len(leaks.left_over(claims)) == 1


def test_a_process_that_stays_is_told_by_its_data_directory(tmp_path):
    process = subprocess.Popen(["sh", "-c", f"read line; : {tmp_path}"], stdin=subprocess.PIPE)
    try:
        left = leaks.remains_after([("none", tmp_path, [])], leaks.routes(), patience=0)
        assert [thing for thing in left if f"process {process.pid}:" in thing] == left and left
    finally:
        process.communicate()
    assert leaks.remains_after([("none", tmp_path, [])], leaks.routes(), patience=0) == []


def test_routes_are_told_by_the_ranges_of_the_run():
    networks = leaks.ranges(["--healthy-after", "1", "--vpc-cidr", "10.62.0.0/16", "--bridge-cidr", "198.18.62.0/24"])
    assert networks == [ipaddress.ip_network("10.62.0.0/16"), ipaddress.ip_network("198.18.62.0/24")]
    routes = ["unreachable 10.62.0.0/16", "10.6.0.0/16 dev eth0", "local 198.18.62.1 dev lo table local", "default via 192.168.0.1 dev eth0"]
    assert leaks.routes_within(routes, networks) == [routes[2], routes[0]]
