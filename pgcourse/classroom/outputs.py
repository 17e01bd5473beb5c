"""Run a solved notebook and keep what it shows, so that its pictures are seen where nothing runs.

pgcourse build --run 05_ppo        solutions/05_ppo.ipynb with its outputs
"""

import tempfile
from copy import deepcopy

import nbformat
import zmq
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"


class Client(NotebookClient):
    """nbclient's, without a wait for ever.

    It sends the state of a widget through the socket on which it waits for the cell's reply, and jupyter_client
    sends past asyncio: a reply that came just before wakes nobody.
    """

    async def async_start_new_kernel_client(self):
        client = await super().async_start_new_kernel_client()
        look_after_sending(client.shell_channel)
        return client


def look_after_sending(channel):
    """Reading EVENTS wakes who waits for what has come already."""
    send = channel.send

    def send_and_look(message):
        send(message)
        channel.socket.get(zmq.EVENTS)

    channel.send = send_and_look


def run(nb):
    """Execute a solved notebook in an empty folder; its outputs are put into it, widgets as they look without a kernel.

    raises : nbclient.exceptions.CellExecutionError where it does not run
    """
    ran = deepcopy(nb)
    with tempfile.TemporaryDirectory(prefix="pgcourse-") as folder:
        resources = {"metadata": {"path": folder}}
        quiet = ["--log-level=ERROR"]  # the kernel warns that nothing on this machine is encrypted
        client = Client(ran, timeout=3600, resources=resources, extra_arguments=quiet)
        client.execute()
    outputs = [
        [o for each in cell.outputs for o in still(each, client)] for cell in code_cells(ran)
    ]
    put_outputs(nb, outputs)


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def put_outputs(nb, outputs):
    """Give each code cell its outputs, counted as a kernel that starts anew counts them."""
    for count, (cell, shown) in enumerate(zip(code_cells(nb), outputs, strict=True), 1):
        cell.outputs, cell.execution_count = shown, count
        for output in shown:
            if "execution_count" in output:
                output.execution_count = count


def kept_outputs(path, nb):
    """The outputs of the notebook in a file, if it was run and its code is that of nb; else None."""
    if not path.exists():
        return None
    old = code_cells(nbformat.read(path, as_version=4))
    if [c.source for c in old] != [c.source for c in code_cells(nb)]:
        return None
    return [c.outputs for c in old] if any(c.outputs for c in old) else None


def without_outputs(nb):
    """The notebook as it was before it was run."""
    for cell in code_cells(nb):
        cell.outputs, cell.execution_count = [], None
    return nb


def still(output, client):
    """What a widget leaves on a page without a kernel: the picture below sliders; of a progress bar or a bet nothing."""
    if WIDGET not in output.get("data", {}):
        return [output]
    words = output["data"].get("text/plain", "")
    if "Slider" not in words or words.startswith(("BetForm", "RecallForm")):
        return []
    says = "<p><em>Sliders: they move in the notebook, where a kernel answers.</em></p>"
    view = client.widget_state[output["data"][WIDGET]["model_id"]]
    parts = [name.removeprefix("IPY_MODEL_") for name in view.get("children", [])]
    below = [o for part in parts for o in getattr(client.comm_objects.get(part), "outputs", [])]
    return [nbformat.v4.new_output("display_data", {"text/html": says}), *below]
