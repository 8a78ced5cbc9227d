"""How a command fails: one line for people and an exit code."""


class Failure(Exception):  # noqa: N818 - it is what happened
    """Ends the command.

    Attributes:
        exit_code: 1, or 2 when the command was called wrongly.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
