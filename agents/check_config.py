"""Check configurations of provisioners before anything is started: `python -m agents.check_config FILE...`.

Shell of the agents. Prints one sentence for the first that cannot be used and exits with 2.
"""

import sys

from agents.settings import PoolConfig, read_config

#: As other usage errors.
_USAGE = 2


def main(argv: list[str]) -> int:
    """Read each file as a provisioner would; 0 if all can be used."""
    for path in argv:
        try:
            read_config(path, PoolConfig)
        except SystemExit as error:
            sys.stderr.write(f"{error}\n")
            return _USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
