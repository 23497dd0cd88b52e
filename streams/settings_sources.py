"""Reads settings from file, environment and flags with pydantic-settings. Part of the shell; slow to import.

Names, types and defaults come from `streams.settings.Settings`; there is no second list of them.
"""

from __future__ import annotations

import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import Field, ValidationError, create_model
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from streams.settings import BOOTSTRAP_ENV, ENV_PREFIX, NOT_SETTINGS, RANGES, Settings, SettingsError

#: Key -> the flag, variable or file that set it; what is not in here has its default.
Sources = dict[str, str]

#: Of each source the values it sets and the name under which a person finds each.
Layer = tuple[dict[str, Any], Sources]


def resolve(
    flags: Mapping[str, object], environ: Mapping[str, str], config: Path
) -> tuple[Settings, Sources]:
    """Return the settings and where each came from.

    Raises:
        SettingsError: naming key, source and what is allowed.
    """
    layers = [_read_file(config), _read_environment(environ), _read_flags(flags)]
    sources: Sources = {}
    for _, named in layers:
        sources.update(named)
    file_values, env_values, flag_values = (values for values, _ in layers)
    model = _create_model(file_values, env_values)
    try:
        loaded = model(**flag_values)
    except ValidationError as error:
        raise _plain_error(error, sources) from None
    return msgspec.convert(loaded.model_dump(), Settings), sources


def _create_model(file_values: dict[str, Any], env_values: dict[str, Any]) -> type[BaseSettings]:
    """Return the pydantic twin of `Settings` that reads these two layers below its arguments."""

    class Layered(BaseSettings):
        model_config = SettingsConfigDict(extra="forbid", env_prefix=ENV_PREFIX)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            # Ours replace these three: they also say under which name a person finds a value.
            del env_settings, dotenv_settings, file_secret_settings
            # First is strongest. Dictionaries are merged in depth, so [policy] may come from all three.
            environment = InitSettingsSource(settings_cls, env_values)
            return init_settings, environment, InitSettingsSource(settings_cls, file_values)

    hints = typing.get_type_hints(Settings)
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        low, high = RANGES.get(field.name, (None, None))
        if field.default_factory is not msgspec.NODEFAULT:
            default = Field(default_factory=field.default_factory)
        else:
            default = Field(default=field.default, ge=low, le=high)
        fields[field.name] = (hints[field.name], default)
    return create_model("WatchkeepSettings", __base__=Layered, **fields)


def _read_file(path: Path) -> Layer:
    """Return what the settings file says; a file that is not there says nothing."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} is not valid TOML: {error}.") from None
    _check_known(values, dict.fromkeys(values, path.name))
    return values, _name_keys(values, lambda _: path.name)


def _read_environment(environ: Mapping[str, str]) -> Layer:
    """Return what the environment says: `WATCHKEEP_KEY`, and `WATCHKEEP_POLICY__KEY` for policy seeds."""
    values: dict[str, Any] = {}
    sources: Sources = {}
    if environ.get(BOOTSTRAP_ENV):
        values["bootstrap_servers"] = environ[BOOTSTRAP_ENV]
        sources["bootstrap_servers"] = BOOTSTRAP_ENV
    for name, text in sorted(environ.items()):
        if not name.startswith(ENV_PREFIX) or name in NOT_SETTINGS:
            continue
        key = name.removeprefix(ENV_PREFIX).lower()
        if key.startswith("policy__"):
            seed = key.removeprefix("policy__")
            values.setdefault("policy", {})[seed] = _read_scalar(text)
            sources[f"policy.{seed}"] = name
        else:
            _check_known({key: text}, {key: name})
            values[key] = text
            sources[key] = name
    return values, sources


def _read_flags(flags: Mapping[str, object]) -> Layer:
    _check_known(flags, dict.fromkeys(flags, "flag"))
    return dict(flags), _name_keys(flags, lambda key: "flag" if key.startswith("policy") else _flag_name(key))


def _flag_name(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _name_keys(values: Mapping[str, object], name: typing.Callable[[str], str]) -> Sources:
    """Return each key with the name of its source, policy seeds one by one."""
    sources: Sources = {}
    for key, value in values.items():
        if key == "policy" and isinstance(value, dict):
            sources.update({f"policy.{seed}": name(key) for seed in value})
        elif key == "pools" and isinstance(value, dict):
            tables = {pool: table for pool, table in value.items() if isinstance(table, dict)}
            sources.update({f"pools.{pool}.{each}": name(key) for pool in tables for each in tables[pool]})
            sources[key] = name(key)
        else:
            sources[key] = name(key)
    return sources


def _read_scalar(text: str) -> int | bool | str:
    """Return a variable's text as the TOML value it spells, so that both sources mean the same."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    try:
        return int(text)
    except ValueError:
        return text


def _check_known(values: Mapping[str, object], sources: Sources) -> None:
    for key in values:
        if key not in Settings.__struct_fields__:
            close = _closest(key)
            hint = f"did you mean {close}?" if close else f"known: {', '.join(Settings.__struct_fields__)}."
            raise SettingsError(f"{sources[key]}: there is no setting {key!r}; {hint}")


def _closest(key: str) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(key, Settings.__struct_fields__, n=1)), None)


def _plain_error(error: ValidationError, sources: Sources) -> SettingsError:
    """Return the first complaint as a sentence with key, source and what is allowed."""
    complaint = error.errors()[0]
    key = str(complaint["loc"][0])
    shown = f"policy.{complaint['loc'][1]}" if key == "policy" and len(complaint["loc"]) > 1 else key
    source = sources.get(shown, sources.get(key, "settings"))
    return SettingsError(f"{source}: {shown} = {complaint['input']!r:.60} is not allowed; {_allowed(key)}.")


def _allowed(key: str) -> str:
    """Return what a setting may be, in words."""
    if key in RANGES:
        low, high = RANGES[key]
        return f"allowed is a whole number from {low} to {high}"
    hint = typing.get_type_hints(Settings)[key]
    if typing.get_origin(hint) is typing.Literal:
        return f"allowed: {', '.join(map(str, typing.get_args(hint)))}"
    if hint is bool:
        return "allowed: true, false"
    return "allowed is a table of names and values" if key in ("policy", "pools") else "allowed is a text"
