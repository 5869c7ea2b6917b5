"""Cell manifests (spec/pulp.md 4.1, acceptance case 5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.manifest import CellManifest

MINIMAL = 'name = "a"\nversion = "1"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pulp.cell.toml"
    path.write_text(text)
    return path


def test_case_05_a_minimal_manifest_gets_the_defaults(tmp_path: Path) -> None:
    cell = CellManifest.load(write(tmp_path, 'name = " a "\nversion = "0.1"\n'))
    assert (cell.name, cell.version, cell.schema_version) == ("a", "0.1", 1)
    assert cell.wasm == tmp_path / "cell.wasm"
    assert cell.provides == cell.consumes == cell.depends_on == cell.capabilities == cell.host_consumes == ()
    assert (cell.restart, cell.max_memory_pages, cell.call_timeout_ms) == ("on_crash", 4096, 30_000)
    assert dict(cell.config) == {}


def test_case_05_a_full_manifest_is_deduplicated_and_lower_cased(tmp_path: Path) -> None:
    text = """
        schema_version = 1
        name = "full"
        version = "2.0.0"
        wasm = "build/full.wasm"
        provides = ["x.y", "", "x.y", "b"]
        consumes = ["q", "q"]
        depends_on = ["other", ""]
        shared_memory_groups = ["g"]
        capabilities = [" Storage.SQLite ", "storage.sqlite", "entropy.read", ""]
        dedicated_thread = true
        snapshotable = true
        restart = "always"
        federated_callers = ["z"]
        federated_consumes = ["z"]
        migratable = true
        wasm_sha256 = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        max_memory_pages = 16
        call_timeout_ms = 50
        host_consumes = ["one", "two"]
        [config]
        n = 1
        [config.nested.deeper]
        list = [1, 2]
    """
    cell = CellManifest.load(write(tmp_path, text))
    assert cell.provides == ("x.y", "b")
    assert cell.consumes == ("q",)
    assert cell.capabilities == ("storage.sqlite", "entropy.read")
    assert cell.wasm == tmp_path / "build/full.wasm"
    assert cell.wasm_sha256 == "a" * 64
    assert cell.memory_bytes == 1 << 20
    assert cell.config == {"n": 1, "nested": {"deeper": {"list": [1, 2]}}}
    assert cell.host_consumes == ("one", "two")


@pytest.mark.parametrize(
    ("text", "message", "key"),
    [
        ('version = "1"', "validate manifest: name is required", "name"),
        ('name = "  "\nversion = "1"', "validate manifest: name is required", "name"),
        ('name = "a"', "validate manifest: version is required", "version"),
        ('name = "a"\nversion = " "', "validate manifest: version is required", "version"),
        ("name = ", "parse manifest: ", None),
        ("name = 3\nversion = '1'", "parse manifest: expected a string, found an integer", "name"),
        (MINIMAL + "capabilities = [1]", "parse manifest: expected an array of strings", "capabilities"),
        (MINIMAL + "config = 1", "parse manifest: expected a table, found an integer", "config"),
        (MINIMAL + "dedicated_thread = 1", "expected a boolean, found an integer", "dedicated_thread"),
        (MINIMAL + "call_timeout_ms = true", "expected an integer, found a boolean", "call_timeout_ms"),
        (MINIMAL + "zeta = 1\nalpha = 2", "unknown manifest fields: alpha, zeta", "alpha"),
        (MINIMAL + "capabilites = []", "did you mean capabilites -> capabilities?", "capabilites"),
        (MINIMAL + "schema_version = 2", "schema_version 2 is newer than host supports", "schema_version"),
        (MINIMAL + "schema_version = -1", "schema_version -1 must be at least 1", "schema_version"),
        (MINIMAL + "restart = 'often'", "must be one of never, on_crash, always", "restart"),
        (MINIMAL + "wasm_sha256 = 'abc'", "must be 64 hexadecimal digits", "wasm_sha256"),
        (MINIMAL + "max_memory_pages = -1", "must be between 1 and 65536", "max_memory_pages"),
        (MINIMAL + "max_memory_pages = 65537", "must be between 1 and 65536", "max_memory_pages"),
        (MINIMAL + "call_timeout_ms = -5", "must be between 1 and", "call_timeout_ms"),
        (MINIMAL + "host_consumes = ['']", "host_consumes[0] is blank", "host_consumes"),
        (MINIMAL + "host_consumes = ['a b']", "contains whitespace", "host_consumes"),
        (MINIMAL + "host_consumes = ['a', 'a']", "is a duplicate", "host_consumes"),
        (MINIMAL + "[config]\nbig = 9223372036854775808", "does not fit 64 bits", "config.big"),
    ],
)
def test_case_05_every_fault_names_the_file_the_key_and_the_cure(
    tmp_path: Path, text: str, message: str, key: str | None
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ManifestError) as caught:
        CellManifest.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert (caught.value.file, caught.value.key) == (str(path), key)


def test_case_05_an_absent_or_binary_manifest_is_a_read_or_parse_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="read manifest: No such file"):
        CellManifest.load(tmp_path / "none.toml")
    path = tmp_path / "binary.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(ManifestError, match="parse manifest: not UTF-8 at byte 8"):
        CellManifest.load(path)


def test_case_05_reserved_federation_keys_have_no_effect(tmp_path: Path) -> None:
    plain = CellManifest.load(write(tmp_path, MINIMAL))
    federated = CellManifest.load(
        write(tmp_path, MINIMAL + "federated_callers = ['x']\nfederated_consumes = []\nmigratable = false\n")
    )
    assert plain == federated
