"""The hosts file: what it may say, and what is said of one that says something else."""

from __future__ import annotations

import pytest

from pytest_dllama.hosts.inventory import InventoryError, load_inventory
from pytest_dllama.hosts.inventory_file import write_inventory

THREE = """
lease_s = 60.0
known_hosts = "known_hosts"
[defaults]
user = "pi"
key = "keys/id"
nthreads = 4
labels = ["rack"]
[[host]]
name = "a"
role = "root"
[[host]]
name = "b"
address = "10.0.0.2"
port = 2222
user = "root"
listen_port = 9999
[[host]]
name = "c"
address = "10.0.0.3"
"""


def _load(tmp_path, text: str):
    file = tmp_path / "hosts.toml"
    file.write_text(text)
    return load_inventory(file)


def _faults(tmp_path, text: str) -> str:
    with pytest.raises(InventoryError) as caught:
        _load(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_defaults_and_order(tmp_path) -> None:
    inventory = _load(tmp_path, THREE)
    a, b, c = inventory.hosts
    assert (a.target, b.target, c.target) == ("a", "10.0.0.2", "10.0.0.3")
    assert (a.user, b.user, b.port, b.listen_port) == ("pi", "root", 2222, 9999)
    assert a.key == str(tmp_path / "keys/id")
    assert c.labels == ("rack",)
    assert inventory.known_hosts == tmp_path / "known_hosts"
    assert (inventory.has_root, inventory.capacity) == (True, 3)
    assert [host.name for host in inventory.first(2)] == ["a", "b"]


def test_without_a_root_it_runs_on_the_controller(tmp_path) -> None:
    inventory = _load(tmp_path, THREE.replace('role = "root"', ""))
    assert (inventory.has_root, inventory.capacity) == (False, 4)
    assert [host.name for host in inventory.first(3)] == ["a", "b"]


def test_too_many_nodes(tmp_path) -> None:
    with pytest.raises(InventoryError, match=r"--nodes 5: .* gives 3 nodes \(3 hosts\); add hosts"):
        _load(tmp_path, THREE).first(5)


def test_a_subset_keeps_the_order(tmp_path) -> None:
    inventory = _load(tmp_path, THREE)
    assert [host.name for host in inventory.only(["c", "a"]).hosts] == ["a", "c"]
    with pytest.raises(InventoryError, match="has no host 'x'; it has a, b, c"):
        inventory.only(["x"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("port = 2222", "port = 70000"),
            "[[host]] 2 (b): port = 70000: it should be less than or",
        ),
        (
            ("port = 2222", "port = '22'"),
            "[[host]] 2 (b): port = '22': it should be a valid integer",
        ),
        (("port = 2222", "prot = 22"), "[[host]] 2 (b): key 'prot' is unknown; a host has name, "),
        (
            ('role = "root"', 'role = "boss"'),
            "[[host]] 1 (a): role = 'boss': it should be 'root' or",
        ),
        (('name = "c"', 'name = "a"'), "two hosts are called 'a'; names must differ"),
        (('name = "c"', ""), "[[host]] 3: name is missing; letters, digits"),
        (
            ('name = "c"', 'name = "c"\nrole = "root"'),
            "[[host]] 3 (c): role = 'root', but it stands",
        ),
        (
            ("lease_s = 60.0", "lease_s = 1.0"),
            "lease_s = 1.0: it should be greater than or equal to",
        ),
        (("lease_s", "leese_s"), "key 'leese_s' is unknown; a hosts file has known_hosts"),
        (("[[host]]", "[[hosts]]"), "no [[host]] table; write one for each machine"),
        (("nthreads = 4", "nthreads = 0"), "[[host]] 1 (a): nthreads = 0: it should be greater"),
        (("[defaults]", "[defaults"), "hosts.toml is no TOML file"),
        *(
            (('"10.0.0.3"', f'"{wrong}"'), "a name or an IP address alone, as in ")
            for wrong in ("pi@a.lan", "[::1]:22", "-oProxyCommand=true", "a b", "a/8", "a.lan:22")
        ),
        *(
            (('name = "c"', f'name = "c"\nfolder = "{folder}"'), "a folder of its own, which ")
            for folder in ("", "/", "~", "~/", ".", "//")
        ),
        (("lease_s = 60.0", "lease_s = inf"), "lease_s = inf: it should be a finite number"),
        (('name = "c"', 'name = "c"\nuser = "-x"'), "the name to log in with, as in pi"),
    ],
)
def test_faults_say_file_table_key_value_limit(tmp_path, change, expected) -> None:
    message = _faults(tmp_path, THREE.replace(*change))
    assert message.startswith("hosts.toml")
    assert expected in message


def test_all_faults_are_told_at_once(tmp_path) -> None:
    text = THREE.replace("port = 2222", "port = 0").replace('name = "c"', 'name = "c c"')
    assert len(_faults(tmp_path, text).splitlines()) == 2


def test_hosts_that_are_no_tables(tmp_path) -> None:
    assert "no [[host]] table" in _faults(tmp_path, "host = [1, 2]\n")


@pytest.mark.parametrize("address", ["::1", "fe80::1%eth0", "pi1.local", "파이.local", "10.0.0.1"])
def test_addresses_of_every_kind(tmp_path, address: str) -> None:
    text = THREE.replace('"10.0.0.3"', f'"{address}"')
    assert _load(tmp_path, text).hosts[2].address == address


def test_no_file(tmp_path) -> None:
    with pytest.raises(
        InventoryError, match=r"No such file.*`pytest-dllama hosts init` writes one"
    ):
        load_inventory(tmp_path / "none.toml")


def test_init_writes_a_file_that_loads(tmp_path) -> None:
    file = tmp_path / "hosts.toml"
    said = write_inventory(file, ["pi@10.0.0.1", "10.0.0.2:2200"], None)
    assert "2 hosts; next: pytest-dllama hosts check" in said
    first, second = load_inventory(file).hosts
    assert (first.user, first.role, second.port, second.role) == ("pi", "root", 2200, "worker")
    with pytest.raises(InventoryError, match="is there already"):
        write_inventory(file, ["x"], None)
    with pytest.raises(InventoryError, match="'a b' is no host"):
        write_inventory(tmp_path / "other.toml", ["a b"], None)
