"""What an optimizer minimizes: every loss of the course, as a pure function of tensors.

"Loss" is always minimized. Arguments named adv, ret, target and logp_old are constants: no gradient
flows into them, whatever is passed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pgcourse.tensors import same_shape


def reinforce_loss(logp: Tensor, ret: Tensor) -> Tensor:
    """REINFORCE as a loss: its gradient is minus the mean of return times score.

        L = -mean_t( logp_t * G_t ),   G held constant

    Two usual shortcuts: no gamma^t, and the mean over steps, which is a ratio where their number varies.

    logp    : float, log pi(a_t | s_t), nats, [T] or [T, B]
    ret     : float, returns, same shape; no gradient flows into them
    returns : scalar
    raises  : ValueError if the shapes differ
    source  : Williams 1992; Sutton & Barto 2018, sec. 13.3
    """
    same_shape(logp=logp, ret=ret)
    return -(logp * ret.detach()).mean()


def value_regression_loss(val: Tensor, ret: Tensor) -> Tensor:
    """Fit a baseline to the returns that were observed.

        L = mean_t( (V(s_t) - G_t)^2 ),   G held constant

    val     : float, predicted values, [T] or [T, B]
    ret     : float, observed returns, same shape; a constant
    returns : scalar, squared reward units
    raises  : ValueError if the shapes differ
    note    : a factor 1/2 in front is fine too
    """
    same_shape(val=val, ret=ret)
    return ((val - ret.detach()) ** 2).mean()


def policy_gradient_loss(logp: Tensor, adv: Tensor, mask: Tensor | None = None) -> Tensor:
    """The policy gradient with any advantage, as a loss, over the unmasked steps.

        L = -mean( logp * A ),   A held constant

    logp    : float, nats, [T], [T, B] or [B, T]
    adv     : float, same shape; a constant
    mask    : bool, same shape, or None; False = prompt or padding, which may hold anything, even nan
    returns : scalar; the mean is over all unmasked elements together
    raises  : ValueError if the shapes differ
    source  : Sutton et al. 2000, theorem 1; Schulman et al. 2016, eq. 1, arXiv:1506.02438
    """
    same_shape(logp=logp, adv=adv, mask=mask)
    if mask is not None:
        logp, adv = logp[mask], adv[mask]  # first: a product with nan has a gradient of nan
    return -(logp * adv.detach()).mean()


def critic_loss(val: Tensor, target: Tensor) -> Tensor:
    """Temporal-difference learning as a loss (semi-gradient).

        L = mean_t( (V(s_t) - y_t)^2 ),   y held constant, although it was made from V

    val     : float, V(s_t), [T] or [T, B]
    target  : float, TD targets y, same shape; no gradient flows into them
    returns : scalar, squared reward units
    raises  : ValueError if the shapes differ
    note    : a factor 1/2 in front is fine too
    source  : Sutton & Barto 2018, sec. 9.3 and 11.5 (semi-gradient)
    """
    same_shape(val=val, target=target)
    return ((val - target.detach()) ** 2).mean()


def actor_loss(logp: Tensor, adv: Tensor) -> Tensor:
    """The actor's loss: raise the log-probability of what turned out better than expected.

        L = -mean_t( log pi(a_t | s_t) * A_t ),   A held constant: the critic is not trained here

    logp    : float, nats, [T] or [T, B]
    adv     : float, advantages, same shape; no gradient flows into them
    returns : scalar
    raises  : ValueError if the shapes differ
    source  : Mnih et al. 2016, sec. 4, arXiv:1602.01783
    """
    same_shape(logp=logp, adv=adv)
    return -(logp * adv.detach()).mean()


def probability_ratio(logp: Tensor, logp_old: Tensor) -> Tensor:
    """How much more probable the new policy makes an action than the one that took it.

        rho = pi(a | s) / pi_old(a | s) = exp(logp - logp_old)

    logp     : float, nats, [B] or [B, T]
    logp_old : float, nats, same shape; stored when the action was taken, a constant
    returns  : rho, same shape, 1 where nothing has changed
    raises   : ValueError if the shapes differ
    note     : it corrects the choice of the action; the states remain those of the old policy
    source   : Schulman et al. 2017, sec. 3, arXiv:1707.06347
    """
    same_shape(logp=logp, logp_old=logp_old)
    return torch.exp(logp - logp_old.detach())


def ppo_clip_loss(
    logp: Tensor, logp_old: Tensor, adv: Tensor, clip: float, mask: Tensor | None = None
) -> Tensor:
    """PPO's clipped surrogate, negated so that descent improves the policy.

        L = -mean min(rho A, clamp(rho, 1 - clip, 1 + clip) A),   rho = exp(logp - logp_old)

    logp, logp_old : float, nats, [B] (control) or [B, T] (language); logp_old is a constant
    adv            : float, same shape, reward units or normalized; a constant
    clip           : float in (0, 1), usually 0.2
    mask           : bool, same shape, or None; False = prompt or padding: anything, even nan
    returns        : scalar
    raises         : ValueError if shapes differ ([B, 1] with [B] would give [B, B])
    note           : to select last, as CleanRL does, is fine too, but its gradient is nan where padding is
    source         : Schulman et al. 2017, eq. 7, arXiv:1707.06347
    """
    same_shape(logp=logp, logp_old=logp_old, adv=adv, mask=mask)
    if mask is not None:  # first of all: padding may hold inf or nan, and 0 * nan is nan
        logp, logp_old, adv = logp[mask], logp_old[mask], adv[mask]
    adv = adv.detach()
    rho = probability_ratio(logp, logp_old)
    clipped = rho.clamp(1 - clip, 1 + clip)
    return -torch.minimum(rho * adv, clipped * adv).mean()


def clipped_value_loss(
    val: Tensor, val_old: Tensor, ret: Tensor, clip: float, mask: Tensor | None = None
) -> Tensor:
    """A squared error that does not reward a value for moving further than `clip` at once.

        v_clip = val_old + clamp(val - val_old, -clip, clip)
        L      = mean max( (val - ret)^2, (v_clip - ret)^2 )

    val          : float, V(s) now, [B] or [B, T]
    val_old, ret : float, same shape, V(s) when the data was collected, and the returns; constants
    clip         : float > 0, in reward units; inf leaves the plain squared error
    mask         : bool, same shape, or None; what is False may hold anything, even nan
    returns      : scalar, squared reward units
    raises       : ValueError if the shapes differ
    note         : a factor 1/2 in front is fine too; so is to select last, but then the gradient is nan
                   where padding is
    source       : the PPO implementation in openai/baselines; Engstrom et al. 2020, arXiv:2005.12729
    """
    same_shape(val=val, val_old=val_old, ret=ret, mask=mask)
    if mask is not None:
        val, val_old, ret = val[mask], val_old[mask], ret[mask]
    val_old, ret = val_old.detach(), ret.detach()
    error = (val - ret) ** 2
    if clip == float("inf"):
        return error.mean()
    val_clipped = val_old + (val - val_old).clamp(-clip, clip)
    return torch.maximum(error, (val_clipped - ret) ** 2).mean()


def approx_kl(logp: Tensor, logp_old: Tensor, mask: Tensor | None = None) -> Tensor:
    """The k3 estimate of KL(pi_old || pi) from actions that pi_old took; never negative.

        KL ~ mean( rho - 1 - log rho ),   log rho = logp - logp_old

    logp, logp_old : float, nats, [B] or [B, T]
    mask           : bool, same shape, or None; what is False may hold anything, even nan
    returns        : scalar, nats, >= 0
    raises         : ValueError if the shapes differ
    note           : less noisy than the mean of -log rho while the two policies are close
    source         : Schulman 2020, "Approximating KL divergence", joschu.net/blog/kl-approx.html
    """
    same_shape(logp=logp, logp_old=logp_old, mask=mask)
    log_rho = logp - logp_old if mask is None else logp[mask] - logp_old[mask]
    return (torch.expm1(log_rho) - log_rho).mean()


def sac_critic_loss(q1: Tensor, q2: Tensor, target: Tensor) -> Tensor:
    """Both critics of SAC regress to one target.

        L = mean( (Q1 - y)^2 ) + mean( (Q2 - y)^2 ),   y held constant

    q1, q2  : float, the two critics at the replayed (s, a), [B]
    target  : float, soft Q targets, [B]; a constant
    returns : scalar, squared reward units
    raises  : ValueError if the shapes differ
    note    : a factor 1/2 in front is fine too
    source  : Haarnoja et al. 2018b, eq. 5, arXiv:1812.05905
    """
    same_shape(q1=q1, q2=q2, target=target)
    target = target.detach()
    return ((q1 - target) ** 2).mean() + ((q2 - target) ** 2).mean()


def sac_actor_loss(logp: Tensor, q1: Tensor, q2: Tensor, alpha: float | Tensor) -> Tensor:
    """SAC's actor: high value and high entropy, through the reparameterized action.

        L = mean( alpha * log pi(a | s) - min(Q1, Q2) ),   a = tanh(mean + std * noise)

    logp    : float, log pi(a | s) of the fresh action, nats, [B]; carries gradient
    q1, q2  : float, critics at (s, a), [B]; carry gradient through a
    alpha   : float or scalar tensor > 0, reward units per nat; a constant here
    returns : scalar, reward units
    raises  : ValueError if the shapes differ
    source  : Haarnoja et al. 2018b, eq. 7, arXiv:1812.05905
    """
    same_shape(logp=logp, q1=q1, q2=q2)
    alpha = torch.as_tensor(alpha).detach()
    return (alpha * logp - torch.minimum(q1, q2)).mean()


def temperature_loss(log_alpha: Tensor, logp: Tensor, target_entropy: float) -> Tensor:
    """Raise the temperature when the policy is less random than asked, lower it when more.

        L = -mean( alpha * (log pi + target_entropy) ),   alpha = exp(log_alpha), log pi held constant

    log_alpha      : float scalar tensor, the parameter
    logp           : float, log pi(a | s) of fresh actions, nats, [B]; a constant
    target_entropy : float, nats, usually -(number of action dimensions)
    returns        : scalar
    note           : log_alpha in place of alpha in front is fine too (the same sign of the gradient)
    source         : Haarnoja et al. 2018b, eq. 18, arXiv:1812.05905
    """
    return -(log_alpha.exp() * (logp.detach() + target_entropy)).mean()


def bradley_terry_loss(r_chosen: Tensor, r_rejected: Tensor) -> Tensor:
    """Negative log-likelihood of the votes under the Bradley–Terry model.

        L = -mean log sigmoid(r_chosen - r_rejected)

    r_chosen, r_rejected : float, scores of the answer preferred and of the other, [B]
    returns              : scalar, nats; finite for every margin
    raises               : ValueError if the shapes differ
    source               : Bradley & Terry 1952; Ouyang et al. 2022, eq. 1, arXiv:2203.02155
    """
    same_shape(r_chosen=r_chosen, r_rejected=r_rejected)
    return -F.logsigmoid(r_chosen - r_rejected).mean()


def dpo_loss(
    logp_chosen: Tensor,
    logp_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
) -> Tensor:
    """Direct preference optimization: the votes train the policy itself.

        L = -mean log sigmoid( beta * [ (logp_c - ref_c) - (logp_r - ref_r) ] )

    logp_chosen, logp_rejected : float, summed log-probability of each answer, nats, [B]
    ref_chosen, ref_rejected   : float, the same under the frozen reference, [B]; constants
    beta                       : float > 0
    returns                    : scalar, nats
    raises                     : ValueError if the shapes differ
    source                     : Rafailov et al. 2023, eq. 7, arXiv:2305.18290
    """
    same_shape(
        logp_chosen=logp_chosen,
        logp_rejected=logp_rejected,
        ref_chosen=ref_chosen,
        ref_rejected=ref_rejected,
    )
    margin = (logp_chosen - ref_chosen.detach()) - (logp_rejected - ref_rejected.detach())
    return -F.logsigmoid(beta * margin).mean()
