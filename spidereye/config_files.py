"""Named configs, overrides and saved configs to a checked `Config`; every error is one line."""

import difflib
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast, get_args, get_origin

from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from spidereye.config import Config
from spidereye.config_checks import check
from spidereye.errors import SpiderEyeError

DOCUMENTED = "SpiderEye"


def load_config(name: str, overrides: list[str], config_dir: str | None = None) -> Config:
    """A named config with Hydra overrides (`key=value`), checked.

    config_dir: a folder of further YAML configs of the user's own, whose defaults may be ours.
    Raises SpiderEyeError naming the key for an unknown key, a wrong type or an impossible value.
    """

    for override in overrides:
        if override.startswith(("+", "~")):
            raise SpiderEyeError(
                f"overrides read key=value and change known keys, got {override!r}"
            )
    ConfigStore.instance().store(DOCUMENTED, Config)
    own = None if config_dir is None else Path(config_dir)
    try:
        # What is named is looked for in one folder only, its defaults in ours too.
        if own is None or (own.is_dir() and not (own / f"{name}.yaml").is_file()):
            context = initialize_config_module("spidereye.configs", version_base="1.3")
        else:
            context = initialize_config_dir(str(own.resolve()), version_base="1.3")
        with context:
            search = "hydra.searchpath=[pkg://spidereye.configs]"
            try:
                composed = compose(name, [*map(readable, overrides), search])
            except (AssertionError, AttributeError) as error:
                raise _below_null(compose(name, [search]), overrides, error) from error
        config = _config(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise SpiderEyeError(_explain(name, error, own)) from error
    check(config)
    return config


def config_from_dict(values: dict[str, Any], overrides: list[str]) -> Config:
    """A config saved with `config_to_dict`, with overrides, checked."""
    try:
        node = OmegaConf.merge(OmegaConf.structured(Config), values)
        for override in OverridesParser.create().parse_overrides([*map(readable, overrides)]):
            try:
                OmegaConf.update(node, override.get_key_element().lstrip("+~"), override.value())
            except (AssertionError, AttributeError) as error:
                raise _below_null(node, overrides, error) from error
        config = _config(node)
    except (HydraException, OmegaConfBaseException) as error:
        raise SpiderEyeError(_explain("checkpoint", error)) from error
    check(config)
    return config


def config_to_dict(config: Config) -> dict[str, Any]:
    """Plain containers, ready for YAML."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(config)))


def quoted(text: str) -> str:
    """A value that Hydra's grammar takes as it stands, whatever it has of signs."""
    # Only backslashes before a quote count there.
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"


def readable(override: str) -> str:
    """The override, its value quoted where Hydra's grammar cannot read it: a path with letters
    beyond ASCII, "=", brackets or "~"."""
    key, sign, value = override.partition("=")
    if not sign or value.startswith(("[", "{", "'", '"')):
        return override
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return f"{key}={quoted(value)}"
    return override


def _config(node: Any) -> Config:
    """As OmegaConf makes it, which lets a wrong type through where a reference ${…} leads to one,
    and lists in lists. Raises SpiderEyeError naming that key."""
    _check_types(OmegaConf.to_container(node, resolve=True, throw_on_missing=True), Config)
    return cast(Config, OmegaConf.to_object(node))


def _check_types(values: Any, section: type, prefix: str = "") -> None:
    for item in fields(section):
        key, value = f"{prefix}{item.name}", values[item.name]
        if not _is_a(value, item.type):
            wanted = item.type if get_origin(item.type) is list else "keys of its own"
            raise SpiderEyeError(f"{key}: expected {wanted}, got {value!r}")
        for inner in (item.type, *get_args(item.type)):
            if is_dataclass(inner) and value is not None:
                _check_types(value, cast(type, inner), f"{key}.")


def _is_a(value: Any, wanted: Any) -> bool:
    if is_dataclass(wanted):
        return isinstance(value, dict) and set(value) == {item.name for item in fields(wanted)}
    if get_origin(wanted) is list:
        return isinstance(value, list) and all(_is_a(part, *get_args(wanted)) for part in value)
    if get_args(wanted):
        return any(_is_a(value, choice) for choice in get_args(wanted))
    return wanted is Any or isinstance(value, (int, float) if wanted is float else wanted)


def _below_null(node: Any, overrides: list[str], error: Exception) -> Exception:
    """What OmegaConf fails an assertion on: a key of what is null. Another error is itself."""
    for override in overrides:
        key, _, value = override.partition("=")
        whole = key if value.startswith("{") else key.rpartition(".")[0]
        if whole and (f"{whole}=null" in overrides or OmegaConf.select(node, whole) is None):
            return SpiderEyeError(
                f"{override}: {whole} is null here, which has no parts to set; leave it out, or "
                f"set {whole} in a YAML config of your own (--config-dir)"
            )
    return error


def _explain(name: str, error: Exception, own: Path | None = None) -> str:
    """Hydra's and OmegaConf's several lines as one that names the key and, if it can, the fix."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = error.__cause__ or error.__context__
    if cause is not None:
        lines += [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = " ".join(dict.fromkeys(lines))
    full_key = [line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")]
    if "not in '" in text and full_key:
        close = difflib.get_close_matches(full_key[0], _keys(Config), n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"unknown key {full_key[0]!r}{hint}"
    if "Cannot find primary config" in text:
        return f"no config named {name!r}; there are {', '.join(config_names(own))}"
    if "/override_grammar/" in text:
        return f"{text}; quote what has other signs than letters and digits: \"key=['…','…']\""
    if "is not a ListConfig" in text and full_key:
        return f"{full_key[0]}: expected a list, as {full_key[0]}=[…,…], got one value"
    reasons = [
        line for line in lines if not line.startswith(("full_key:", "object_type=", "Error"))
    ]
    return f"{full_key[0]}: {reasons[0]}" if full_key and reasons else text


def config_names(own: Path | None = None) -> list[str]:
    """Names for `-cn`: ours, and those of a folder of the user's own."""
    folders = [Path(__file__).parent / "configs", *([own] if own else [])]
    named = {path.stem for folder in folders for path in folder.glob("*.yaml")}
    return sorted({DOCUMENTED, *named})


def _keys(node: type, prefix: str = "") -> list[str]:
    names = []
    for item in fields(node):
        names.append(prefix + item.name)
        default = getattr(node(), item.name)
        if is_dataclass(default):
            names += _keys(type(default), f"{prefix}{item.name}.")
    return names
