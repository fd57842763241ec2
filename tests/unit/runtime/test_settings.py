import argparse
from pathlib import Path

import pytest

from runtime import settings
from runtime.setting_kinds import SettingsError
from runtime.settings import ROWS, Settings, load


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_table(home: Path) -> None:
    """Without flags, variables and file the settings are the defaults, and say so."""
    loaded = load({}, {})
    assert loaded.settings == Settings()
    assert loaded.settings.data_dir == home / ".berth"
    assert set(loaded.origins.values()) == {"default"}


def test_precedence_is_flag_then_variable_then_file_then_foreign_variable(home: Path) -> None:
    """The loudest voice wins; taking it away lets the next one be heard."""
    written(home / ".berth/berth.yaml", "docker_host: from-file\n")
    environ = {"BERTH_DOCKER_HOST": "from-variable", "DOCKER_HOST": "from-docker"}
    flags = {"docker_host": "from-flag"}
    heard = []
    for take_away in (lambda: None, flags.clear, lambda: environ.pop("BERTH_DOCKER_HOST")):
        take_away()
        heard.append(load(flags, environ).settings.docker_host)
    (home / ".berth/berth.yaml").unlink()
    heard.append(load(flags, environ).settings.docker_host)
    assert heard == ["from-flag", "from-variable", "from-file", "from-docker"]


def test_origins_name_flag_variable_file_and_foreign_variable(home: Path) -> None:
    """Each value's origin is written as a person would look for it."""
    config = written(home / ".berth/berth.yaml", "freeze: off\n")
    origins = load({"port": "1"}, {"BERTH_HOST": "h", "DOCKER_HOST": "d"}).origins
    assert [origins[name] for name in ("port", "host", "docker_host", "freeze", "region")] == [
        "--port",
        "BERTH_HOST",
        "DOCKER_HOST",
        f"{config}: freeze",
        "default",
    ]


@pytest.mark.parametrize(
    ("flags", "environ", "message"),
    [
        ({}, {"BERTH_PORT": "x"}, "BERTH_PORT: 'x' is not a port (1-65535, or 0 for any free one)"),
        ({"port": "65536"}, {}, "--port: '65536' is not a port (1-65535, or 0 for any free one)"),
        ({}, {"BERTH_IDLE_TIMEOUT": "nan"}, "BERTH_IDLE_TIMEOUT: 'nan' is not a number of seconds above 0"),
        ({}, {"BERTH_SPAWNER": "vm"}, "BERTH_SPAWNER: 'vm' is not one of auto, docker, process"),
        ({}, {"BERTH_ACCOUNT_ID": "12"}, "BERTH_ACCOUNT_ID: '12' is not an account (12 digits)"),
        ({}, {"BERTH_FREEZE": "perhaps"}, "BERTH_FREEZE: 'perhaps' is not true or false"),
        (
            {},
            {"BERTH_DATA_DIR": "~nobody-of-that-name/x"},
            "BERTH_DATA_DIR: '~nobody-of-that-name/x' is not a path",
        ),
        ({"config": "/no/file"}, {}, "--config: there is no file /no/file"),
        ({}, {"BERTH_CONFIG": "/no/file"}, "BERTH_CONFIG: there is no file /no/file"),
    ],
)
def test_bad_value_names_its_origin(
    home: Path, flags: dict[str, str | None], environ: dict[str, str], message: str
) -> None:
    """The message begins with the flag or variable to correct and says what would do."""
    with pytest.raises(SettingsError) as caught:
        load(flags, environ)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot: 1", ": there is no setting 'prot' (did you mean 'port'?)"),
        ("zzzzzz: 1", ": there is no setting 'zzzzzz'"),
        ("port: many", ": port: 'many' is not a port (1-65535, or 0 for any free one)"),
        ("port: [1, 2]", ": port: needs a single value"),
        ("data-dir: a\ndata_dir: b", ": data_dir is set twice"),
        ("- port", ": should hold lines such as `port: 3001`"),
        (
            "data_dir: /elsewhere",
            ": data_dir belongs in BERTH_DATA_DIR, --data-dir or a file given with --config",
        ),
    ],
)
def test_bad_file_names_itself(home: Path, text: str, message: str) -> None:
    """What is wrong in the settings file is told with the file's path and the key."""
    config = written(home / ".berth/berth.yaml", text)
    with pytest.raises(SettingsError) as caught:
        load({}, {})
    assert str(caught.value) == f"{config}{message}"


