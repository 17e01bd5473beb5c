"""Plain data as short text, for the example on a card."""

import torch


def size(args):
    """Number of elements in plain data: the smallest case is the one to show."""
    if torch.is_tensor(args):
        return args.numel()
    if isinstance(args, dict):
        return sum(map(size, args.values()))
    return sum(map(size, args)) if isinstance(args, list | tuple) else 1


def show(x, limit=8):
    """Plain data as a short line: numbers rounded to 4 digits, long arrays cut."""
    if torch.is_tensor(x):
        if x.dim() == 0:
            return show(x.item())
        shape = "" if x.dim() == 1 and len(x) <= limit else f"  (shape {list(x.shape)})"
        return show_list(x, limit) + shape
    if isinstance(x, dict):
        return "{" + ", ".join(f"{k}: {show(v, limit)}" for k, v in list(x.items())[:6]) + "}"
    if isinstance(x, list | tuple):
        fewer = max(2, limit // 2)  # the layers of a network, say, of which few numbers are enough
        return "[" + ", ".join(show(v, fewer) for v in x[:3]) + (", …" if len(x) > 3 else "") + "]"
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def show_list(x, limit):
    items = [show_list(v, min(limit, 4)) if v.dim() else show(v) for v in x[:limit]]
    return "[" + ", ".join(items) + (", …" if len(x) > limit else "") + "]"
