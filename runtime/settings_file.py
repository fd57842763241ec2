"""The settings file: lines of YAML, each a setting's name and its value as text.

What the values mean, and which file is read, is `runtime.settings`'s to say.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.setting_kinds import SettingsError, path_of

CONFIG_NAME = "berth.yaml"

_UNSAID = frozenset({"", "~", "null"})


def read_file(path: Path, names: Sequence[str]) -> dict[str, str]:
    """What the file says of the settings with these names."""
    import yaml  # noqa: PLC0415 -- most commands need no file, and the parser costs them 30 ms

    try:
        # The base loader leaves every scalar as written: account 012345670123 is no octal number.
        document = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)  # noqa: S506
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if document in (None, ""):
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{path}: should hold lines such as `port: 3001`")
    return _checked(document, path, names)


def _checked(document: Mapping[Any, Any], path: Path, names: Sequence[str]) -> dict[str, str]:
    """The file's settings under their names: known keys, each said once, with a plain value."""
    said: dict[str, str] = {}
    for key, value in document.items():
        name = str(key).replace("-", "_")
        if name not in names:
            raise SettingsError(f"{path}: there is no setting {key!r}{_nearest(name, names)}")
        if name in said:
            raise SettingsError(f"{path}: {name} is set twice")
        if not isinstance(value, str):
            raise SettingsError(f"{path}: {name}: needs a single value")
        said[name] = value
    if "data_dir" in said and path.name == CONFIG_NAME and path_of(said["data_dir"]) != path.parent:
        # Which file is read would depend on what it says.
        raise SettingsError(
            f"{path}: data_dir belongs in BERTH_DATA_DIR, --data-dir or a file given with --config"
        )
    return {name: text for name, text in said.items() if text not in _UNSAID}


def _nearest(name: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- only for a message

    found = get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
