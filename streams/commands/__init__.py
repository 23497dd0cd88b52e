"""What the commands of `cli.py` share: exit codes and the error that becomes one plain sentence.

Imported by every command, so it imports nothing itself.
"""

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
UNHEALTHY = 4
CANNOT_REACH_KAFKA = 5


class CommandError(Exception):
    """A failure told to the user: `cli.py` prints the message without a traceback and exits with the code."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        #: One plain sentence that says what is wrong and what to do.
        self.message = message
        #: One of the constants above; scripts rely on it.
        self.exit_code = exit_code
