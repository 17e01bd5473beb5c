"""Right answers of the capstone in other styles."""

import torch
import torch.nn.functional as F

from pgcourse.capstone import ballot, chosen, recorded


def equal_shapes(*tensors):
    if len({tuple(x.shape) for x in tensors}) > 1:
        raise ValueError("shapes differ")


def enough(before, after, count):
    equal_shapes(before, after)
    if count < 1 or count > int((after > before).sum()):
        raise ValueError("so many pairs there are not")


def chosen_by_topk(before, after, count):
    enough(before, after, count)
    return torch.topk(before.masked_fill(after <= before, float("-inf")), count).indices


def chosen_by_sorted(before, after, count):
    enough(before, after, count)
    preferred = [i for i in range(len(before)) if after[i] > before[i]]
    return torch.tensor(sorted(preferred, key=lambda i: -before[i].item())[:count])


def chosen_by_numbers(before, after, count):
    enough(before, after, count)
    numbers = (after > before).nonzero().squeeze(1)
    return numbers[before[numbers].argsort(descending=True)][:count]


def pooled_by_softplus(r_chosen, r_rejected, new, share):
    equal_shapes(r_chosen, r_rejected, new)
    if new.all() or (~new).all():
        raise ValueError("one kind only")
    losses = F.softplus(r_rejected - r_chosen)
    return share * losses[new].mean() + (1 - share) * losses[~new].mean()


def pooled_by_weights(r_chosen, r_rejected, new, share):
    equal_shapes(r_chosen, r_rejected, new)
    if new.all() or not new.any():
        raise ValueError("one kind only")
    weight = torch.where(new, share / new.sum(), (1 - share) / (~new).sum())
    return -(weight * F.logsigmoid(r_chosen - r_rejected)).sum()


def pooled_by_two_losses(r_chosen, r_rejected, new, share):
    equal_shapes(r_chosen, r_rejected, new)
    if new.all() or not new.any():
        raise ValueError("one kind only")
    margin = r_chosen - r_rejected
    old_loss, new_loss = (-F.logsigmoid(margin[kind]).mean() for kind in (~new, new))
    return old_loss + share * (new_loss - old_loss)


def looked_by_loop(score, kl, limit):
    equal_shapes(score, kl)
    best = None
    for i, (s, k) in enumerate(zip(score.tolist(), kl.tolist(), strict=True)):
        if k <= limit and (best is None or s > score[best]):
            best = i
    if best is None:
        raise ValueError("too far")
    return best


def looked_by_fill(score, kl, limit):
    equal_shapes(score, kl)
    if (kl > limit).all():
        raise ValueError("too far")
    return int(score.masked_fill(kl > limit, float("-inf")).argmax())


def looked_by_near(score, kl, limit):
    equal_shapes(score, kl)
    near = torch.nonzero(kl <= limit).flatten()
    if len(near) == 0:
        raise ValueError("too far")
    return near[score[near].argmax()].item()


def hack_in_another_order():
    return {"mends": "b", "why": "b", "breaks": "readable", "hack": "b"}


def hack_in_capitals():
    return dict(hack="B", breaks="Readable", why="B", mends="B")


def hack_with_spaces():
    return dict(hack=" b", breaks="readable ", why="b", mends=" b ")


def liked():
    return [pair["liked"] for pair in ballot(chosen(recorded()["pairs"]))]


def votes_in_small_letters_and_groups():
    text = "".join(liked()).lower()
    return {"votes": " ".join(text[i : i + 6] for i in range(0, len(text), 6))}


def votes_with_some_skipped():
    return {"votes": "".join("-" if i % 3 == 0 else x for i, x in enumerate(liked()))}


def votes_with_a_slip():
    other = {"A": "B", "B": "A"}
    return {"votes": "".join(other[x] if i == 5 else x for i, x in enumerate(liked()))}


RIGHT = {
    "name_the_hack": [hack_in_another_order, hack_in_capitals, hack_with_spaces],
    "choose_pairs": [chosen_by_topk, chosen_by_sorted, chosen_by_numbers],
    "my_votes": [
        votes_in_small_letters_and_groups,
        votes_with_some_skipped,
        votes_with_a_slip,
    ],
    "pooled_loss": [pooled_by_softplus, pooled_by_weights, pooled_by_two_losses],
    "look_within": [looked_by_loop, looked_by_fill, looked_by_near],
}
