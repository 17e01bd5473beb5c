"""The wire between the judge and a worker: length-prefixed plain data, and nothing that could act.

A message is one JSON text and the raw bytes of its tensors. Reading one builds None, bool, int,
float, str, list, tuple, dict and tensors of known dtypes, of exactly these types, and refuses
everything else: too long, too deep, malformed, late. There is no pickle and no class by name.
"""

import json
import struct
import time

import torch

HEADER = struct.Struct("!II")  # bytes of JSON, bytes of tensors
MOST_TEXT = 4 * 2**20
MOST_BYTES = 64 * 2**20
MOST_DEPTH = 24
MOST_SECONDS = 20.0  # for the other side to take a message in
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
        torch.float16, torch.bfloat16, torch.float32, torch.float64,
    )
}  # fmt: skip


class WireError(Exception):
    """What came is no message: too long, malformed, or of a kind that is not sent."""


class Late(WireError):
    """Nothing whole came before the deadline."""


class Closed(WireError):
    """The other side is gone."""


# --- messages ---


def pack(data):
    """Plain data as the bytes of one message. raises: WireError if it is not plain, or too much."""
    blobs = []
    try:
        text = json.dumps(dismantle(data, blobs, MOST_DEPTH)).encode("ascii")
    except (ValueError, RecursionError) as error:
        raise WireError(f"this cannot be sent: {error}") from None
    size = sum(map(len, blobs))
    check_size(len(text), size)
    return b"".join([HEADER.pack(len(text), size), text, *blobs])


def unpack(text, blob):
    """The plain data of a message. raises: WireError, whatever the bytes are."""
    try:
        tree = json.loads(text.decode("ascii"))
        blob = memoryview(blob)
        data, rest = assemble(tree, blob, MOST_DEPTH)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, RuntimeError, OverflowError) as error:
        raise WireError(f"malformed message ({type(error).__name__})") from None
    if len(rest):
        raise WireError("malformed message (bytes left over)")
    return data


def check_size(text, blob, most=(MOST_TEXT, MOST_BYTES)):
    if text > most[0] or blob > most[1]:
        raise WireError(
            f"{(text + blob) / 2**20:.0f} MB; at most {most[1] / 2**20:g} MB of numbers "
            f"and {most[0] / 2**20:g} MB of other things are sent"
        )


def dismantle(x, blobs, depth):
    if depth == 0:
        raise WireError("nested too deeply")
    if x is None or type(x) in (bool, int, float):
        return x
    if type(x) is str:
        return x.encode("utf-8", "replace").decode("utf-8")
    if type(x) is list:
        return [dismantle(v, blobs, depth - 1) for v in x]
    if type(x) is tuple:
        return {"tuple": [dismantle(v, blobs, depth - 1) for v in x]}
    if type(x) is dict:
        pairs = [[dismantle(k, blobs, 2), dismantle(v, blobs, depth - 1)] for k, v in x.items()]
        return {"dict": pairs}
    if isinstance(x, torch.Tensor):
        return {"tensor": tensor_header(x, blobs)}
    raise WireError(f"a {type(x).__name__} is not plain data")


def tensor_header(x, blobs):
    dtype = str(x.dtype).removeprefix("torch.")
    if dtype not in DTYPES or x.layout is not torch.strided or x.device.type != "cpu":
        raise WireError(f"a {dtype} tensor ({x.layout}, {x.device}) is not sent")
    if x.numel() * x.element_size() > MOST_BYTES:  # an expanded tensor is larger than its memory
        raise WireError(f"a tensor of {x.numel()} elements is too large to be sent")
    flat = x.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    blobs.append(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return [dtype, list(x.shape)]


def assemble(tree, blob, depth):
    """(data, what is left of the blob)"""
    if depth == 0:
        raise WireError("nested too deeply")
    if tree is None or type(tree) in (bool, int, float, str):
        return tree, blob
    if type(tree) is list:
        items = []
        for v in tree:
            item, blob = assemble(v, blob, depth - 1)
            items.append(item)
        return items, blob
    ((kind, content),) = tree.items()
    if kind == "tuple" and type(content) is list:
        items, blob = assemble(content, blob, depth)
        return tuple(items), blob
    if kind == "dict" and type(content) is list:
        result = {}
        for key, value in content:
            if key is not None and type(key) not in (bool, int, float, str):
                raise WireError("malformed message (a key)")
            result[key], blob = assemble(value, blob, depth - 1)
        return result, blob
    if kind == "tensor":
        name, shape = content
        if any(type(n) is not int or n < 0 for n in shape) or len(shape) > 16:
            raise WireError("malformed message (a shape)")
        dtype, count = DTYPES[name], 1
        for n in shape:
            count *= n
        size = count * dtype.itemsize
        if size > len(blob):
            raise WireError("malformed message (a tensor without its bytes)")
        if not count:
            return torch.empty(shape, dtype=dtype), blob
        raw = torch.frombuffer(bytearray(blob[:size]), dtype=torch.uint8)
        if dtype is torch.bool:  # a byte of a bool is 0 or 1, whoever sent it
            return (raw != 0).reshape(shape), blob[size:]
        return raw.view(dtype).reshape(shape), blob[size:]
    raise WireError("malformed message (unknown kind)")


# --- over a socket ---


def send(sock, data):
    """Send one message. raises: WireError, Closed"""
    message = pack(data)
    try:
        sock.settimeout(MOST_SECONDS)
        sock.sendall(message)
    except TimeoutError:
        raise Late("the other side does not read") from None
    except OSError:
        raise Closed("the other side is gone") from None


def receive(sock, deadline=None, most=(MOST_TEXT, MOST_BYTES)):
    """Read one message. deadline: time.monotonic() to be done by; most: bytes of text and of numbers
    raises: WireError, Late, Closed"""
    size_text, size_blob = HEADER.unpack(read_exactly(sock, HEADER.size, deadline))
    check_size(size_text, size_blob, most)
    text = read_exactly(sock, size_text, deadline)
    return unpack(bytes(text), read_exactly(sock, size_blob, deadline))


def read_exactly(sock, n, deadline):
    buffer = bytearray()
    while len(buffer) < n:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Late("no answer in time")
            sock.settimeout(left)
        else:
            sock.settimeout(None)
        try:
            got = sock.recv(min(n - len(buffer), 2**20))
        except TimeoutError:
            raise Late("no answer in time") from None
        except OSError:
            got = b""
        if not got:
            raise Closed("the other side is gone")
        buffer += got
    return buffer
