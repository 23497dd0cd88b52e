"""What the sample services share: looking at the platform again and again, and going on when it is away."""

import time
from collections.abc import Callable

from sdk.deployer import Deployer, DeployerError, Node

EVERY_S = 5.0


def look_for_ever(show: Callable[[list[Node]], str]) -> None:
    """Print what `show` makes of the nodes, each time it is something else."""
    last = ""
    while True:
        try:
            with Deployer() as deployer:
                while True:
                    text = show(deployer.list_nodes())
                    if text != last:
                        print(text)
                    last = text
                    time.sleep(EVERY_S)
        except DeployerError as error:
            print(f"not now: {error}")
            time.sleep(EVERY_S)
