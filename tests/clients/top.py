"""`chroma-edge top` in a terminal, against a real edge: what an operator reads while a server is killed, and the edge itself.

top.py --url URL PROGRAM

In step with what drives it, by lines: says `kill`, and reads a line when the replica is down; says `stop the edge`, and reads one
when it is gone; says `start the edge`, and reads one when it is back; `seen` at the end. Exits non-zero on the first surprise.
"""

import argparse
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

LIMIT = 60.0
#: A control sequence, or one letter.
PART = re.compile(r"\x1b\[([?>]?[0-9;]*)([A-Za-z])|\x1b[=>78]|([^\x1b])", re.S)

#: A colour of letters or of what is behind them, other than the terminal's own.
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7])(?:;[0-9;]*)?m")


class Terminal:
    """As much of a terminal as the program uses: a cursor that is sent to places, letters, and a screen that is cleared."""

    def __init__(self, command, rows, columns, environment):
        self.text, self.seen = "", ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, environment)
        self.before = termios.tcgetattr(self.fd)
        self.resize(rows, columns)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.clear()
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def clear(self):
        self.screen = [[" "] * self.columns for _ in range(self.rows)]
        self.row = self.column = 0

    def read(self):
        """Takes what has come; false at the end."""
        ready, _, _ = select.select([self.fd], [], [], 1)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        self.seen = (self.seen + self.text)[-200_000:]
        end = 0
        for part in PART.finditer(self.text):
            if part.start() != end:
                break
            end = part.end()
            self.put(part)
        self.text = self.text[end:]
        return bool(data)

    def put(self, part):
        arguments, command, letter = part.groups()
        if command == "H":
            row, column = ([int(number or 1) for number in arguments.split(";")] + [1, 1])[:2]
            self.row, self.column = row - 1, column - 1
        elif command == "J":
            self.clear()
        elif letter and letter >= " ":
            if self.row < self.rows and self.column < self.columns:
                self.screen[self.row][self.column] = letter
            self.column += 1

    def lines(self):
        return ["".join(row).rstrip() for row in self.screen]

    def until(self, pattern, what, rows=slice(None)):
        end = time.monotonic() + LIMIT
        while not any(re.search(pattern, line) for line in self.lines()[rows]):
            alive = self.read()
            if not alive or time.monotonic() > end:
                sys.exit(f"{what}: no line is {pattern!r}:\n" + "\n".join(self.lines()))

    def end(self):
        """The program's exit code, and what it said until then."""
        while self.read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), self.seen


def say(line):
    print(line, flush=True)


def heard():
    assert sys.stdin.readline(), "whoever drives this is gone"


def watch(command, environment):
    terminal = Terminal(command, 24, 80, environment)
    terminal.until(r"^chroma-edge .* live$", "it begins")
    terminal.until(r"^SAFE: All data is safe", "all is well")
    terminal.until(r"^replica +replica +up ", "a server")

    say("kill")
    heard()
    terminal.until(r"^REDUCED: ", "a server is missed")
    terminal.until(r"^replica +replica +down ", "it is down")
    terminal.until(r"^  replica is down: ", "the verdict says so")

    terminal.resize(44, 130)
    terminal.until(r"replica: down \(was ", "there is room for the changes")
    terminal.until(r"^replica +replica +down ", "it is drawn anew")
    terminal.until(r"^q ends", "it fills the new size", slice(43, 44))

    say("stop the edge")
    heard()
    terminal.until(r"^chroma-edge .* OLD: nothing heard for \d+ s: ", "what is shown is old")
    terminal.until(r"^REDUCED: ", "it stays")
    say("start the edge")
    heard()
    terminal.until(r"^chroma-edge .* live$", "it connects again")

    os.write(terminal.fd, b"q")
    code, said = terminal.end()
    assert code == 0, code
    assert "\x1b[?1049h" in said and "\x1b[?1049l" in said, "a screen of its own, and the old one again"
    return said


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("--url", required=True)
    asked.add_argument("program")
    asked = asked.parse_args()
    command = [asked.program, "top", "--url", asked.url]
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    said = watch(command, environment)
    assert COLOUR.search(said), "there are colours"

    plain = Terminal(command, 30, 100, {**environment, "NO_COLOR": "1"})
    plain.until(r"^(SAFE|REDUCED|AT RISK): ", "it begins without colours")
    os.kill(plain.pid, signal.SIGTERM)
    code, said = plain.end()
    assert code == 0 and said.endswith("\x1b[?25h\x1b[?1049l"), (code, said[-200:])
    assert not COLOUR.search(said), COLOUR.search(said)
    say("seen")


main()
