"""Adam on one flat vector: the optimizer of the training loops."""

import math

import torch


class Adam:
    """Adam, equal to `torch.optim.Adam`, for networks so small that overhead is all there is.

        m <- b1 m + (1 - b1) g          v <- b2 v + (1 - b2) g^2
        theta <- theta - lr * (m / (1 - b1^k)) / (sqrt(v / (1 - b2^k)) + eps)

    All parameters are laid out in one flat vector (each stays a view of its piece), so a step is
    seven operations however many layers there are. And `torch.optim` imports torch._dynamo on
    first use, a second or more, which is longer than PPO takes to solve CartPole. Any optimizer of
    torch.optim works in its place. A parameter without a gradient counts as having gradient zero.

    params : parameters, or groups as in torch.optim: [{"params": …, "lr": …}, …]; a group's lr is
             kept in proportion when `lr` changes later
    source : Kingma & Ba 2015, algorithm 1, arXiv:1412.6980
    """

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8):
        groups = list(params)
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        groups = [(list(group["params"]), group.get("lr", lr) / lr) for group in groups]
        self.params = [p for group, _ in groups for p in group]
        self.lr, self.betas, self.eps = lr, betas, eps
        paces = [torch.full((p.numel(),), r) for group, r in groups for p in group]
        self.pace = torch.cat(paces) if len(groups) > 1 else None
        self.theta = torch.cat([p.detach().reshape(-1) for p in self.params])
        self.m, self.v = torch.zeros_like(self.theta), torch.zeros_like(self.theta)
        self.steps = torch.zeros(1)
        pieces = self.theta.split([p.numel() for p in self.params])
        for p, piece in zip(self.params, pieces, strict=True):
            p.data = piece.view_as(p)

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    @torch.no_grad()
    def step(self):
        b1, b2 = self.betas
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.params]
        grad = torch.cat([g.reshape(-1) for g in grads])
        self.steps += 1
        k = self.steps.item()
        self.m.lerp_(grad, 1 - b1)
        self.v.mul_(b2).addcmul_(grad, grad, value=1 - b2)
        unbias = math.sqrt(1 - b2**k)  # of sqrt(v); taken out of the vectors into the numbers
        scale = self.v.sqrt().add_(self.eps * unbias)
        m = self.m if self.pace is None else self.m * self.pace
        self.theta.addcdiv_(m, scale, value=-self.lr * unbias / (1 - b1**k))

    def share_memory(self):
        """Move weights and moments to shared memory, for processes that train one network."""
        for x in (self.theta, self.m, self.v, self.steps):
            x.share_memory_()
        pieces = self.theta.split([p.numel() for p in self.params])
        for p, piece in zip(self.params, pieces, strict=True):
            p.data = piece.view_as(p)
        return self

    def state_dict(self):
        return {
            "m": self.m.clone(),
            "v": self.v.clone(),
            "steps": self.steps.clone(),
            "lr": self.lr,
        }

    def load_state_dict(self, state):
        for name in ("m", "v", "steps"):
            getattr(self, name).copy_(state[name])
        self.lr = state["lr"]
