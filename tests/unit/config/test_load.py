"""The promises of `load_config`: one file, the environment over it, and one clear error for all that is wrong."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from llm_service.config.files import user_file
from llm_service.config.load import ConfigValue, describe_config, load_config
from llm_service.config.schemas import TelemetryConfig
from llm_service.config.settings import Settings
from llm_service.errors import ConfigError

REPOSITORY = Path(__file__).parents[3]

Write = Callable[[str | bytes], Path]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each test has an empty current directory, an empty home folder, and none of our variables."""
    for name in [*filter(lambda name: name.startswith("LLM_TELEMETRY_"), os.environ), "XDG_CONFIG_HOME"]:
        monkeypatch.delenv(name, raising=False)
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a settings file outside the search order."""

    def _write(content: str | bytes) -> Path:
        path = tmp_path / "given.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def put(path: Path, content: str) -> Path:
    """Write a settings file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def refused(path: str | Path | None = None, **environ: str) -> ConfigError:
    """The error that a file or an environment is refused with."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ=environ)
    return caught.value


# Where a configuration comes from


def test_without_file_and_environment_the_defaults_hold() -> None:
    """Nothing needs to be configured."""
    assert load_config() == TelemetryConfig()


def test_the_first_file_that_exists_wins_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Explicit path, named path, project, XDG folder, home folder: a later one adds nothing to an earlier one."""
    explicit = put(tmp_path / "explicit.yaml", "batch_size: 1")
    named = put(tmp_path / "named.yaml", "batch_size: 2")
    project = put(Path("config/telemetry.yaml"), "batch_size: 3")
    xdg = put(tmp_path / "xdg/llm-service/telemetry.yaml", "batch_size: 4")
    put(tmp_path / "home/.config/llm-service/telemetry.yaml", "batch_size: 5\nstrict: true")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LLM_TELEMETRY_CONFIG", str(named))

    assert load_config(explicit) == TelemetryConfig(batch_size=1)
    assert load_config() == TelemetryConfig(batch_size=2)
    monkeypatch.setenv("LLM_TELEMETRY_CONFIG", "")
    assert load_config() == TelemetryConfig(batch_size=3)
    project.unlink()
    assert load_config() == TelemetryConfig(batch_size=4)
    xdg.unlink()
    assert load_config() == TelemetryConfig()
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert load_config() == TelemetryConfig(batch_size=5, strict=True)


def test_the_home_folder_is_expanded_in_a_given_path(tmp_path: Path) -> None:
    """`~/x.yaml` works where no shell expands it."""
    put(tmp_path / "home/x.yaml", "batch_size: 9")
    assert load_config("~/x.yaml").batch_size == 9


def test_an_unknown_home_folder_only_ends_the_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Under a container's arbitrary user id there is no home; an absolute db_path is all that is needed."""
    monkeypatch.setattr("os.path.expanduser", os.fspath)
    assert load_config(environ={"LLM_TELEMETRY_DB_PATH": str(tmp_path / "a.db")}).get_db_path() == tmp_path / "a.db"
    error = refused()
    assert (error.file, error.line, error.key) == (None, None, "db_path")
    assert "'~/.llm-service/telemetry.db' is not usable; give an absolute path" in str(error)


def test_windows_has_its_own_folder(tmp_path: Path) -> None:
    """%APPDATA% is the user's folder there, and without it there is none."""
    folder = tmp_path / "roaming"
    expected = [folder / "llm-service" / "telemetry.yaml"]
    assert user_file("telemetry.yaml", {"APPDATA": str(folder)}, windows=True) == expected
    assert user_file("telemetry.yaml", {"XDG_CONFIG_HOME": str(folder)}, windows=True) == []


@pytest.mark.parametrize("content", ["", "# only a comment\n", "---\n", "---\n...\n", "{}", "\ufeff", '""'])
def test_an_empty_file_means_all_defaults(write: Write, content: str) -> None:
    """Every setting may be left out."""
    assert load_config(write(content)) == TelemetryConfig()


