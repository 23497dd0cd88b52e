"""What a cloud configuration must be, so that nothing wrong is found only when a machine is wanted. Pure."""

import re
from typing import TYPE_CHECKING, Any

from agents.cloud_dialects import DIALECTS, Dialect, taken_arguments

if TYPE_CHECKING:
    from agents.settings import CloudConfig

#: They stand in a unit file and a shell command: nothing that would have to be quoted there.
_PATH = re.compile(r"/[A-Za-z0-9._/+-]+")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_OWNER = re.compile(r"[a-z0-9-]{1,40}")
#: Of a variable or a file of the secrets.
_SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
#: Tags that all clouds take, GCE being the strictest.
_TAG_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_TAG_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_ARGUMENT = re.compile(r"[a-z][a-z0-9_]*")
#: Words in the names of arguments that only ever hold secrets.
_SECRET_WORDS = ("secret", "password", "token", "key")
#: Ten are ours or spare; Azure takes 50, the others more.
TAGS_MAX = 40


def check_cloud(config: "CloudConfig") -> None:
    """Whether a machine can be asked for with this.

    Raises:
        ValueError: it cannot; one sentence that names the key, what it holds and what is allowed.
    """
    dialect = DIALECTS[config.driver]
    _check_words(config)
    _check_credentials(config, dialect)
    _check_options(config, dialect)
    for key in dialect.needs:
        if not getattr(config, key):
            raise ValueError(f"driver {config.driver} needs `{key}`")
    if config.address == "public" and not dialect.has_public:
        raise ValueError(f'address = "public" cannot be had with driver {config.driver}; allowed: "private"')
    if config.driver == "azure_arm" and config.image.count(":") != 3 and not _is_gallery(config.image):  # noqa: PLR2004
        raise ValueError(
            f"image {config.image!r:.80}: of driver azure_arm it is Publisher:Offer:Sku:Version, or the id of an image "
            "in a gallery (/subscriptions/.../galleries/NAME/images/NAME)"
        )


def _is_gallery(image: str) -> bool:
    return gallery_parts(image) is not None


def gallery_parts(image: str) -> tuple[str, str, str, str] | None:
    """Subscription, resource group, gallery and name of an Azure gallery's image; None if it is no such id."""
    found = re.fullmatch(
        r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Compute/galleries/([^/]+)/images/([^/]+)",
        image,
    )
    return (found[1], found[2], found[3], found[4]) if found else None


def _check_words(config: "CloudConfig") -> None:
    """Single words."""
    for key in ("size", "image"):
        if not getattr(config, key).strip():
            raise ValueError(f"`{key}` is empty")
    for key in ("home", "python"):
        value = getattr(config, key)
        if not _PATH.fullmatch(value):
            raise ValueError(f"{key} {value!r:.80}: an absolute path of letters, digits and ._/+- is wanted")
    if not _USER.fullmatch(config.user):
        raise ValueError(
            f"user {config.user!r:.80}: a login name is wanted, lower-case, at most 32 characters"
        )
    if config.owner and not _OWNER.fullmatch(config.owner):
        raise ValueError(
            f"owner {config.owner!r:.80}: 1 to 40 lower-case letters, digits and hyphens are wanted"
        )
    _check_tags(config)


def _check_tags(config: "CloudConfig") -> None:
    """Tags that every cloud takes."""
    if len(config.tags) > TAGS_MAX:
        raise ValueError(f"{len(config.tags)} tags, at most {TAGS_MAX} are allowed")
    for key, value in config.tags.items():
        if not _TAG_KEY.fullmatch(key) or key.startswith("watchkeep-"):
            raise ValueError(
                f"tag {key!r:.80}: lower-case letters, digits, _ and - are allowed, a letter first, at most 63; those "
                "that begin with watchkeep- are ours"
            )
        if not _TAG_VALUE.fullmatch(value):
            raise ValueError(
                f"tag {key} = {value!r:.80}: at most 63 lower-case letters, digits, _ and - are allowed"
            )


def _check_credentials(config: "CloudConfig", dialect: Dialect) -> None:
    """Names, not values; all that the driver wants."""
    for key in dialect.credentials:
        if key not in config.credentials:
            raise ValueError(
                f"credentials.{key} is missing; driver {config.driver} wants {_listed(dialect.credentials)}"
            )
    for key, name in config.credentials.items():
        if not _ARGUMENT.fullmatch(key):
            raise ValueError(f"credentials: {key!r:.80} is no argument of a driver")
        if not _SECRET_NAME.fullmatch(name):
            # The value is not shown: it may be what it must not be.
            raise ValueError(
                f"credentials.{key} is no name of an environment variable or of a file of the secrets"
            )


def _check_options(config: "CloudConfig", dialect: Dialect) -> None:
    """Arguments that are passed through."""
    taken = taken_arguments(dialect)
    for key, value in config.options.items():
        if key in taken:
            raise ValueError(f"options.{key} is set by the platform and cannot be given")
        if not (key.startswith("ex_") and _ARGUMENT.fullmatch(key)) and key not in dialect.plain_options:
            raise ValueError(
                f"options.{key!s:.80}: only arguments that begin with ex_ are passed on"
                + (f", and {_listed(dialect.plain_options)}" if dialect.plain_options else "")
            )
        if not _is_plain(value):
            raise ValueError(f"options.{key}: a text, a number, true, false or a list of texts is wanted")
    for key in dialect.needs_options:
        if not config.options.get(key):
            raise ValueError(f"options.{key} is missing; driver {config.driver} needs it")
    _check_driver_options(config, dialect)


def _check_driver_options(config: "CloudConfig", dialect: Dialect) -> None:
    """Arguments that the driver itself is made with."""
    for key in config.driver_options:
        if not _ARGUMENT.fullmatch(key) or key in {
            *dialect.credentials,
            "region",
            "timeout",
            dialect.driver_zone,
        }:
            raise ValueError(f"driver_options.{key!s:.80} is no further argument of a driver")
        if any(word in key.split("_") for word in _SECRET_WORDS):
            raise ValueError(f"driver_options.{key} looks like a secret: name it under `credentials`")
    for key in dialect.needs_driver_options:
        if not config.driver_options.get(key):
            raise ValueError(f"driver_options.{key} is missing; driver {config.driver} needs it")


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in value)
    return isinstance(value, str | int | float | bool)


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words)
