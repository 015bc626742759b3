"""Server-sent events: parses text into messages."""

from __future__ import annotations

import json
from typing import List, Optional

from ._types import EdgeMessage


class Parser:
    """Parses a stream's text as it arrives. Lines end as the format defines, not as in Python: JSON may contain U+2028."""

    def __init__(self, last_id: Optional[str]) -> None:
        self.last_id = last_id
        self._text = ""
        self._event = "message"
        self._data: List[str] = []

    def feed(self, text: str) -> List[EdgeMessage]:
        """Returns the messages that the text completes."""
        self._text += text
        messages: List[EdgeMessage] = []
        while True:
            at = self._text.find("\n")
            if at < 0:
                return messages
            line, self._text = self._text[:at].rstrip("\r"), self._text[at + 1 :]
            message = self._line(line)
            if message is not None:
                messages.append(message)

    def _line(self, line: str) -> Optional[EdgeMessage]:
        if line == "":
            event, data = self._event, self._data
            self._event, self._data = "message", []
            return EdgeMessage(event, json.loads("\n".join(data)), self.last_id) if data else None
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            self.last_id = value
        return None
