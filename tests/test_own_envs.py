"""Environments of people's own: made in every way, of every kind of space, broken in every way, without an end."""

import json
import re
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from pgcourse import a2c, a3c, envs, plots, ppo, reinforce, runs, sac
from pgcourse.cli import app
from pgcourse.envs import make_vector
from pgcourse.networks import Bounds, MultiCategoricalActor
from pgcourse.rollout import Collector, evaluate


class Match(gym.Env):
    """Pays 1 for the action that matches the sign that is seen; twenty steps, or `steps`."""

    metadata = {"render_modes": ["rgb_array"]}
    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def __init__(self, steps=20, render_mode=None):
        self.steps, self.render_mode = steps, render_mode

    def sign(self):
        return float(self.np_random.choice([-1.0, 1.0]))

    def look(self):
        return np.array([self.x], np.float32)

    def pay(self, act):
        return float((act == 1) == (self.x > 0))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.x = 0, self.sign()
        return self.look(), {}

    def step(self, act):
        rew, self.t, self.x = self.pay(act), self.t + 1, self.sign()
        return self.look(), rew, self.t >= self.steps, False, {}

    def render(self):
        return np.full((20, 30, 3), self.t % 200, np.uint8)


def kind(**attributes):
    """Match with other attributes or methods."""
    return type("Kind", (Match,), attributes)


def quick(module, env, **changes):
    return module.Config(env=env, total_steps=100, n_envs=2, **changes)


def command(*call):
    """Exit code of `pgcourse` called with these words."""
    with pytest.raises(SystemExit) as end:
        app([*map(str, call)])
    return end.value.code or 0


# ------------------------------------------------------------------------------- made in every way


@pytest.mark.parametrize(
    "env, kwargs",
    [
        (Match, {}),
        (Match, {"steps": 5}),
        (lambda: gym.wrappers.TransformReward(Match(), lambda r: 2 * r), {}),
        (Match(), {}),
        ("CartPole-v1", {"sutton_barto_reward": True}),
        ("Pendulum-v1", {"g": 5.0}),
    ],
)
def test_a_class_a_function_an_object_and_keywords(env, kwargs):
    result = ppo.train(quick(ppo, env, env_kwargs=kwargs), progress=False)
    assert len(evaluate(result.policy, env, episodes=3, **kwargs)) == 3


