"""Job types in Python with a requirement (requirements.txt): code as HTML with colours."""

import offload
import pygments
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound


@offload.task
def highlight(code: str, language: str = "python") -> str:
    """Code as HTML, with a span for each word that has a colour.

    Args:
        code: the text of a program
        language: a name that Pygments knows
    """
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound as error:
        raise offload.InvalidParams("/language", "is not known") from error
    return pygments.highlight(code, lexer, HtmlFormatter(nowrap=True))
