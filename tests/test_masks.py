"""Action masks: an invalid action is never given, in training as in a test, and the distribution is that of the rest."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from pgcourse import a2c, masks, plots, ppo, runs
from pgcourse.cli import app
from pgcourse.distributions import masked_logits
from pgcourse.inputs import Masked
from pgcourse.networks import make_actor
from pgcourse.rollout import Collector, evaluate

BOTH = pytest.mark.parametrize("module", [ppo, a2c])


class Trap(gym.Env):
    """Of four actions two or three are valid at each step, drawn anew; another ends it at -100. Ten steps.

    What is valid is seen by the mask alone. Action 3 pays most, where it is valid.
    """

    metadata = {"render_modes": ["rgb_array"]}
    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(4, start=1)
    fallen = 0  # of all traps

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.look(), self.info()

    def step(self, action):
        self.t += 1
        right = bool(self.valid[action - 1])
        type(self).fallen += not right
        obs = self.look()
        return (
            obs,
            [1.0, 2.0, 3.0, 4.0][action - 1] if right else -100.0,
            not right,
            self.t >= 10,
            self.info(),
        )

    def look(self):
        out = self.np_random.choice(4, self.np_random.integers(1, 3), replace=False)
        self.valid = np.isin(np.arange(4), out, invert=True).astype(np.int8)
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)

    def info(self):
        return {"action_mask": self.valid}

    def render(self):
        return np.zeros((20, 30, 3), np.uint8)


class ByMethod(Trap):
    """The same, asked as sb3-contrib asks."""

    def info(self):
        return {}

    def action_masks(self):
        return [bool(x) for x in self.valid]


class Two(gym.Env):
    """Two choices at once, of two and of three; in each one option is invalid, told as a tuple of masks."""

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.MultiDiscrete([2, 3])
    fallen = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.look(), {"action_mask": self.valid}

    def step(self, action):
        self.t += 1
        type(self).fallen += not all(mask[a] for mask, a in zip(self.valid, action, strict=True))
        return self.look(), float(sum(action)), False, self.t >= 10, {"action_mask": self.valid}

    def look(self):
        out = self.np_random.integers(2), self.np_random.integers(3)
        self.valid = tuple(
            (np.arange(n) != i).astype(np.int8) for n, i in zip((2, 3), out, strict=True)
        )
        return np.zeros(1, np.float32)


def small(module, env=Trap, **changes):
    return module.Config(env=env, total_steps=3000, n_envs=4, n_steps=16, mask=True, **changes)


# --------------------------------------------------------------------------- the distribution


def test_it_is_the_softmax_of_what_is_valid():
    """Against a Categorical over the valid actions alone: probabilities, log-probabilities, entropy."""
    torch.manual_seed(0)
    logits = 3 * torch.randn(50, 5)
    valid = torch.rand(50, 5) < 0.5
    valid[torch.arange(50), torch.randint(5, (50,))] = True
    actor = make_actor(Collector(Trap, 2, 0, masked=True).env, (4,))
    actor.net, actor.n_actions = Masked(torch.nn.Identity(), [5]), 5
    obs = torch.cat([logits, valid.float()], dim=1)
    drawn = actor.act(obs.expand(2000, 50, 10), noise=actor.noise((2000, 50)))
    for i in range(50):
        index = valid[i].nonzero()[:, 0]
        rest = torch.distributions.Categorical(logits=logits[i, index])
        chances = torch.zeros(5)
        chances[index] = rest.probs
        got = actor(obs[i]).softmax(-1)
        torch.testing.assert_close(got, chances)
        assert (got[~valid[i]] == 0).all()
        logp, ent = actor.evaluate(obs[i].expand(len(index), 10), index)
        torch.testing.assert_close(logp, rest.log_prob(torch.arange(len(index))))
        torch.testing.assert_close(ent, rest.entropy().expand(len(index)), atol=1e-6, rtol=1e-5)
        frequency = torch.bincount(drawn[:, i], minlength=5) / 2000
        assert (frequency[~valid[i]] == 0).all()
        torch.testing.assert_close(frequency, chances, atol=0.06, rtol=0)
    assert valid[torch.arange(50), actor.act(obs, deterministic=True)].all()


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_gradient_is_finite_and_none_reaches_what_is_invalid(scale):
    """By finite differences of the distribution over the valid actions, in float64."""
    torch.manual_seed(0)
    logits = (scale * torch.randn(6, dtype=torch.float64)).requires_grad_()
    valid = torch.tensor([True, False, True, True, False, True])

    def objective(x, mask):
        logp = torch.log_softmax(masked_logits(x, mask), -1)
        return logp[2] - 0.3 * (logp.exp() * logp).sum()

    (got,) = torch.autograd.grad(objective(logits, valid), logits)
    assert torch.isfinite(got).all() and (got[~valid] == 0).all() and got[valid].abs().sum() > 0
    if scale == 1.0:
        for i in valid.nonzero()[:, 0].tolist():
            step = torch.zeros(6, dtype=torch.float64)
            step[i] = 1e-6
            rest = [
                torch.log_softmax((logits.detach() + sign * step)[valid], -1) for sign in (1, -1)
            ]
            up, down = (p[1] - 0.3 * (p.exp() * p).sum() for p in rest)
            assert got[i].item() == pytest.approx(((up - down) / 2e-6).item(), abs=1e-6)


def test_a_mask_without_a_valid_action_is_an_error():
    with pytest.raises(ValueError, match="at least one valid action"):
        masked_logits(torch.zeros(2, 3), torch.tensor([[True, False, True], [False] * 3]))
    with pytest.raises(ValueError, match="same shape|shape"):
        masked_logits(torch.zeros(2, 3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="at least one valid action"):  # of the second choice
        Masked(torch.nn.Identity(), [2, 3])(torch.tensor([[0.0] * 5 + [1, 1, 0, 0, 0]]))


# -------------------------------------------------------------------------------- in training


@BOTH
def test_no_invalid_action_is_ever_given(module):
    Trap.fallen = 0
    result = module.train(small(module), progress=False)
    best, drawn = (evaluate(result.policy, Trap, 50, deterministic=how) for how in (True, False))
    assert Trap.fallen == 0 and result.returns.min() >= 10 and drawn.min() >= 10
    assert best.mean() > 32  # the best that is valid pays 3.5 a step; any at all, 2.5
    module.train(module.Config(env=Trap, total_steps=300, n_envs=4, n_steps=16), progress=False)
    assert Trap.fallen > 10, "without masks it falls"


def test_both_ways_to_tell_are_one():
    made = [Collector(env, 3, 0, masked=True) for env in (Trap, ByMethod)]
    actor = make_actor(made[0].env, (4,))
    rollouts = [collector.collect(actor, 40) for collector in made]
    assert all(torch.equal(rollouts[0][key], rollouts[1][key]) for key in rollouts[0])
    assert 0 < rollouts[0]["obs"][..., 2:].mean() < 1


@BOTH
def test_several_choices_at_once(module):
    Two.fallen = 0
    result = module.train(small(module, Two), progress=False)
    scores = evaluate(result.policy, Two, 50)
    assert Two.fallen == 0
    assert scores.mean() > 20  # the larger valid options: 0.5 + 5/3 a step


def test_the_mask_is_stored_with_what_was_seen():
    """Behind the observation, for each step that it belongs to, over the ends of episodes too."""
    seen = []

    class Noted(Trap):
        def look(self):
            obs = super().look()
            seen.append([*obs, *self.valid])
            return obs

    collector = Collector(Noted, 1, 0, masked=True)
    seen[:-1] = []  # but the first of the episode that is collected
    rollout = collector.collect(make_actor(collector.env, (4,)), 25)
    assert rollout["ended"].sum() == 2
    expected = torch.tensor(np.array(seen), dtype=torch.float32)
    last = [10, 21]  # nobody acts where an episode has ended
    begun = [i for i in range(len(expected) - 1) if i not in last]
    torch.testing.assert_close(rollout["obs"][:, 0], expected[begun])
    valid = rollout["obs"][..., 2:].gather(-1, rollout["act"].unsqueeze(-1))
    assert (valid == 1).all()


def test_the_update_scores_by_the_mask_of_then():
    result = ppo.train(small(ppo, entropy_coef=0.01, normalize_obs=True), progress=False)
    assert (result.history["first_ratio_error"] < 1e-5).all()
    assert (result.history["entropy"] < np.log(3)).all()  # never more than three actions
    assert result.policy.normalizer.mean.shape == (2,)  # the mask is not normalized


def test_saved_loaded_resumed_and_drawn(tmp_path):
    config = small(ppo, epochs=2)
    policy = ppo.train(config, progress=False, callback=runs.Saver(tmp_path, seconds=0)).policy
    loaded = runs.load(tmp_path, env=Trap).policy
    assert loaded.masked
    before = evaluate(policy, Trap, 20)
    assert evaluate(loaded, Trap, 20).tolist() == before.tolist()
    assert evaluate(loaded.actor, Trap, 20).tolist() == before.tolist()
    Trap.fallen = 0
    frames, total, steps = plots.record_episode(loaded, Trap)
    assert steps == 10 and len(frames) == 11 and total >= 25 and Trap.fallen == 0
    _, _, start = runs.read(tmp_path, env=Trap)
    start["steps"] = 2500
    assert ppo.train(small(ppo), progress=False, start=start).history["steps"][-1] > 3000 - 64
    assert Trap.fallen == 0


def test_gymnasiums_taxi_by_command(tmp_path, capsys):
    """Its masks rule out what would change nothing; among them every wrong drop, which costs 10."""
    name = next(name for name in gym.registry if name.startswith("Taxi-"))
    call = ["train", "ppo", "--env", name, "--mask", "--steps", "3000", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as end:
        app([*call, "--set", "n_envs=4"])
    assert not end.value.code, capsys.readouterr().err
    result = runs.load(tmp_path / f"ppo-{name}" / "seed-0")
    collector = Collector(name, 4, 0, masked=True)
    rollout = collector.collect(result.policy, 100)
    assert rollout["rew"].min() == -1.0, "a pick-up or drop-off that is invalid costs 10"


# ---------------------------------------------------------------------------- what is refused


def variant(**attributes):
    return type("Variant", (Trap,), attributes)


@pytest.mark.parametrize(
    "env, words",
    [
        ("FrozenLake-v1", "FrozenLake-v1 offers no action masks: neither info\\['action_mask'\\]"),
        ("CartPole-v1", "CartPole-v1 offers no action masks"),
        ("Pendulum-v1", "Pendulum-v1: masks are for discrete actions; its actions are Box"),
        (
            variant(info=lambda self: {"action_mask": np.ones(3)}),
            "Variant: its action mask has 3 entries; expected 4",
        ),
        (
            variant(info=lambda self: {"action_mask": np.zeros(4)}),
            "Variant: its action mask allows no action",
        ),
    ],
)
def test_a_task_without_masks_is_refused_by_name(env, words):
    with pytest.raises(ValueError, match=words):
        ppo.train(small(ppo, env), progress=False)


def test_no_action_need_be_valid_where_nobody_acts():
    """At an end the mask may be empty or missing; in the middle of an episode neither may."""
    for key, value in (("action_mask", np.zeros(4)), ("other", 0)):

        def at_end(self, key=key, value=value):
            return Trap.info(self) if self.t < 10 else {key: value}

        def too_early(self, key=key, value=value):
            return Trap.info(self) if self.t < 5 else {key: value}

        collector = Collector(variant(info=at_end), 2, 0, masked=True)
        collector.collect(make_actor(collector.env, (4,)), 25)
        with pytest.raises(ValueError, match="Variant.* no action"):
            collector = Collector(variant(info=too_early), 2, 0, masked=True)
            collector.collect(make_actor(collector.env, (4,)), 25)


def test_without_the_option_nothing_is_masked():
    policy = ppo.train(ppo.Config(env=Trap, total_steps=100, n_envs=2), progress=False).policy
    assert not policy.masked and policy.critic.net[0].in_features == 2
    assert masks.with_masks(Trap)().observation_space.shape == (6,)
