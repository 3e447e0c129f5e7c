"""The promises of `locate`: models.yaml and policies.yaml stand where the telemetry.yaml in force stands."""

from pathlib import Path
from typing import Literal

import pytest

from llm_service.config.files import locate
from llm_service.config.load import load_config
from llm_service.errors import ConfigError

pytestmark = pytest.mark.usefixtures("alone")

Kind = Literal["models", "policies"]
KINDS: tuple[Kind, ...] = ("models", "policies")


def put(path: Path) -> Path:
    """An empty file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_that_exists_is_taken(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variable, beside the telemetry.yaml, config/ here, the user's folder; else none."""
    name = f"{kind}.yaml"
    assert locate(kind) is None
    user = put(tmp_path / "home/.config/llm-service" / name)
    assert locate(kind) == user
    project = put(Path("config") / name)
    assert locate(kind) == project
    config = put(tmp_path / "elsewhere/telemetry.yaml")
    assert locate(kind, config) == project
    beside = put(config.with_name(name))
    assert locate(kind, str(config)) == beside
    assert locate(kind) == project
    monkeypatch.setenv("LLM_TELEMETRY_CONFIG", str(config))
    assert locate(kind) == beside
    named = put(tmp_path / "named.yaml")
    monkeypatch.setenv(f"LLM_TELEMETRY_{kind.upper()}", str(named))
    assert locate(kind, config) == named
    assert locate(kind, environ={}) == project
    load_config()  # the two variables are none that it refuses


@pytest.mark.parametrize("kind", KINDS)
def test_it_stands_beside_the_users_file_where_that_is_in_force(kind: Kind, tmp_path: Path) -> None:
    """A project without a telemetry.yaml has the user's, and what belongs to it, before its own."""
    put(tmp_path / "home/.config/llm-service/telemetry.yaml")
    user = put(tmp_path / "home/.config/llm-service" / f"{kind}.yaml")
    put(Path("config") / f"{kind}.yaml")
    assert locate(kind) == user


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_the_user_s_that_is_shut_to_him_has_no_file(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service may run with the home of another."""
    shut = put(tmp_path / f"home/.config/llm-service/{kind}.yaml")
    assert locate(kind) == shut
    stat = Path.stat

    def refused(path: Path, **how: bool) -> object:
        if path == shut:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", refused)
    assert locate(kind) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_variable_that_names_no_file_is_an_error(kind: Kind, tmp_path: Path) -> None:
    """Falling back would hide the mistake; an empty variable counts as not set."""
    variable = f"LLM_TELEMETRY_{kind.upper()}"
    with pytest.raises(ConfigError) as caught:
        locate(kind, environ={variable: str(tmp_path / "none.yaml")})
    assert (caught.value.file, caught.value.key) == (tmp_path / "none.yaml", variable)
    assert "there is no such file; correct the path" in str(caught.value)
    assert locate(kind, environ={variable: ""}) is None


def test_what_is_there_and_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    """A folder, or a link to itself, is found: reading it says what is wrong."""
    Path("config/models.yaml").mkdir(parents=True)
    assert locate("models") == Path("config/models.yaml")
    loop = tmp_path / "here/config/policies.yaml"
    loop.symlink_to(loop)
    assert locate("policies") == Path("config/policies.yaml")


def test_a_misspelt_variable_is_refused_with_a_guess() -> None:
    """The two new variables are among the guesses."""
    with pytest.raises(ConfigError, match="did you mean LLM_TELEMETRY_POLICIES"):
        load_config(environ={"LLM_TELEMETRY_POLICY": "x"})
    with pytest.raises(ConfigError, match="did you mean LLM_TELEMETRY_MODELS"):
        load_config(environ={"LLM_TELEMETRY_MODEL": "x"})