def test_the_files_of_the_repository_load() -> None:
    """The project's own file holds the card's settings and the queue's; the example holds all, at their defaults."""
    project = REPOSITORY / "config/telemetry.yaml"
    given = [item.name for item in describe_config(project) if item.source != "default"]
    assert set(given) == {
        *("enabled", "db_path", "privacy_level", "retention_days"),
        *("flush_interval", "batch_size", "queue_max_records", "queue_max_bytes", "overflow", "block_timeout"),
    }
    for path in (project, REPOSITORY / "config/telemetry.yaml.example"):
        assert load_config(path).to_settings() == Settings()


def test_every_environment_variable_replaces_its_setting(write: Write) -> None:
    """`LLM_TELEMETRY_<SETTING>` wins over the file, for each setting there is."""
    given = {
        "db_path": "/data/a.db",
        "enabled": False,
        "privacy_level": "none",
        "retention_days": None,
        "content_retention_days": 9,
        "flush_interval": 2.5,
        "batch_size": 11,
        "queue_max_records": 12,
        "queue_max_bytes": 70_000,
        "overflow": "drop_oldest",
        "block_timeout": 3.0,
        "commit_timeout": 4.0,
        "close_timeout": 6.0,
        "strict": True,
        "redact_content": False,
        "journal": True,
        "search": True,
        "time_zone": "Asia/Kathmandu",
    }
    environ = {f"LLM_TELEMETRY_{name.upper()}": str(value) for name, value in given.items()}
    assert load_config(write("batch_size: 5\nretention_days: 5"), environ=environ).model_dump() == given
    assert set(given) == set(Settings.names())


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load_config()` alone reads `os.environ`."""
    monkeypatch.setenv("LLM_TELEMETRY_ENABLED", " no ")
    assert load_config().enabled is False


def test_an_empty_variable_counts_as_not_set(write: Write) -> None:
    """`LLM_TELEMETRY_RETENTION_DAYS=` must not keep records for ever."""
    environ = {"LLM_TELEMETRY_RETENTION_DAYS": "", "LLM_TELEMETRY_DB_PATH": " "}
    assert load_config(write("retention_days: 5"), environ=environ) == TelemetryConfig(retention_days=5)


def test_text_from_the_environment_is_taken_as_it_stands() -> None:
    """A path may look like YAML: it is not read as such."""
    assert load_config(environ={"LLM_TELEMETRY_DB_PATH": "/data/#1: *a.db"}).db_path == "/data/#1: *a.db"
    assert load_config(environ={"LLM_TELEMETRY_DB_PATH": "2026"}).db_path == "2026"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("retention_days", "null", None),
        ("retention_days", "~", None),
        ("retention_days", "None", None),
        ("retention_days", "010", 10),
        ("retention_days", "1_000", 1000),
        ("privacy_level", "none", "none"),
        ("privacy_level", '"full"', "full"),
        ("enabled", "off", False),
        ("enabled", "Yes", True),
        ("flush_interval", "2", 2.0),
        ("flush_interval", ".5", 0.5),
    ],
)
def test_plain_words_mean_what_they_say(write: Write, name: str, text: str, value: object) -> None:
    """Words and numbers of YAML are understood; numbers are decimal, and `none` days is no bound."""
    config = load_config(write(f"{name}: {text}"))
    assert getattr(config, name) == value
    assert type(getattr(config, name)) is type(value)


def test_a_relative_path_is_taken_against_the_folder_of_its_file(tmp_path: Path) -> None:
    """A file means the same whatever directory the agent was started in."""
    put(Path("config/telemetry.yaml"), "db_path: data/a.db")
    assert load_config().get_db_path() == tmp_path / "here/config/data/a.db"


def test_a_relative_path_from_the_environment_is_taken_against_the_current_directory(
    tmp_path: Path, write: Write
) -> None:
    """A variable belongs to the process, not to the file that it overrides."""
    config = load_config(write("db_path: b.db"), environ={"LLM_TELEMETRY_DB_PATH": "a.db"})
    assert config.get_db_path() == tmp_path / "here/a.db"


def test_each_value_can_be_traced_to_its_source() -> None:
    """`describe_config` tells file and line, variable, or default, for all settings in documentation order."""
    put(Path("config/telemetry.yaml"), "# project\nbatch_size: 3\n\nstrict: true\n")
    described = describe_config(environ={"LLM_TELEMETRY_STRICT": "false"})
    assert [item.name for item in described] == list(Settings.names())
    by_name = {item.name: item for item in described}
    project = Path("config/telemetry.yaml")
    assert by_name["batch_size"] == ConfigValue("batch_size", 3, f"{project}:2")
    assert by_name["strict"] == ConfigValue("strict", False, "LLM_TELEMETRY_STRICT")
    assert by_name["retention_days"] == ConfigValue("retention_days", 30, "default")


def test_settings_and_loading_do_not_import_pydantic() -> None:
    """`import llm_service.telemetry` stays lean: only the model itself pays for pydantic."""
    code = "import sys, llm_service.config.settings, llm_service.config.load; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=REPOSITORY).returncode == 0


# What is refused


@pytest.mark.parametrize(
    ("content", "line", "key", "words"),
    [
        ("enabled: true\nretention: 5", 2, "retention", "no such setting; did you mean retention_days?"),
        ("zzz: 5", 1, "zzz", "no such setting; the known ones are: db_path, enabled"),
        ("? \n: 5", 1, "", "no such setting"),
        ("strict: true\n\nstrict: true", 3, "strict", "is set in line 1 already; keep one"),
        ("strict: true\nbatch_size: many", 2, "batch_size", "'many' is not usable; use a whole number from 1 to"),
        ("retention_days: 1.5", 1, "retention_days", "1.5 is not usable; use a whole number from 0 to 36,500"),
        ("retention_days: '30'", 1, "retention_days", "'30' is not usable"),
        ("retention_days: 0x1F", 1, "retention_days", "'0x1F' is not usable"),
        ("retention_days: 1:30", 1, "retention_days", "'1:30' is not usable"),
        ("retention_days: -1", 1, "retention_days", "-1 is not usable; use a whole number from 0 to 36,500"),
        ("retention_days: 2026-01-01", 1, "retention_days", "'2026-01-01' is not usable"),
        ("retention_days:", 1, "retention_days", "has no value; give one or remove the line"),
        ("batch_size: none", 1, "batch_size", "None is not usable"),
        ("batch_size: yes", 1, "batch_size", "True is not usable"),
        ("enabled: 1", 1, "enabled", "1 is not usable; use true or false"),
        ("flush_interval: .nan", 1, "flush_interval", "'.nan' is not usable; use a number of seconds"),
        ("flush_interval: -.inf", 1, "flush_interval", "use a number of seconds from 0.001 to 3600"),
        (f"flush_interval: {'9' * 400}.0", 1, "flush_interval", "inf is not usable"),
        (f"batch_size: {'9' * 9000}", 1, "batch_size", "9999... is not usable"),
        ("privacy_level: off", 1, "privacy_level", "False is not usable; use none, metadata or full"),
        ("db_path: ':memory:'", 1, "db_path", "':memory:' is not usable; records must outlive the process"),
        ("db_path: 2026", 1, "db_path", "2026 is not usable; give a path"),
        ("db_path: null", 1, "db_path", "None is not usable; give a path"),
        ('db_path: "a\\ud800"', 1, "db_path", "'a\\ud800' is not usable; a path cannot hold"),
        ("db_path: [a, b]", 1, "db_path", "a list or a mapping is not usable; give a single value"),
        ("strict:\n  very: true", 1, "strict", "a list or a mapping is not usable"),
        ("[a]: 1", 1, None, "a list or a mapping cannot name a setting"),
        ("\n- strict", 2, None, "is not a mapping; write one `setting: value` a line"),
        ("null", 1, None, "is not a mapping"),
        ("strict: true\n---\nstrict: true", 2, None, "has a second YAML document; keep one"),
        ("strict: !!python/object:os.system x", 1, None, "'tag:yaml.org,2002:python/object:os.system' is refused"),
        ("strict: ! x", 1, None, "'!' is refused"),
        ("!!map {strict: true}", 1, None, "is refused"),
        ("strict: &a true", 1, None, "YAML tag or anchor 'a' is refused"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", 1, "a", "no such setting"),
        ("strict: *a", 1, None, "'a' is refused"),
        ("strict: true\nbatch_size: '1", 2, None, "is not YAML: found unexpected end of stream"),
        ("strict: true\n\tbatch_size: 1", 2, None, "is not YAML"),
        ("strict: true\nbatch_size: @x", 2, None, "is not YAML: found character '@'"),
        ('strict: "\\UFFFFFFFF"', 1, None, "is not YAML: a number in an escape or a directive is out of range"),
        (f"%YAML 1.{'1' * 5000}\n---\n", 1, None, "is not YAML: a number in an escape"),
        ("%YAML 2.0\n---\n", 1, None, "is not YAML: found incompatible YAML document"),
        ("strict: true\nbatch_size: \x01", 2, None, "has a control character; remove it"),
        (b"strict: true\n# caf\xe9", 2, None, "is not UTF-8; save it as UTF-8"),
        ("strict: true".encode("utf-16"), 1, None, "is not UTF-8"),
        (b"#" * (1024 * 1024 + 1), None, None, "is larger than 1 MiB"),
        ("[" * 100_000, 1, None, "is not a mapping"),
        ("strict: " + "[" * 100_000, 1, "strict", "a list or a mapping is not usable"),
        ("{" * 100_000, 1, None, "cannot name a setting"),
        ("? " * 100_000, 1, None, "cannot name a setting"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_file_that_cannot_be_used_is_one_clear_error(
    write: Write, content: str | bytes, line: int | None, key: str | None, words: str
) -> None:
    """The message starts with file and line, names the key, says what is wrong and what to do; it stays short."""
    path = write(content)
    error = refused(path)
    assert (error.file, error.line, error.key) == (path, line, key)
    place = f"{path}:{line}: " if line else f"{path}: "
    assert str(error).startswith(place + (f"{key}: " if key else ""))
    assert words in str(error)
    assert len(str(error)) - len(place) < 320
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_the_documented_message_is_exact(write: Write) -> None:
    """`FILE:LINE: KEY: what is wrong; remedy`."""
    path = write("enabled: true\nretention_days: -1\n")
    assert str(refused(path)) == f"{path}:2: retention_days: -1 is not usable; use a whole number from 0 to 36,500"


def test_an_odd_key_is_shown_on_one_line(write: Write) -> None:
    """A key with line breaks, or one of a thousand letters, cannot flood a log."""
    message = str(refused(write('"a\\nb": 1')))
    assert "'a\\nb': there is no such setting" in message
    assert "x..." in str(refused(write(f"{'x' * 1000}: 1")))


@pytest.mark.parametrize("value", ["*a", "!!python/name:os.system", "&a true", "[[[[", "x: y"])
def test_the_environment_cannot_bring_in_yaml_structure(value: str) -> None:
    """A variable is a single value; what looks like more is plain text, and no bool."""
    error = refused(LLM_TELEMETRY_ENABLED=value)
    assert str(error) == f"LLM_TELEMETRY_ENABLED: {value!r} is not usable; use true or false"
    assert (error.file, error.line, error.key) == (None, None, "LLM_TELEMETRY_ENABLED")


def test_a_path_of_bytes_that_are_not_utf8_is_usable() -> None:
    """Such a file name reaches Python as lone surrogates, and goes back to the system as the same bytes."""
    config = load_config(environ={"LLM_TELEMETRY_DB_PATH": os.fsdecode(b"/data/\xff.db")})
    assert os.fsencode(config.get_db_path()) == b"/data/\xff.db"


def test_an_unknown_variable_is_refused_with_a_guess() -> None:
    """A misspelt variable is an error, never ignored; variables of others are none of our business."""
    error = refused(LLM_TELEMETRY_RETENTION="5", PATH="/bin", LLM_TELEMETRYX="1")
    assert str(error) == (
        "LLM_TELEMETRY_RETENTION: there is no such setting; did you mean LLM_TELEMETRY_RETENTION_DAYS?"
    )
    assert "did you mean LLM_TELEMETRY_CONFIG?" in str(refused(LLM_TELEMETRY_CONFIGS="x"))


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """An explicit or named path that is missing is an error: falling back would hide the mistake."""
    missing = tmp_path / "missing.yaml"
    assert str(refused(missing)).startswith(f"{missing}: there is no such file")
    error = refused(LLM_TELEMETRY_CONFIG=str(missing))
    assert (error.file, error.key) == (missing, "LLM_TELEMETRY_CONFIG")
    assert refused("").file == Path()


def test_a_folder_or_a_pipe_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    """Also in the search order, and without waiting for somebody to write into the pipe."""
    assert "it is a folder" in str(refused(tmp_path))
    Path("config/telemetry.yaml").mkdir(parents=True)
    assert "it is a folder" in str(refused())
    os.mkfifo(tmp_path / "pipe")
    assert "a pipe" in str(refused(tmp_path / "pipe"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    """No permission, a symlink loop or an impossible name: the reason is told, and nothing is guessed."""
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "cannot be read (Too many levels of symbolic links)" in str(refused(loop))
    assert "null" in str(refused("a\0b"))  # 3.13 says character instead of byte
    assert refused("a\ud800").line is None

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write("strict: true")
    monkeypatch.setattr(Path, "open", deny)
    assert str(refused(path)) == f"{path}: cannot be read (Permission denied); name a readable YAML file"


def test_a_file_where_a_folder_should_be_ends_the_search() -> None:
    """`config` may be a plain file in somebody's project: then there is no config/telemetry.yaml."""
    put(Path("config"), "not ours")
    assert load_config() == TelemetryConfig()


def test_the_error_survives_pickling(write: Write) -> None:
    """A worker process can report it to its parent."""
    error = refused(write("strict: 5"))
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(copy), copy.file, copy.line, copy.key) == (str(error), error.file, error.line, error.key)


# Whatever is in the file

LINES = st.builds(
    "{}: {}".format,
    st.sampled_from([*Settings.names(), "<<", "?", "- x"]),
    st.one_of(
        st.sampled_from(
            [
                "true",
                "null",
                "none",
                "~",
                "1e3",
                "0b_",
                "0_",
                "._",
                "+.inf",
                "1:2",
                "=",
                "<<",
                "2026-99-99",
                "|",
                "'",
                "*a",
            ]
        ),
        st.integers().map(str),
        st.floats().map(str),
        st.text(max_size=12),
    ),
)


def only_config_or_error(path: Path, content: bytes) -> None:
    """Load these bytes; any exception but ConfigError fails the test."""
    path.write_bytes(content)
    try:
        config = load_config(path, environ={})
    except ConfigError as error:
        assert error.file == path  # noqa: PT017 - either outcome is fine, and this one has a promise of its own
    else:
        assert config.to_settings().db_path.is_absolute()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(content=b'"\\UFFFFFFFF": 1')
@example(content=b"batch_size: 0b_")
@example(content=b"=: 1\n<<: {}")
def test_arbitrary_bytes_give_a_config_or_a_config_error(tmp_path: Path, content: bytes) -> None:
    """No file, however broken, raises anything else."""
    only_config_or_error(tmp_path / "fuzz.yaml", content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=st.lists(LINES, max_size=4))
def test_nearly_right_files_give_a_config_or_a_config_error(tmp_path: Path, lines: list[str]) -> None:
    """Known names with odd values reach every kind of scalar."""
    only_config_or_error(tmp_path / "fuzz.yaml", "\n".join(lines).encode("utf-8", "surrogatepass"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(Settings.names()), text=st.text(max_size=20) | st.floats().map(str))
def test_any_environment_gives_a_config_or_a_config_error(name: str, text: str) -> None:
    """No variable, however odd, raises anything else."""
    try:
        load_config(environ={f"LLM_TELEMETRY_{name.upper()}": text})
    except ConfigError as error:
        assert error.key == f"LLM_TELEMETRY_{name.upper()}"  # noqa: PT017 - either outcome is fine
