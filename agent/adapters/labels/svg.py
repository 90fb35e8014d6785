"""A label as SVG: the code as one path, text as text. It is drawn in the printer's dots, and sized in mm."""

from __future__ import annotations

from itertools import groupby
from xml.etree import ElementTree as ET

from agent.adapters.labels.layout import MM_PER_INCH, Layout

_NAMESPACE = "http://www.w3.org/2000/svg"


def as_svg(layout: Layout) -> bytes:
    """The document, UTF-8. `textLength` keeps each line to its width, whatever font the viewer has."""
    svg = ET.Element(
        "svg",
        xmlns=_NAMESPACE,
        width=f"{layout.width * MM_PER_INCH / layout.dpi:.4f}mm",
        height=f"{layout.height * MM_PER_INCH / layout.dpi:.4f}mm",
        viewBox=f"0 0 {layout.width} {layout.height}",
    )
    ET.SubElement(svg, "rect", width="100%", height="100%", fill="#fff")
    ET.SubElement(svg, "path", d=_path(layout), fill="#000", attrib={"shape-rendering": "crispEdges"})
    group = ET.SubElement(svg, "g", fill="#000", attrib={"font-family": layout.font.family})
    for line in layout.lines:
        attributes = {
            "x": str(line.x),
            "y": str(line.baseline),
            "font-size": f"{line.size:.2f}",
            "textLength": str(line.width),
            "lengthAdjust": "spacingAndGlyphs",
            "xml:space": "preserve",
        }
        ET.SubElement(group, "text", attributes).text = line.text
    return str.encode('<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(svg, encoding="unicode"))


def _path(layout: Layout) -> str:
    """A rectangle for each run of dark modules in a row."""
    size, parts = layout.module, []
    for y, row in enumerate(layout.matrix):
        x = layout.code_x
        for dark, run in groupby(row):
            width = len(tuple(run)) * size
            if dark:
                parts.append(f"M{x} {layout.code_y + y * size}h{width}v{size}h-{width}z")
            x += width
    return "".join(parts)
