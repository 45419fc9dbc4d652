"""Errors that are messages to the user: shown in one line, without a traceback."""

MOST_CHARACTERS = 1000  # of a message that quotes what a user's file holds


class UserError(Exception):
    """What is wrong, where, and what to do about it."""


def one_line(text: str, most: int = MOST_CHARACTERS) -> str:
    """A text that quotes a user's file, as one printable line of at most `most` characters: controls and what is no
    Unicode escaped, the middle of a longer one left out."""
    if len(text) > most:
        text = f"{text[: most // 2]} … {text[len(text) - most // 2 :]}"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode() for letter in text
    )
