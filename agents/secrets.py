"""Secrets: what a spec names and this machine holds, one file each, readable by its owner alone. Shell of the agents.

A value goes from its file into the environment of the app and nowhere else: no topic, no book, no log, no message.
"""

import os
import stat
from pathlib import Path

from msgspec.structs import replace

from agents.driver import StartError
from sdk.contract.orders import AppOrder

#: Longest secret. Source: a certificate with its chain has some 10 KiB; Linux takes 128 KiB for one variable.
SECRET_BYTES_MAX = 64 << 10


def with_secrets(order: AppOrder, folder: Path) -> AppOrder:
    """The order with its secrets among its variables.

    Raises:
        StartError: a secret is missing or its file is not as it must be; the text names the secret, never its value.
    """
    if not order.secrets:
        return order
    found = {variable: read_secret(folder, name) for variable, name in sorted(order.secrets.items())}
    return replace(order, env={**order.env, **found}, secrets={})


def read_secret(folder: Path, name: str) -> str:
    """The value of a secret, without the line's end.

    Raises:
        StartError: see above.
    """
    try:
        fd = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise StartError(f"secret {name} is missing on this machine") from None
    except OSError as error:
        raise StartError(f"secret {name} cannot be read: {os.strerror(error.errno or 0)}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise StartError(f"secret {name} is not a plain file")
        if status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise StartError(f"secret {name} is open to others: it must be ours with mode 0600")
        value = os.read(fd, SECRET_BYTES_MAX + 1)
    finally:
        os.close(fd)
    if len(value) > SECRET_BYTES_MAX:
        raise StartError(f"secret {name} is longer than {SECRET_BYTES_MAX} bytes")
    try:
        text = value.decode().removesuffix("\n")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise StartError(f"secret {name} is not text")
    return text