def test_file_that_is_no_yaml_is_told_in_one_line(home: Path) -> None:
    """A syntax error names file and line, without a line break."""
    config = written(home / ".berth/berth.yaml", "port: 'x")
    with pytest.raises(SettingsError, match="is not YAML") as caught:
        load({}, {})
    assert str(caught.value).startswith(str(config))
    assert "\n" not in str(caught.value)


def test_file_takes_dashes_and_leaves_scalars_as_written(home: Path) -> None:
    """Keys may be written like flags, and an account with a leading zero is no octal number."""
    written(
        home / ".berth/berth.yaml", "account-id: 012345670123\nidle-timeout: 1.5\ndocker_host: ~\nhost:\n"
    )
    found = load({}, {}).settings
    assert (found.account_id, found.idle_timeout, found.docker_host, found.host) == (
        "012345670123",
        1.5,
        None,
        "127.0.0.1",
    )


def test_empty_file_says_nothing(home: Path) -> None:
    """A file of comments is a file without settings."""
    written(home / ".berth/berth.yaml", "# later\n")
    assert load({}, {}).settings == Settings()


def test_named_file_may_choose_the_data_directory(home: Path) -> None:
    """`--config` names a file anywhere, which may then say where data is kept; other files are not read."""
    written(home / ".berth/berth.yaml", "port: 1")
    config = written(home / "etc/mine.yaml", f"data_dir: {home}/data")
    loaded = load({"config": str(config)}, {})
    assert (loaded.settings.data_dir, loaded.settings.port) == (home / "data", 3001)


def test_default_file_is_looked_for_in_the_chosen_data_directory(home: Path) -> None:
    """The data directory of flag or variable decides which settings file counts."""
    written(home / "other/berth.yaml", "port: 7")
    assert load({}, {"BERTH_DATA_DIR": f"{home}/other"}).settings.port == 7


def test_empty_variable_says_nothing(home: Path) -> None:
    """`BERTH_PORT=` is as if it were unset."""
    assert load({}, {"BERTH_PORT": ""}).settings.port == 3001


def test_foreign_variable_that_does_not_fit_is_passed_over(home: Path) -> None:
    """A certificate variable that names no file is not Berth's to complain about; the next one counts."""
    bundle = written(home / "ca.pem", "")
    loaded = load({}, {"PIP_CERT": "/no/such", "SSL_CERT_FILE": str(bundle)})
    assert (loaded.settings.build_ca, loaded.origins["build_ca"]) == (bundle, "SSL_CERT_FILE")


def test_flags_travel_through_argparse(home: Path) -> None:
    """Every setting has its flag, a switch has two, and only what was given is handed on."""
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    given = settings.flags_of(
        parser.parse_args(["--no-freeze", "--max-environments", "5", "--data-dir", "d"])
    )
    assert given == {"freeze": "false", "max_environments": "5", "data_dir": "d"}
    assert load(given, {}).settings.data_dir == Path.cwd() / "d"
    assert load(given, {}).settings.freeze is False


def test_flags_can_be_handed_on_to_another_process(home: Path) -> None:
    """A command line made from flags is read as the same flags, odd values included."""
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    given = {"config": "/c", "freeze": "false", "port": "7", "data_dir": "-x y", "docker_host": "a=b"}
    assert settings.flags_of(parser.parse_args(settings.as_arguments(given))) == given
    assert settings.as_arguments({"freeze": "true"}) == ["--freeze"]


def test_command_may_take_some_settings_only(home: Path) -> None:
    """A client command shows the flags that it uses."""
    parser = argparse.ArgumentParser()
    settings.add_flags(parser, only=["data_dir"])
    text = parser.format_help()
    assert "--data-dir" in text
    assert "--port" not in text


