"""known_hosts as we write it: as `ssh` does, and never damaged."""

from __future__ import annotations

import resource
import subprocess
import sys

from tests.hosts.ssh_world import BASE, BOARD, KEY, both, connection_of, ssh_lets_in, why_we_do_not


def test_the_line_is_the_one_that_ssh_writes(world, tmp_path) -> None:
    assert both(world, tmp_path, KEY, "elsewhere {other_key}\n") == (True, "")
    ssh, we = ((tmp_path / who / "known").read_text().splitlines() for who in ("ssh", "we"))
    assert len(we) == 2
    assert we == ssh[:2]


def test_an_unfinished_last_line_is_finished_first(world, tmp_path) -> None:
    """OpenSSH 9.2 makes one line of the two."""
    known, config = tmp_path / "known", tmp_path / "config"
    known.write_text(world.fill("elsewhere {other_key}", known))
    config.write_text(world.fill(KEY + BASE, known))
    assert why_we_do_not(config) == ""
    lines = known.read_text().splitlines()
    assert lines[0] == world.fill("elsewhere {other_key}", known)
    assert lines[1] == world.fill(BOARD + " {board_key}", known)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config", "known"]


def test_a_linked_known_hosts_stays_a_link(world, tmp_path) -> None:
    own = tmp_path / "dotfiles"
    own.write_text("")
    own.chmod(0o640)
    (tmp_path / "known").symlink_to(own)
    config = tmp_path / "config"
    config.write_text(world.fill(KEY + BASE, tmp_path / "known"))
    assert why_we_do_not(config) == ""
    assert (tmp_path / "known").is_symlink()
    assert own.read_text().startswith("[127.0.0.1]:")
    assert own.stat().st_mode & 0o777 == 0o640


def test_hashed_names_are_found_again_by_ssh(world, tmp_path) -> None:
    known, config = tmp_path / "known", tmp_path / "config"
    text = "Host *\n  HashKnownHosts yes\n" + KEY + BASE
    config.write_text(world.fill(text, known))
    assert why_we_do_not(config) == ""
    assert known.read_text().startswith("|1|")
    config.write_text(world.fill("Host *\n  StrictHostKeyChecking yes\n" + KEY + BASE, known))
    assert ssh_lets_in(config)
    assert why_we_do_not(config) == ""


def test_a_broken_line_is_named(world, tmp_path) -> None:
    known, config = tmp_path / "known", tmp_path / "config"
    known.write_text("# ours\n\n[127.0 ssh-ed25519 AAAA\n")
    config.write_text(world.fill(KEY + BASE, known))
    connection = connection_of(config)
    connection.connect()
    connection.close()
    assert connection.remarks == [f"{known}:3 is no line of known_hosts and is passed over"]


def test_two_writers_lose_no_key(tmp_path) -> None:
    file = tmp_path / "known"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from pytest_dllama.hosts.host_keys.known_hosts import add_key\n"
        "for n in range(100): add_key(Path(sys.argv[1]), f'{sys.argv[2]}{n}', 'k', 'b')"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(file), name]) for name in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    names = {line.split()[0] for line in file.read_text().splitlines()}
    assert names == {f"{who}{n}" for who in "ab" for n in range(100)}


def test_a_full_disk_leaves_known_hosts_as_it_was(tmp_path) -> None:
    file = tmp_path / "known"
    file.write_text("elsewhere k b\n")
    limits = (resource.RLIMIT_FSIZE, (8, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from pytest_dllama.hosts.host_keys.known_hosts import add_key\n"
        f"signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit{limits!r}\n"
        "add_key(Path(sys.argv[1]), 'here', 'k', 'b')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert file.read_text() == "elsewhere k b\n"
    assert [path.name for path in tmp_path.iterdir()] == ["known"]
