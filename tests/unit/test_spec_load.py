"""The door of spec/: what is refused and how it is said, what passes, and what comes out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.spec import judge, validator
from pyoci_systemd.spec.load import load, load_process, load_resources
from tests.unit.bad_configs import AGAINST_A_RULE, CASES, MISSING, WRONG_TYPE, WRONG_VALUE
from tests.unit.bad_documents import Bad
from tests.unit.good_configs import GOOD

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("one_judge")
@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.name)
def test_bad_config_is_refused_in_one_line(bad: Bad) -> None:
    with pytest.raises(SpecError) as caught:
        load(bad.document())
    assert caught.value.message.startswith("config.json: ")
    assert bad.says in caught.value.message
    assert caught.value.message.isprintable()  # one line, and nothing that a terminal would obey
    assert len(caught.value.message) < 400


def test_names_of_the_cases_differ() -> None:
    assert len({bad.name for bad in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("config", GOOD.values(), ids=GOOD.keys())
def test_good_config_passes(config: dict[str, Any]) -> None:
    load(json.dumps(config).encode())


@pytest.mark.thorough
@pytest.mark.usefixtures("one_judge")
@pytest.mark.parametrize(
    "table", [MISSING, WRONG_TYPE, WRONG_VALUE, AGAINST_A_RULE], ids=["missing", "type", "value", "rule"]
)
def test_validator_and_judge_agree_on_bad(table: Iterable[Bad]) -> None:
    documents = {bad.name: json.loads(bad.document()) for bad in table}
    valid = {name: validator.valid(document) for name, document in documents.items()}
    assert valid == {name: not judge.faults(document) for name, document in documents.items()}


@pytest.mark.usefixtures("one_judge")
@pytest.mark.parametrize("config", GOOD.values(), ids=GOOD.keys())
def test_validator_and_judge_agree_on_good(config: dict[str, Any]) -> None:
    assert validator.valid(config)
    assert not judge.faults(config)


def test_rules_are_for_what_the_schema_lets_pass() -> None:
    assert [bad.name for bad in AGAINST_A_RULE if not validator.valid(json.loads(bad.document()))] == []


def test_nulls_are_taken_away() -> None:
    config: Any = json.loads(json.dumps(GOOD["default"]))
    config["mounts"][0]["options"] = None
    config["process"]["capabilities"]["ambient"] = None
    config["annotations"] = None
    config["hooks"] = {"prestart": None}
    config["unheard-of"] = [{"x": None}]
    loaded: Any = load(json.dumps(config).encode())
    assert "options" not in loaded["mounts"][0]
    assert "ambient" not in loaded["process"]["capabilities"]
    assert "annotations" not in loaded
    assert loaded["hooks"] == {}
    assert loaded["unheard-of"] == [{}]


def test_nothing_else_is_changed() -> None:
    for config in GOOD.values():
        text = json.dumps(config)
        without_nulls = json.loads(text, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if v is not None})
        assert load(text.encode()) == without_nulls


def test_unknown_members_are_ignored() -> None:  # CFG4
    config: Any = json.loads(json.dumps(GOOD["default"]))
    config["future"] = config["linux"]["future"] = config["process"]["user"]["future"] = {"any": [1.5, None]}
    config["windows"] = {"layerFolders": 5}
    assert load(json.dumps(config).encode())["root"] == config["root"]


def test_name_is_that_of_the_caller() -> None:
    with pytest.raises(SpecError, match=r"^/b/other\.json: process\.cwd is required$"):
        load(next(bad for bad in MISSING if bad.name == "no cwd").document(), "/b/other.json")


def test_the_other_faults_are_hinted_at() -> None:
    config: Any = json.loads(json.dumps(GOOD["default"]))
    config["process"]["user"] = {}
    config["hostname"] = 1
    with pytest.raises(SpecError) as caught:
        load(json.dumps(config).encode())
    lines = [caught.value.message, *caught.value.hint.splitlines()]
    assert sorted(lines) == [
        "also: hostname must be a string, not 1",
        "also: process.user.gid is required",
        "config.json: process.user.uid is required",
    ]


def test_process_of_exec() -> None:
    process = {"cwd": "/", "args": ["id"], "env": None, "user": {"uid": 1, "gid": 1}}
    assert load_process(json.dumps(process).encode()) == {"cwd": "/", "args": ["id"], "user": {"uid": 1, "gid": 1}}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"null", "process.json: the document must be an object, not null"),
        (b'{"cwd": "/"}', "process.json: args is required"),
        (b'{"cwd": "/", "args": []}', "process.json: args must not be empty"),
        (
            b'{"cwd": "/", "args": ["a"], "rlimits": [{"type": "RLIMIT_AS", "soft": 2, "hard": 1}]}',
            "process.json: rlimits[0]: soft (2) is above hard (1)",
        ),
    ],
)
def test_bad_process_of_exec(document: bytes, says: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_process(document)
    assert caught.value.message == says


def test_resources_of_update() -> None:
    assert load_resources(b'{"blockIO": {}, "cpu": null, "pids": {"limit": -1}}') == {
        "blockIO": {},
        "pids": {"limit": -1},
    }
    with pytest.raises(SpecError, match=r"^resources\.json: cpu\.burst \(2\) is above quota \(1\)$"):
        load_resources(b'{"cpu": {"quota": 1, "burst": 2}}')
    with pytest.raises(SpecError, match=r"^resources\.json: pids\.limit must be an integer between -9"):
        load_resources(b'{"pids": {"limit": "max"}}')


@pytest.mark.parametrize(
    "version", ["1.0.0", "1.0.0-rc5", "1.0.2-dev", "1.1.0+dev", "1.2.1", "1.3.0", "1.3.9-rc.1+x.y"]
)
def test_versions_clients_write(version: str) -> None:
    load(json.dumps(GOOD["default"] | {"ociVersion": version}).encode())


NAMES = """
import sys
sys.path.insert(0, {root!r})
before = set(sys.modules)
from pyoci_systemd.spec.load import load
load(open({config!r}, "rb").read())
print(*sorted(set(sys.modules) - before))
"""


def test_a_good_config_loads_without_slow_imports(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(GOOD["docker"]))
    script = NAMES.format(root=str(ROOT), config=str(config))
    run = subprocess.run([sys.executable, "-ISB", "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert {name for name in run.stdout.split() if not name.startswith("pyoci_systemd")} == {"_json", "__future__"}


def test_without_jsonschema_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(SpecError) as caught:
        load(b"{}")
    assert caught.value.message.startswith("config.json: not valid, and the Python module `jsonschema`")
    assert "python3-jsonschema" in caught.value.hint
