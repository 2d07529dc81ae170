"""The drawing of the data's path: boxes, arrows and words, as SVG that needs nothing else."""

from dataclasses import dataclass
from html import escape

MODEL, OURS, VALUE = ("#e3f1ef", "#00695c"), ("#fdf0d5", "#b26a00"), ("#eef1f6", "#4a5a78")  # fill, line
INK, SIZE = "#1e1e1e", (1000, 470)
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" role="img">
<title>{title}</title>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0L10 5L0 10z" fill="{ink}"/></marker></defs>
<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>
"""


@dataclass(frozen=True)
class Box:
    """A rectangle with a name and a line that explains it; ``x`` and ``y`` are those of its middle."""

    x: int
    y: int
    name: str
    told: str
    look: tuple[str, str]
    width: int = 150
    height: int = 62

    def svg(self):
        fill, line = self.look
        left, top = self.x - self.width / 2, self.y - self.height / 2
        return (
            f'<rect x="{left:g}" y="{top:g}" width="{self.width}" height="{self.height}" rx="6" fill="{fill}" '
            f'stroke="{line}" stroke-width="1.5"/>\n{text(self.x, self.y - 5, self.name, 15, "bold")}\n'
            f"{text(self.x, self.y + 15, self.told, 12)}"
        )


def text(x, y, words, size, weight="normal", anchor="middle"):
    """One line of words."""
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{INK}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def arrow(*points):
    """A line along points, with a tip at its end."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.5" marker-end="url(#tip)"/>'


def data_path():
    """What happens between an image and an answer while a pipeline is attached."""
    top, middle, low = 80, 235, 390
    boxes = [
        Box(85, top, "image", "or crops, or frames", VALUE, 140),
        Box(275, top, "vision encoder", "runs once, unchanged", MODEL),
        Box(475, top, "projector", "unchanged", MODEL, 130),
        Box(690, top, "shorter prompt", "slots, positions, mask", VALUE, 170),
        Box(905, top, "language model", "its kernel, its cache", MODEL),
        Box(275, middle, "tokens", "[B, N, C], with cues", VALUE),
        Box(85, low, "scorer", "how important", OURS, 130),
        Box(260, low, "splitter", "how many of each row", OURS, 160),
        Box(440, low, "diversifier", "not the same twice", OURS),
        Box(615, low, "merger", "fold in the rest", OURS, 140),
        Box(800, low, "selection", "masks, with the reason", VALUE, 160),
        Box(905, middle, "receipt", "what was kept, and why", VALUE, 160),
    ]
    y = [top, middle, low]
    arrows = [
        *(arrow((a, y[0]), (b, y[0])) for a, b in ((155, 200), (350, 410), (540, 605), (775, 830))),
        *(arrow((a, y[2]), (b, y[2])) for a, b in ((150, 180), (340, 365), (515, 545), (685, 720))),
        arrow((275, top + 31), (275, middle - 31)),
        arrow((200, middle), (85, middle), (85, low - 31)),
        arrow((740, low - 31), (740, middle), (690, middle), (690, top + 31)),
        arrow((860, low - 31), (860, middle + 31)),
    ]
    notes = [
        text(287, 150, "cues: one attention row of one layer, keys", 12, anchor="start"),
        text(287, 168, "read beside the kernel; features: encoder or projected", 12, anchor="start"),
        text(678, middle - 8, "drop the slots of", 12, anchor="end"),
        text(678, middle + 9, "tokens not chosen", 12, anchor="end"),
        text(440, low - 48, "a pipeline: these parts under one exact budget", 13, "bold"),
        text(985, 130, "stages may choose again", 12, anchor="end"),
        text(985, 147, "before one of its layers", 12, anchor="end"),
        text(20, 30, "the model, as it is", 13, "bold", "start"),
        text(20, 455, "green: the model's own", 12, anchor="start"),
        text(190, 455, "yellow: strategies, built in or yours", 12, anchor="start"),
        text(440, 455, "grey: values that travel", 12, anchor="start"),
    ]
    drawn = [*arrows, *(box.svg() for box in boxes), *notes]
    head = HEAD.format(width=SIZE[0], height=SIZE[1], ink=INK, title="From an image to an answer")
    return head + "\n".join(drawn) + "\n</svg>\n"
