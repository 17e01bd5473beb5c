"""Right answers in other styles: loops, vectorized, torch.distributions, autograd, other float types.

One module a lesson; `RIGHT` maps an exercise's name to at least three functions that a check must accept.
"""