def test_written_settings_read_back_as_themselves(home: Path, tmp_path: Path) -> None:
    """What `as_text` writes, the file reader understands."""
    first = load({"idle_timeout": "0.25", "freeze": "no", "docker_host": "tcp://x:1"}, {}).settings
    lines = [f"{name}: '{text}'" for name, text in settings.as_text(first).items()]
    config = written(tmp_path / "copy.yaml", "\n".join(lines))
    assert load({"config": str(config)}, {}).settings == first


def test_what_was_asked_for_is_told_from_what_came_about(home: Path) -> None:
    """Defaults and other tools' variables are nobody's wish."""
    loaded = load({"port": "3001"}, {"DOCKER_HOST": "d", "BERTH_HOST": "h"})
    assert [row.name for row in ROWS if loaded.asked_for(row.name)] == ["host", "port"]


def test_docs_table_has_a_line_for_each_setting() -> None:
    """The table for the docs names flag, variable, key, default and choices of every row."""
    lines = settings.markdown().splitlines()
    assert len(lines) == 2 + len(ROWS)
    for row, line in zip(ROWS, lines[2:], strict=True):
        assert line.startswith(f"| `{row.flag}`")
        assert f"`{row.variable}`" in line
    assert "`{auto,docker,process}`" in settings.markdown()


def test_every_help_text_is_a_sentence() -> None:
    """Help texts end with a full stop: they are joined with the default."""
    assert [row.name for row in ROWS if not row.help.endswith(".")] == []


def test_client_url_is_the_flag_or_the_variable() -> None:
    """A client may be pointed at a Berth elsewhere."""
    environ = {"BERTH_URL": "http://b"}
    assert settings.client_url("http://a", environ) == "http://a"
    assert settings.client_url(None, environ) == "http://b"
    assert settings.client_url(None, {"BERTH_URL": ""}) is None


@pytest.mark.parametrize(
    ("flags", "url"),
    [
        ({}, "http://127.0.0.1:3001"),
        ({}, "http://localhost:3001/"),
        ({"port": "0"}, "http://localhost:3001"),
        ({"port": "4000"}, "http://localhost:3001"),
        ({"port": "4000"}, "http://127.0.0.1:4000"),
        ({"host": "10.1.2.3"}, "http://10.1.2.3:3001"),
    ],
)
def test_the_sdks_variable_that_leads_to_berth_names_no_other_service(
    home: Path, flags: dict[str, str], url: str
) -> None:
    """A shell that points the AWS CLI at Berth says nothing of S3."""
    loaded = load(flags, {"AWS_ENDPOINT_URL": url})
    assert (loaded.settings.aws_endpoint_url, loaded.origins["aws_endpoint_url"]) == (None, "default")


def test_the_sdks_variable_names_an_emulator(home: Path) -> None:
    """Where it leads elsewhere it is the fallback; what is not understood is passed over."""
    loaded = load({}, {"AWS_ENDPOINT_URL": "http://localhost:4566"})
    assert str(loaded.settings.aws_endpoint_url) == "http://localhost:4566"
    assert loaded.origins["aws_endpoint_url"] == "AWS_ENDPOINT_URL"
    assert load({}, {"AWS_ENDPOINT_URL": "nonsense"}).settings.aws_endpoint_url is None


def test_berth_cannot_be_its_own_neighbour(home: Path) -> None:
    """Said on purpose, its own address is a mistake that is told."""
    with pytest.raises(SettingsError, match=r"^--aws-endpoint-url: http://localhost:3001 is Berth itself"):
        load({"aws_endpoint_url": "s3=http://localhost:3001"}, {})


def test_directories_of_hot_reload() -> None:
    """Several with colons between; relative ones are from where Berth is started; none unless it is said."""
    assert load({}, {}).settings.hot_reload is None
    found = load({"hot_reload": "/a:~/b:c"}, {}).settings.hot_reload
    assert found == (Path("/a"), Path("~/b").expanduser(), Path.cwd() / "c")
    assert str(found) == f"/a:{Path('~/b').expanduser()}:{Path.cwd() / 'c'}"
