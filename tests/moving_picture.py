"""The README's moving picture, made by running what it shows: `python -m tests.moving_picture` writes course/moving.gif.

A wrong loss, its card, the line, the mended loss, and the agent that it trains; Chromium draws the cells.
"""

import io
import tempfile
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter
from PIL import Image, ImageDraw, ImageFont

from pgcourse.classroom.build import ROOT
from pgcourse.classroom.outputs import Client
from tests.test_browser import Browser

WIDTH, HEIGHT = 940, 610
WRONG = """\
def ppo_clip_loss(logp, logp_old, adv, clip=0.2, mask=None):
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    ratio = torch.exp(logp - logp_old.detach())
    adv = adv.detach()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    return -masked_mean(torch.maximum(ratio * adv, clipped * adv), mask)


check(ppo_clip_loss)"""
RIGHT = WRONG.replace("maximum", "minimum")
SETUP = """\
import numpy as np
import torch
from pgcourse import ppo
from pgcourse.checks import check
from pgcourse.tensors import masked_mean, same_shape"""
TRAIN = """\
policy = ppo.train(ppo.Config.tuned("CartPole-v1"), loss=ppo_clip_loss, progress=False).policy"""
PLAY = """
import base64, io, json
from PIL import Image
from pgcourse import plots
frames, total, steps = plots.record_episode(policy, "CartPole-v1")
assert total == 500
drawn = []
for frame in frames[:240:8]:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG")
    drawn.append(base64.b64encode(file.getvalue()).decode())
print(json.dumps(drawn))"""
STYLE = """
body { margin: 0 !important; padding: 12px !important; }
.jp-InputPrompt, .jp-OutputPrompt { display: none !important; }
"""


def page(cells):
    """Cells of an executed notebook as JupyterLab shows them."""
    body, _ = HTMLExporter(template_name="lab").from_notebook_node(
        nbformat.v4.new_notebook(cells=cells)
    )
    return body.replace("</head>", f"<style>{STYLE}</style></head>")


def main(target=ROOT / "course" / "moving.gif"):
    code = nbformat.v4.new_code_cell
    nb = nbformat.v4.new_notebook(cells=[code(text) for text in (SETUP, WRONG, RIGHT, TRAIN, PLAY)])
    Client(nb, timeout=600).execute()
    _, wrong, right, train, play = nb.cells
    unrun = code(WRONG)
    scenes = [
        (2500, [unrun], ""),
        (4500, [wrong], ""),
        (4500, [wrong], OPEN),
        (3500, [right, train], ""),
    ]
    pictures = []
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(folder).driver
        browser.set_window_size(WIDTH, HEIGHT + 300)
        for milliseconds, cells, script in scenes:
            file = Path(folder, "page.html")
            file.write_text(page(cells), encoding="utf-8")
            browser.get(file.as_uri())
            browser.execute_script(script)
            shot = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
            pictures.append((milliseconds, shot.crop((0, 0, WIDTH, HEIGHT))))
        browser.quit()
    pictures += [(90, on_canvas(frame)) for frame in frames_of(play)]
    first, *rest = [picture.quantize(64) for _, picture in pictures]
    times = [milliseconds for milliseconds, _ in pictures]
    first.save(target, save_all=True, append_images=rest, duration=times, loop=0, optimize=True)


OPEN = "document.querySelectorAll('details').forEach(d => d.open = true); window.scrollTo(0, 190)"


def frames_of(cell):
    import base64
    import json

    for text in json.loads(cell.outputs[0]["text"]):
        yield Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


def on_canvas(frame):
    canvas = Image.new("RGB", (WIDTH, HEIGHT), "white")
    canvas.paste(frame, ((WIDTH - frame.width) // 2, HEIGHT - frame.height))
    words = "Trained with the function you wrote: CartPole, 500 of 500"
    font = ImageFont.load_default(24)
    ImageDraw.Draw(canvas).text((WIDTH / 2, 60), words, "black", font, anchor="mm")
    return canvas


if __name__ == "__main__":
    main()
