import subprocess
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tasks import environment_checks as environment
from tasks.environment_checks import Check
from tasks.params import Params

ROOT = Path(__file__).parents[2]


def only(checks: Iterator[Check]) -> Check:
    (check,) = checks
    return check


def versions(monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None]) -> None:
    """Every package as in the lock, but for some; None: not installed."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pins |= changes

    def version(name: str) -> str:
        found = pins.get(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", version)


def test_packages_as_in_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"torch": "2.13.0+cpu"})
    check = only(environment.packages())
    assert (check.state, check.remedy) == ("ok", "")
    assert check.value.endswith("as in requirements.lock")


def test_a_combination_that_breaks_fails_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"fastapi": "0.151.2", "mmengine": "0.10.7", "pandas": None})
    check = only(environment.packages())
    assert check.state == "fail"
    assert "fastapi 0.151.2 is not <0.151,>=0.139 (from 0.151 on, prefect 3.8.8 cannot" in (
        check.value
    )
    assert "pandas is missing" in check.value
    assert "mmengine owns the folder of onedl-mmengine" in check.value
    assert "make setup" in check.remedy


def test_other_versions_inside_the_ranges_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"pillow": "13.1.0", "opencv-python": "5.0.0.93"})
    check = only(environment.packages())
    assert check.state == "warn"
    assert check.value.startswith("pillow 13.1.0, tested ==13.0.0; opencv-python, beside ")
    assert check.remedy.startswith("not tested together")


def test_the_lock_s_warnings_are_found_by_package() -> None:
    told = environment.warnings_of_the_lock((ROOT / "requirements.lock").read_text())
    assert told["fastapi"].startswith("from 0.151 on, prefect")
    assert told["sqlalchemy"].startswith("from 2.1 on")
    assert told["onedl-mmcv"] == told["onedl-mmsegmentation"]
    assert "accelerate" not in told


def test_python_must_be_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.10.4")
    check = only(environment.python_version())
    assert (check.state, check.value) == ("fail", "3.10.4")
    assert check.remedy == "install Python >=3.11 and run `make setup`"


def test_extras_tell_how_they_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, {"pydensecrf2": "1.1"})
    found = {check.name: check for check in environment.extras()}
    assert list(found) == [f"extra {n}" for n in ("crf", "onnx", "croissant", "tensorboard", "ray")]
    assert {check.state for check in found.values()} == {"ok"}
    assert found["extra crf"].value == "installed" and not found["extra crf"].remedy
    assert found["extra ray"].value == "not installed"
    assert found["extra ray"].remedy == "`make ray` adds it"


def test_a_compiler_is_only_information(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert only(environment.compiler()) == Check(
        "C++ compiler", "ok", "none", "only `make crf` needs one"
    )


def test_memory_is_compared_with_what_is_needed() -> None:
    assert only(environment.memory(1e6)).state == "ok"
    check = only(environment.memory(1e15))
    assert check.state == "fail" and "the run needs 1000000.0 GB" in check.value


def test_disk_warns_where_room_may_lack(tmp_path: Path) -> None:
    assert only(environment.disk(1, tmp_path)).state == "ok"
    assert only(environment.disk(10**18, tmp_path)).state == "warn"


def test_the_lexicon_is_named(make_params: Callable[..., Params], tmp_path: Path) -> None:
    def value(spec: str) -> str:
        return only(
            environment.lexicon(make_params({"expand_prompts.lexicon": spec}), tmp_path)
        ).value

    (tmp_path / "own.xml").write_bytes(bytes(2_000_000))
    assert value("builtin") == "builtin: tasks/lexicons/builtin.yaml"
    assert value("wordnet:own.xml") == "WN-LMF file own.xml, 2.0 MB"
    assert value("wordnet:omw-en:1.4").startswith("omw-en:1.4, to be found by wn in ")


def test_git_tells_what_differs_from_the_commit(tmp_path: Path) -> None:
    assert only(environment.git_state(tmp_path)).value.startswith("no commit in ")
    (tmp_path / "a").touch()
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-qb", "main"], ["add", "a"], [*author, "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    clean = only(environment.git_state(tmp_path))
    assert clean.state == "ok" and clean.value.startswith("main at ")
    (tmp_path / "b").touch()
    dirty = only(environment.git_state(tmp_path))
    assert dirty.state == "warn" and dirty.value.endswith(", 1 files differ")


def test_dvc_tells_cache_and_remotes(tmp_path: Path) -> None:
    assert only(environment.dvc_state(tmp_path)).state == "fail"
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc").mkdir()
    config = "[core]\n    analytics = false\n['remote \"far\"']\n    url = /nowhere\n"
    (tmp_path / ".dvc/config").write_text(config)
    (tmp_path / ".dvc/cache").mkdir()
    cache, remote = environment.dvc_state(tmp_path)
    assert cache.state in ("ok", "warn")
    assert "link" in cache.value
    assert remote == Check("DVC remote", "ok", "local (not contacted)")
