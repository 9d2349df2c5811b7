"""What is on a page, by an HTML parser."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import PIL.Image


class Page(HTMLParser):
    """Tags with attributes, in `tags`; texts of elements, by the tag that they are in."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self._open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and data.strip():
            self.texts.append((self._open[-1], data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, *tags):
        return [text for tag, text in self.texts if tag in tags]

    def examples(self):
        """What the script reads."""
        [data] = [text for text in self.text("script") if text.startswith("{")]
        return json.loads(data)


def pixels(png):
    """(H, W[, 3]) of 0 to 255, of a PNG in base64."""
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(png))))
