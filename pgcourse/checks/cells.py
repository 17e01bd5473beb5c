"""The cells of a lesson's notebook: what a learner was given in one, and what is still to be written."""

import re

STUB = 'raise NotImplementedError("Your turn: replace this line.")'
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
REGION = re.compile(rf"^([ \t]*){BEGIN}\n(.*?)\n[ \t]*{END}$", re.M | re.S)


def stub(solved):
    """The text of a solved cell with a line that raises in place of the answer."""
    return REGION.sub(rf"\1{STUB}", solved)


def given(solved, metadata):
    """What a learner gets in place of a solved cell: a function to be mended, or its stub."""
    return metadata.get("given") or stub(solved)


def plain(text):
    """Text without what an editor changes unasked: space at the ends of lines, empty lines around it."""
    return "\n".join(line.rstrip() for line in text.strip().split("\n"))
