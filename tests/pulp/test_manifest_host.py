"""Host manifests (spec/pulp.md 4.4, acceptance case 9)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from guesthouse.errors import ManifestError
from guesthouse.interfaces.pulp.manifest import HostManifest, Route

DIGEST = hashlib.sha256(b"").hexdigest()


def application(folder: Path, name: str, cell: str = "", more: str = "") -> None:
    own = folder / name
    own.mkdir()
    (own / "main.lua").touch()
    (own / "cell.toml").write_text(f'name = "{name}-cell"\nversion = "1"\n{cell}')
    (own / "pulp.app.toml").write_text(
        f'name = "{name}"\nversion = "1"\ncells = ["cell.toml"]\n[orchestrator]\n'
        f'manifest = "cell.toml"\nscript = "main.lua"\nsha256 = "{DIGEST}"\n{more}'
    )


def table(name: str, extra: str = "", storage: str = "", event: str = "") -> str:
    return (
        f'[[applications]]\nid = "{name}"\nmanifest = "{name}/pulp.app.toml"\n'
        f'storage_namespace = "{storage or name}"\nevent_namespace = "{event or name}"\n{extra}\n'
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("api", "store"):
        application(tmp_path, name)
    return tmp_path


def load(folder: Path, text: str) -> HostManifest:
    path = folder / "pulp.host.toml"
    path.write_text(text)
    return HostManifest.load(path)


HEAD = 'name = "house"\n'
BOTH = HEAD + table("api", 'depends_on = ["store"]') + table("store")


def route(path: str, application: str = "api", extra: str = "") -> str:
    return f"[[routes]]\npath = '{path}'\napplication = '{application}'\n{extra}\n"


def test_case_09_applications_are_ordered_and_missing_aliases_are_made(folder) -> None:
    host = load(folder, BOTH.replace('id = "api"', 'id = "api"\ninstances = 3\naliases = ["main"]'))
    assert [each.id for each in host.applications] == ["store", "api"]
    assert host.applications[1].instances == ("main", "api-2", "api-3")
    assert host.applications[0].instances == ("store-1",)
    assert host.applications[1].manifest.name == "api"


def test_case_09_routes_name_an_instance_where_there_are_several(folder) -> None:
    host = load(folder, BOTH + route("/") + route("/store/v1", "store"))
    assert host.routes == (Route("/", "api", "api-1"), Route("/store/v1", "store", "store-1"))
    several = BOTH.replace('id = "api"', 'id = "api"\ninstances = 2')
    assert load(folder, several + route("/a", "api", "instance = 'api-2'")).routes[0].instance == "api-2"
    with pytest.raises(ManifestError, match="instance is required: 'api' has several: api-1, api-2"):
        load(folder, several + route("/a"))


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (table("api"), "name", "name is required"),
        (HEAD, "applications", "at least one application"),
        ("schema_version = 9\n" + BOTH, "schema_version", "newer than host supports"),
        ("app = 1\n" + BOTH, "app", "unknown manifest fields: app"),
        (HEAD + table("api", "alias = []"), "applications[0].alias", "did you mean"),
        (HEAD + table("api").replace('id = "api"', 'id = "Api"'), "applications[0].id", "lower-case letter"),
        (HEAD + table("api").replace('id = "api"', f'id = "{"a" * 64}"'), "applications[0].id", "at most 63"),
        (HEAD + table("api", storage="1x"), "applications[0].storage_namespace", "lower-case"),
        (HEAD + table("api").replace('event_namespace = "api"', ""), "applications[0].event_namespace", "is required"),
        (HEAD + table("api").replace("api/pulp", "/api/pulp"), "applications[0].manifest", "must be relative"),
        (HEAD + table("api").replace("api/pulp", "nowhere/pulp"), None, "read manifest"),
        (HEAD + table("api") + table("api", storage="s", event="e"), "applications[1].id", "duplicate id 'api'"),
        (HEAD + table("api") + table("store", storage="api"), "applications[1].storage_namespace", "used by api and by store"),
        (HEAD + table("api") + table("store", event="api"), "applications[1].event_namespace", "shared event_namespace"),
        (HEAD + table("api", "instances = 0"), "applications[0].instances", "between 1 and"),
        (HEAD + table("api", 'aliases = ["a", "b"]'), "applications[0].aliases", "2 for 1 instances"),
        (HEAD + table("api", 'instances = 2\naliases = ["a", "a"]'), "applications[0].aliases", "duplicate instance 'a'"),
        (HEAD + table("api", 'instances = 2\naliases = ["api-2"]'), "applications[0].aliases", "duplicate instance 'api-2'"),
        (HEAD + table("api", 'aliases = ["A"]'), "applications[0].aliases", "lower-case"),
        (HEAD + table("api", 'depends_on = ["ghost"]'), "applications[0].depends_on", "'ghost', which is unknown"),
        (HEAD + table("api", 'depends_on = ["api"]'), "applications.depends_on", "cycle: api -> api"),
        (BOTH.replace('event_namespace = "store"', 'event_namespace = "store"\ndepends_on = ["api"]'),
         "applications.depends_on", "application dependency cycle: api -> store -> api"),
        (BOTH + route("a"), "routes[0].path", "must be absolute"),
        (BOTH + route("/a/"), "routes[0].path", "must be canonical; write '/a'"),
        (BOTH + route("//a"), "routes[0].path", "must be canonical; write '/a'"),
        (BOTH + route("/a/../b"), "routes[0].path", "write '/b'"),
        (BOTH + route("/a?b"), "routes[0].path", "must not contain"),
        (BOTH + route("/a#b"), "routes[0].path", "must not contain"),
        (BOTH + route("/a\\b"), "routes[0].path", "must not contain"),
        (BOTH + route("/a") + route("/a", "store"), "routes[1].path", "is a duplicate"),
        (BOTH + route("/a", "ghost"), "routes[0].application", "there are: store, api"),
        (BOTH + route("/a", "api", "instance = 'x'"), "routes[0].instance", "'api' has: api-1"),
        (BOTH + route("/a", "api", "port = 1"), "routes[0].port", "unknown manifest fields"),
    ],
)  # fmt: skip
def test_case_09_every_rejection_names_the_file_the_key_and_the_cure(folder, text, key, message) -> None:
    with pytest.raises(ManifestError) as caught:
        load(folder, text)
    assert message in str(caught.value)
    assert caught.value.key == key
    assert caught.value.file is not None


def test_case_09_host_consumes_must_be_provided_by_one_direct_dependency(tmp_path) -> None:
    application(tmp_path, "api", 'host_consumes = ["stock.count"]\n')
    application(tmp_path, "store", 'provides = ["stock.count"]\n')
    application(tmp_path, "other", 'provides = ["stock.count"]\n')
    assert len(load(tmp_path, BOTH).applications) == 2
    undeclared = HEAD + table("api") + table("store")
    with pytest.raises(
        ManifestError, match="not provided by a direct dependency of application 'api'"
    ) as caught:
        load(tmp_path, undeclared)
    assert caught.value.key == "host_consumes"
    ambiguous = BOTH.replace('["store"]', '["store", "other"]') + table("other")
    with pytest.raises(
        ManifestError, match=r"ambiguous among direct dependencies \(store/store-cell, other/"
    ):
        load(tmp_path, ambiguous)
