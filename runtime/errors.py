"""The errors that a user can correct; a command prints them as one line."""

from reid.runtime.text import clipped, one_line

__all__ = ["DataError", "GateError", "ModelError", "ReidError", "SessionError"]


class ReidError(Exception):
    """A failure whose message is one printable line: the value, what is wrong with it, and the remedy."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        """Take a message, in which names and texts from files may stand as they are."""
        super().__init__(clipped(one_line(message)))


class DataError(ReidError):
    """A data set, folder or image that cannot be used."""


class ModelError(ReidError):
    """A checkpoint, bundle or graph that cannot be used."""


class SessionError(ReidError):
    """A backend or device that cannot run the model."""


class GateError(ReidError):
    """A model that differs from its reference by more than the tolerance."""

    exit_code = 3
