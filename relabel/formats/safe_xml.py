"""XML from strangers: strict UTF-8, well-formed, no document type declaration, so nothing to expand or to fetch."""

from __future__ import annotations

from xml.etree import ElementTree

from relabel.formats.faults import BadRow, shown


def parse_xml(data: bytes, roots: tuple[str, ...]) -> ElementTree.Element:
    """The root element of a document whose root is one of `roots`.

    Raises:
        BadRow: bad-encoding or bad-xml.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"the byte 0x{data[error.start]:02x} at {error.start}, which is no UTF-8"
        raise BadRow("bad-encoding", found, "UTF-8") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadRow("bad-xml", "a document type declaration, which may expand or fetch", "XML without <!DOCTYPE")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise BadRow("bad-xml", f"no well-formed XML ({error})", "well-formed XML in UTF-8") from None
    if root.tag not in roots:
        raise BadRow("bad-xml", f"the root element {shown(root.tag)}", " or ".join(f"<{name}>" for name in roots))
    return root


def element_text(parent: ElementTree.Element, path: str) -> str:
    """All text below the first element at `path`, runs of white space as one blank; empty where there is none."""
    found = parent.find(path)
    return "" if found is None else " ".join("".join(found.itertext()).split())
