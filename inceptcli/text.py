"""Names from files and folders are data: never markup, control codes or formulas."""


def printable(text: str) -> str:
    """The text on one line, with line breaks, control characters and undecodable bytes escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def defused(text: str) -> str:
    """A CSV field that no spreadsheet takes for a formula.

    An apostrophe goes before a leading = + - @, tab or carriage return.
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
