"""Runs the program on a recipe's page, as it stands there: run.py PAGE --url URL

The blocks of Python, or of shell, are one program. In step with what drives it, by lines: where the page says `<!-- kill the primary -->`
it says `kill` and goes on at once, so that the server dies under what follows; at `<!-- the primary is back -->` it says `restart` and
reads a line. Says `done` at the end. Exits non-zero on the first surprise.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
from urllib.parse import urlparse

KILL, BACK = "<!-- kill the primary -->", "<!-- the primary is back -->"
PART = re.compile(r"^```(\w+)\n(.*?)^```$|^(<!-- [^\n]* -->)$", re.M | re.S)


def parts(page):
    """Markers, and blocks with the line on which each begins."""
    text = page.read_text()
    for found in PART.finditer(text):
        language, block, marker = found.groups()
        yield language, marker or block, text.count("\n", 0, found.start()) + 1


def say(line):
    print(line, flush=True)


def heard():
    assert sys.stdin.readline(), "whoever drives this is gone"


def python(page):
    names = {"__name__": "__main__"}
    for language, text, line in parts(page):
        if text == KILL:
            say("kill")
        elif text == BACK:
            say("restart")
            heard()
        else:
            # With empty lines before it, a failure names the page's line.
            exec(compile("\n" * line + text, page.name, "exec"), names)


def shell(page):
    steps = {KILL: "echo; echo kill", BACK: "echo; echo restart; read -r _"}
    program = "\n".join(steps.get(text, text) for _, text, _ in parts(page))
    subprocess.run(["bash", "-euo", "pipefail", "-c", program + "\necho"], check=True)


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("page", type=pathlib.Path)
    asked.add_argument("--url", required=True)
    asked = asked.parse_args()
    url = urlparse(asked.url)
    os.environ.update(EDGE=asked.url, EDGE_HOST=url.hostname, EDGE_PORT=str(url.port))
    # As Open WebUI calls them; and Haystack would report itself to its makers.
    os.environ.update(CHROMA_HTTP_HOST=url.hostname, CHROMA_HTTP_PORT=str(url.port), HAYSTACK_TELEMETRY_ENABLED="False")
    languages = {language for language, _, _ in parts(asked.page) if language}
    markers = [text for language, text, _ in parts(asked.page) if not language]
    assert languages in ({"python"}, {"sh"}) and markers == [KILL, BACK], (languages, markers)
    (python if languages == {"python"} else shell)(asked.page)
    say("done")


main()
