"""A page as a test reads it: whole, without scripts, and needing no other file."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "image", "use"}


class Page(HTMLParser):
    """Tags, ids, links, sources and text of a page; unbalanced tags, scripts and foreign addresses are errors."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.ids, self.links, self.text = [], [], [], [], ""
        self.feed(html)
        self.close()
        assert not self.open, self.open
        assert len(self.ids) == len(set(self.ids))
        assert {link[1:] for link in self.links if link.startswith("#")} <= set(self.ids)
        assert "url(" not in html
        assert "@import" not in html

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        assert tag not in ("script", "link", "iframe", "object")
        assert not any(name.startswith("on") for name in found)
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [found["id"]] if "id" in found else []
        for name in ("href", "src"):
            if name in found:
                assert found[name].startswith(("#", "data:image/")), found[name]
                self.links.append(found[name])

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def count(self, kind):
        return sum(kind in (attributes.get("class") or "").split() for _, attributes in self.tags)
