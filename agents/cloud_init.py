"""What a new machine is told: a `#cloud-config` that starts the agent of one node. Pure.

The text is JSON, which is YAML, so that nothing has to be quoted by hand. It holds the agent's configuration, a systemd
unit and the commands of the pool's `install`; nothing secret but what stands in those. Whoever can read a
machine's metadata, as any process in the machine can, can read it.
"""

import json
import re
import shlex
from typing import Any

import msgspec

from agents.cloud_dialects import DIALECTS
from agents.settings import CloudConfig, DockerConfig, NodeConfig, PoolConfig

#: The least that a cloud takes (EC2, before base64); Azure and OpenStack take 64 KiB.
USER_DATA_BYTES_MAX = 16 << 10
CONFIG_PATH = "/etc/watchkeep/agent.json"
UNIT = "watchkeep-agent.service"
UNIT_PATH = f"/etc/systemd/system/{UNIT}"
#: Where lock, books and logs of the node live; systemd makes `/var/lib/watchkeep` for the agent's user.
STATE_FOLDER = "watchkeep"
DIRECTORY = f"/var/lib/{STATE_FOLDER}/node"
#: From SIGTERM to SIGKILL: the agent gives its apps 5 s, and itself some.
STOP_WITHIN_S = 15
#: Between two starts of an agent that ended; most often it waits for the network or for Kafka's name.
RESTART_PAUSE_S = 2
#: What YAML wants escaped and JSON does not.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def render_user_data(pool: PoolConfig, *, order: int, port: int, slots: int) -> str:
    """The user data of an order's machine.

    Raises:
        ValueError: it is larger than a cloud takes; with one sentence.
    """
    assert pool.cloud is not None
    cloud = pool.cloud
    config = node_config(pool, cloud, order=order, port=port, slots=slots)
    document: dict[str, Any] = {
        "write_files": [
            _file(CONFIG_PATH, msgspec.json.format(msgspec.json.encode(config)).decode() + "\n"),
            _file(UNIT_PATH, _unit(cloud, keeps_apps=pool.restart_agents)),
        ],
        # One command, so that what follows a failed one does not happen: an agent without its code starts in vain.
        "runcmd": [["sh", "-ec", "\n".join([*cloud.install, f"systemctl enable --now {UNIT}"])]],
    }
    if cloud.user != "root":
        document["users"] = ["default", {"name": cloud.user, "system": True, "shell": "/usr/sbin/nologin"}]
    text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True)
    text = "#cloud-config\n" + _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"
    size = len(text.encode())
    if size > USER_DATA_BYTES_MAX:
        raise ValueError(
            f"the user data of a machine has {size} bytes, a cloud takes {USER_DATA_BYTES_MAX}: shorten `install`, for "
            "example to the download of a script"
        )
    return text


def node_config(pool: PoolConfig, cloud: CloudConfig, *, order: int, port: int, slots: int) -> NodeConfig:
    """The configuration of the agent; it finds its address by itself."""
    command = cloud.address_command
    if not command and cloud.address == "public":
        command = ["sh", "-c", DIALECTS[cloud.driver].public_ip]
    return NodeConfig(
        bootstrap=cloud.bootstrap or pool.bootstrap,
        directory=DIRECTORY,
        ip="",
        port=port,
        pool=pool.pool,
        prefix=pool.prefix,
        order=order,
        slots=slots,
        log_level=pool.log_level,
        # The daemon of the machine: the pool's is that of the provisioner.
        docker=DockerConfig() if pool.docker is not None else None,
        address_command=command,
    )


def _file(path: str, content: str) -> dict[str, str]:
    """A file of root that all may read: cloud-init writes files before it makes users."""
    return {"path": path, "owner": "root:root", "permissions": "0644", "content": content}


def _unit(cloud: CloudConfig, *, keeps_apps: bool) -> str:
    """The systemd unit; an agent that ends is started again.

    With `keeps_apps` its apps outlive it and are adopted, otherwise they end with it.
    """
    command = shlex.join([cloud.python, "-m", "agents.node", "--config", CONFIG_PATH])
    return f"""\
[Unit]
Description=Watchkeep node agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart={command}
WorkingDirectory={cloud.home}
Environment=PYTHONUNBUFFERED=1
User={cloud.user}
StateDirectory={STATE_FOLDER}
Restart=always
RestartSec={RESTART_PAUSE_S}
KillMode={"process" if keeps_apps else "mixed"}
TimeoutStopSec={STOP_WITHIN_S}

[Install]
WantedBy=multi-user.target
"""
