"""How an agent finds out its own address where nobody can tell it before its machine exists. Shell of the agents.

Two addresses: the one the node is named after and found at by others, and the one it listens on. They are the same
unless a router translates the first into the second, as clouds do with public addresses.
"""

import ipaddress
import socket
import subprocess

from msgspec.structs import replace

from agents.settings import NodeConfig

#: Of the command; a metadata service answers in some ms, in the first seconds of a machine later.
COMMAND_WITHIN_S = 20.0
#: Any port: connecting a datagram socket sends nothing, it only chooses the way.
_ANY_PORT = 9


def with_address(config: NodeConfig) -> NodeConfig:
    """The configuration with `ip` and `listen_ip`, if they are left to the agent.

    Raises:
        OSError: no address can be found (yet); one sentence. Whoever started the agent starts it again.
    """
    if config.ip:
        return config
    leading = _leading_to(config.bootstrap)
    ip = _printed_by(config.address_command) if config.address_command else leading
    return replace(config, ip=ip, listen_ip=ip if _is_here(ip) else leading)


def _leading_to(bootstrap: str) -> str:
    """The address of this machine from which Kafka is reached.

    Raises:
        OSError: none of Kafka's hosts has a name or a way.
    """
    reasons = []
    for server in bootstrap.split(","):
        host = server.strip().rpartition(":")[0].strip("[]")
        try:
            found = socket.getaddrinfo(host, _ANY_PORT, type=socket.SOCK_DGRAM)
            for family, kind, protocol, _, address in found:
                with socket.socket(family, kind, protocol) as probe:
                    probe.connect(address)
                    return str(probe.getsockname()[0])
        except OSError as error:
            reasons.append(f"{host}: {error.strerror or error}")
        except UnicodeError:
            reasons.append(f"{host}: no name of a host")
    raise OSError(f"no way to Kafka, so no address of our own ({'; '.join(reasons)})")


def _printed_by(command: list[str]) -> str:
    """The address that a command prints.

    Raises:
        OSError: it fails, takes too long or prints something else.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_WITHIN_S,
            check=True,
            text=True,
        )
        return str(ipaddress.ip_address(done.stdout.strip()))
    except subprocess.TimeoutExpired:
        raise OSError(f"the address_command printed nothing within {COMMAND_WITHIN_S:g} s") from None
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        raise OSError(f"the address_command failed: {last[0]:.200}") from None
    except ValueError:
        raise OSError("the address_command printed no address") from None


def _is_here(ip: str) -> bool:
    """Whether this machine can listen on the address."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((ip, 0))
        except OSError:
            return False
    return True
