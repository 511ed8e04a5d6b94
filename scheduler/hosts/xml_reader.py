"""Reading XML that came from a host: no entities, no network, no files."""

from __future__ import annotations

from lxml import etree


def read_xml(text: str) -> etree._Element:
    """Return the root element; raises etree.XMLSyntaxError."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    return etree.fromstring(text, parser)
