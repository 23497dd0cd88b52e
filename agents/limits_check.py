"""Say which limits of processes this machine allows, and why no better ones: `python -m agents.limits_check`.

Shell of the agents. Prints one sentence; exits with 0 if there are control groups and with 1 if only rlimits.
"""

import sys

from agents.cgroups import explain_cgroups

#: There is nothing wrong, but limits hold less.
RLIMITS_ONLY = 1


def main() -> int:
    """Look as an agent would."""
    found, words = explain_cgroups()
    sys.stdout.write(f"{words}\n")
    return 0 if found is not None else RLIMITS_ONLY


if __name__ == "__main__":
    sys.exit(main())
