"""Errors that are messages to the user: shown in one line, without a traceback."""


class UserError(Exception):
    """What is wrong, where, and what to do about it."""


def is_for_user(error: BaseException) -> bool:
    """Whether an exception's class is one of the project's own: those are always written for the user."""
    return type(error).__module__.split(".")[0] in {"store", "models", "sources"}
