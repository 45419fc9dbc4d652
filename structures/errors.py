"""Errors that are messages to the user: shown in one line, without a traceback."""


class UserError(Exception):
    """What is wrong, where, and what to do about it."""