def test_keywords_reach_the_environment():
    returns = [
        evaluate(ppo.train(quick(ppo, Match), progress=False).policy, Match, 4, steps=n)
        for n in (1, 3)
    ]
    assert (returns[0] <= 1).all() and (returns[1] > 1).any()
    slow, fast = (make_vector("Pendulum-v1", 1, g=g) for g in (0.0, 10.0))
    assert type(slow.unwrapped).__name__ == "VectorPendulum"  # it knows g
    for env in (slow, fast):
        env.reset(seed=3)
    assert slow.step(np.zeros((1, 1)))[0][0, 2] != fast.step(np.zeros((1, 1)))[0][0, 2]


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A folder with a module that registers one environment and has a function that makes one."""
    text = "import gymnasium as gym\nfrom tests.test_own_envs import Match\n"
    text += "gym.register('Mine-v0', Match)\ndef five():\n    return Match(5)\n"
    (tmp_path / "my_world.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    yield tmp_path
    sys.modules.pop("my_world", None)
    gym.registry.pop("Mine-v0", None)


@pytest.mark.parametrize("env", ["my_world:Mine-v0", "my_world:five"])
def test_an_environment_in_a_file_beside(env, own_module, capsys):
    call = ["train", "ppo", "--env", env, "--steps", 100, "--out", own_module / "runs"]
    assert command(*call) == 0, capsys.readouterr().err
    (run,) = runs.folders([own_module / "runs"])
    assert ":" not in run.parent.name  # a folder's name that every system takes
    assert len(runs.load(run).returns)


def test_keywords_by_command(own_module, capsys):
    call = ["train", "ppo", "--env", "my_world:Mine-v0", "--steps", 100, "--out", own_module]
    assert command(*call, "--env-kwargs", '{"steps": 3}') == 0, capsys.readouterr().err
    (run,) = runs.folders([own_module])
    assert runs.read(run)[1].env_kwargs == {"steps": 3} and runs.load(run).returns.max() <= 3
    assert command(*call, "--env-kwargs", "steps=3") == 2
    assert "JSON" in capsys.readouterr().err


def test_a_run_on_an_object_is_loaded_with_that_object(tmp_path):
    config = quick(ppo, Match(5))
    ppo.train(config, progress=False, callback=runs.Saver(tmp_path, seconds=0))
    with pytest.raises(ValueError, match="Match, an environment made in Python"):
        runs.load(tmp_path)
    assert len(runs.load(tmp_path, env=Match(5)).returns)


# ------------------------------------------------------------------------------- spaces


class Looks:
    discrete = dict(observation_space=spaces.Discrete(4), look=lambda self: self.t % 4)
    binary = dict(
        observation_space=spaces.MultiBinary(3),
        look=lambda self: np.array([self.x > 0, 0, 1], np.int8),
    )
    dictionary = dict(
        observation_space=spaces.Dict(a=spaces.Box(-1, 1, (1,)), b=spaces.Discrete(3)),
        look=lambda self: {"a": np.array([self.x], np.float32), "b": self.t % 3},
    )
    pair = dict(
        observation_space=spaces.Tuple((spaces.Box(-1, 1, (2, 1)), spaces.MultiDiscrete([2, 3]))),
        look=lambda self: (np.full((2, 1), self.x, np.float32), np.array([1, 2])),
    )


@pytest.mark.parametrize(
    "look, size", [("discrete", 4), ("binary", 3), ("dictionary", 4), ("pair", 7)]
)
@pytest.mark.parametrize("module", [reinforce, a2c, ppo])
def test_what_gymnasium_flattens_is_flattened(look, size, module):
    env = kind(**getattr(Looks, look))
    result = module.train(quick(module, env), progress=False)
    assert Collector(env, 2, 0).obs.shape == (2, size)
    assert np.isfinite(evaluate(result.policy, env, 2)).all()


PAIRS = dict(
    action_space=spaces.MultiDiscrete([2, 3], start=[0, 5]),
    pay=lambda self, act: 0.5 * ((act[0] == 1) == (self.x > 0)) + 0.5 * (act[1] == 7),
)
BITS = dict(
    action_space=spaces.MultiBinary((2, 2)),
    pay=lambda self, act: float(np.mean(act == np.array([[self.x > 0, 1], [0, 1]]))),
)


@pytest.mark.parametrize("env", [PAIRS, BITS])
def test_several_choices_at_once_are_learned(env):
    config = ppo.Config(env=kind(**env), total_steps=8_000, n_envs=8, n_steps=20, gamma=0.5)
    result = ppo.train(config, progress=False)
    assert evaluate(result.policy, config.env).mean() > 19.5  # of 20; by chance 8.3 and 10
    for module in (reinforce, a2c, a3c):
        extra = {"n_workers": 1} if module is a3c else {}
        module.train(quick(module, config.env, **extra), progress=False)


def test_several_choices_have_the_product_of_their_probabilities():
    """Against enumeration: over all pairs the probabilities sum to one, and give the entropy."""
    torch.manual_seed(0)
    actor = MultiCategoricalActor(2, [2, 3], (4,), (2,))
    for p in actor.parameters():
        torch.nn.init.normal_(p)
    obs = torch.randn(5, 2)
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    table = torch.stack([actor.evaluate(obs, pair.expand(5, 2))[0] for pair in pairs], dim=1)
    torch.testing.assert_close(table.exp().sum(1), torch.ones(5))
    ent = actor.evaluate(obs, pairs[:5])[1]
    torch.testing.assert_close(-(table.exp() * table).sum(1), ent)
    noise = actor.noise((20_000,), torch.Generator().manual_seed(0))
    drawn = actor.act(obs[:1].expand(20_000, 2), noise=noise)
    share = torch.stack([(drawn == pair).all(-1).float().mean() for pair in pairs])
    torch.testing.assert_close(share, table[0].exp(), atol=0.02, rtol=0)


def box(low, high):
    low, high = np.array(low, np.float32), np.array(high, np.float32)
    return kind(
        action_space=spaces.Box(low, high, dtype=np.float32),
        pay=lambda self, act: -float(np.square(np.clip(act, -9, 9) - 0.5 * self.x).sum()),
    )


HUGE = np.finfo(np.float32).max
UNUSABLE = [
    ([-np.inf], [np.inf]),
    ([-HUGE], [HUGE]),
    ([-1.0], [np.inf]),
    ([-1.0, -HUGE], [1.0, HUGE]),
]


@pytest.mark.parametrize("low, high", UNUSABLE)
def test_actions_without_usable_bounds(low, high):
    env = box(low, high)
    config = ppo.Config(env=env, total_steps=12_000, n_envs=8, n_steps=20, gamma=0.5)
    best = evaluate(ppo.train(config, progress=False).policy, env).mean()
    assert best > -1.0 * len(low)  # always 0: -5 for each dimension
    with pytest.raises(ValueError, match="between two bounds.*Kind"):
        sac.train(quick(sac, env), progress=False)


def test_bounds_are_used_where_they_are_bounds():
    bounds = Bounds(spaces.Box(np.array([-2, -HUGE], np.float32), np.array([4, HUGE], np.float32)))
    assert bounds.to_env(torch.tensor([[1.0, 3.0]])).tolist() == [[4.0, 3.0]]


@pytest.mark.parametrize(
    "attributes, words",
    [
        (dict(observation_space=spaces.Sequence(spaces.Box(-1, 1))), "flatten"),
        (dict(action_space=spaces.Text(3)), "Text"),
        (dict(action_space=spaces.Box(0, 3, (1,), dtype=np.int64)), "Box of real numbers"),
        (dict(action_space=spaces.Dict(a=spaces.Discrete(2))), "MultiDiscrete"),
    ],
)
def test_what_is_not_learned_is_refused_by_name(attributes, words):
    env = kind(**attributes, look=lambda self: self.observation_space.sample())
    with pytest.raises(ValueError, match=f"Kind: .*{words}"):
        make_vector(env, 2)


# ------------------------------------------------------------------------------- broken in every way


def raises(self, *_, **__):
    raise KeyError("lost")


BROKEN = [
    (
        dict(reset=lambda self, seed=None, options=None: np.zeros(1, np.float32)),
        "since version 0.26",
    ),
    (dict(reset=lambda self: (np.zeros(1, np.float32), {})), r"reset\(\) raised TypeError"),
    (dict(step=lambda self, act: (self.look(), 0.0, True, {})), "it returned 4 values"),
    (dict(step=lambda self, act: None), "it returned NoneType"),
    (dict(step=raises), r"step\(\) raised KeyError"),
    (dict(pay=lambda self, act: None), "reward must be a number.*None"),
    (dict(pay=lambda self, act: np.zeros(2)), "reward must be a number"),
    (dict(look=lambda self: np.zeros(3, np.float32)), "no element of Box"),
    (dict(look=lambda self: None), "no element of Box"),
    (dict(observation_space=None), "observation_space is None"),
    (dict(action_space=2), "action_space is 2"),
]


@pytest.mark.parametrize("attributes, words", BROKEN)
def test_what_breaks_the_rules_is_said_in_one_sentence(attributes, words):
    with pytest.raises(ValueError, match=f"Kind: .*{words}") as error:
        ppo.train(quick(ppo, kind(**attributes)), progress=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "env, words",
    [
        ("no_such_module:Env-v0", "no module 'no_such_module'"),
        ("Nothing-v3", "no environment 'Nothing-v3'"),
        (7, "expected an environment's id.*int"),
        (lambda: object(), "no gymnasium.Env"),
        (lambda size: Match(), "could not be made: TypeError"),
    ],
)
def test_what_makes_no_environment(env, words):
    with pytest.raises(ValueError, match=words):
        make_vector(env, 2)


# ------------------------------------------------------------------------------- nothing endless, nothing silent


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(envs, "LONGEST", 60)


@pytest.mark.parametrize("module", [reinforce, ppo])
def test_a_task_without_an_end_is_cut_and_said(module, short):
    endless = kind(
        __init__=lambda self, render_mode=None: Match.__init__(self, np.inf, render_mode)
    )
    with pytest.warns(UserWarning, match="Kind has no time limit; an episode was cut after 60"):
        result = module.train(quick(module, endless), progress=False)
        returns = evaluate(result.policy, endless, 3)
    assert (returns <= 60).all()


def test_a_task_with_an_end_of_its_own_is_left_alone(short, recwarn):
    collector = Collector(lambda: gym.wrappers.TimeLimit(Match(1000), 70), 1, 0)
    actor = ppo.train(quick(ppo, Match), progress=False).policy
    assert collector.collect_episodes(actor)["mask"].sum() == 70
    assert not [w for w in recwarn if "time limit" in str(w.message)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("what", ["observation", "reward"])
@pytest.mark.parametrize("module", [reinforce, a2c, ppo, a3c])
def test_the_first_bad_number_stops_training(bad, what, module, tmp_path):
    broken = {
        "observation": dict(look=lambda self: np.array([bad if self.t == 7 else 0.0], np.float32)),
        "reward": dict(pay=lambda self, act: bad if self.t == 7 else 0.0),
    }
    config = quick(module, kind(**broken[what]), **({"n_workers": 1} if module is a3c else {}))
    saver = runs.Saver(tmp_path, seconds=0)
    with pytest.raises(
        (ValueError, RuntimeError), match=f"Kind: the {what} is {bad} at .* step 1[0-9]"
    ):
        module.train(config, progress=False, callback=saver)
    assert not [*tmp_path.iterdir()]


def test_the_step_that_is_named_is_the_step():
    broken = kind(pay=lambda self, act: np.nan if self.t == 7 else 0.0)
    with pytest.raises(ValueError, match=r"at environment step 24 \(environment 0 of 3\)"):
        ppo.train(ppo.Config(env=broken, n_envs=3, n_steps=11), progress=False)  # 8 steps of 3


def test_a_loss_that_breaks_down_stops_training(tmp_path):
    def loss(logp, logp_old, adv, clip, mask=None):
        return logp.mean() * torch.tensor(np.nan)

    with pytest.raises(ValueError, match="policy_loss is nan after environment step"):
        ppo.train(quick(ppo, Match), loss=loss, progress=False, callback=runs.Saver(tmp_path, 0))
    assert not [*tmp_path.iterdir()]


def test_bad_weights_are_never_saved(tmp_path):
    def update(policy, optimizer, rollout, config, loss, generator):
        with torch.no_grad():
            next(policy.parameters()).fill_(np.inf)
        return {"policy_loss": 0.0}

    with pytest.raises(ValueError, match="policy.actor.net.0.weight holds inf"):
        ppo.train(
            quick(ppo, Match), update=update, progress=False, callback=runs.Saver(tmp_path, 0)
        )
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "module, changes",
    [
        (ppo, {"lr": -1}),
        (ppo, {"lr": np.nan}),
        (ppo, {"critic_lr": 0.0}),
        (ppo, {"gamma": 1.5}),
        (ppo, {"lam": -0.1}),
        (ppo, {"clip": 0.0}),
        (ppo, {"entropy_coef": -1.0}),
        (ppo, {"hidden": (8, 0)}),
        (ppo, {"n_steps": 2.5}),
        (ppo, {"n_envs": 0}),
        (ppo, {"seed": -1}),
        (ppo, {"max_grad_norm": 0}),
        (sac, {"tau": 2.0}),
        (sac, {"alpha": 0.0}),
        (sac, {"capacity": 100}),
        (sac, {"updates_per_step": -1.0}),
        (reinforce, {"baseline_lr": 0}),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(module, changes):
    (name,) = changes
    with pytest.raises(ValueError, match=f"expected {name} "):
        module.Config(**changes)


@pytest.mark.parametrize(
    "text, right",
    [
        ("critic_lr=0.01", 0.01),
        ("critic_lr=none", None),
        ("lr=1e-3", 1e-3),
        ("n_envs=3", 3),
        ("hidden=8,8", (8, 8)),
        ("target_kl=inf", np.inf),
    ],
)
def test_settings_by_command(text, right):
    assert runs.parse(ppo.Config, text) == {text.partition("=")[0]: right}


@pytest.mark.parametrize("text", ["n_envs=2.5", "lr=fast", "hidden=a", "env=CartPole-v1"])
def test_settings_of_another_kind_are_refused(text):
    with pytest.raises(ValueError, match="expected"):
        runs.parse(ppo.Config, text)
    with pytest.raises(ValueError, match="true or false"):
        runs.parse(a2c.Config, "normalize=maybe")


def test_an_environment_that_draws_from_the_global_generators_repeats():
    class Global(Match):
        def sign(self):
            import random

            return float(np.random.choice([-1.0, 1.0])) * random.choice([-1.0, 1.0])

    first, second = (ppo.train(quick(ppo, Global, seed=3), progress=False).policy for _ in range(2))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_animation_tells_the_whole_return(tmp_path, capsys):
    gym.register("test/Long-v0", kind(pay=lambda self, act: 1.0), kwargs={"steps": 30})
    policy = ppo.train(quick(ppo, "test/Long-v0"), progress=False).policy
    frames, total, steps = plots.record_episode(policy, "test/Long-v0", max_steps=10)
    assert (len(frames), total, steps) == (11, 30.0, 30)
    text = plots.animate(policy, "test/Long-v0", max_steps=10).data
    assert "return 30 (30 steps, the first 10 are shown)" in text


def test_the_help_says_what_is_refused(capsys):
    assert command("train", "--help") == 0
    said = re.sub(r"\W+", " ", capsys.readouterr().out)
    for word in ("MultiDiscrete", "MultiBinary", "module id", "SAC Box with bounds"):
        assert word in said
    assert json.loads(json.dumps(runs.keywords('{"g": 1}'))) == {"g": 1}
