"""Every algorithm on the five probes, twice with the same seed, and again from a checkpoint.

A probe that fails names the fault; see the table of `pgcourse.envs.Probe`.
"""

import pytest
import torch

from pgcourse import a2c, a3c, ppo, reinforce, sac
from pgcourse.estimators import gae

GAMMA = 0.5
SHORT = {"gamma": GAMMA, "hidden": (16,)}
CONFIG = {
    "reinforce": (reinforce, {"n_envs": 64, "total_steps": 12_000}),
    "baseline": (reinforce, {"n_envs": 64, "total_steps": 12_000, "baseline": True}),
    "a2c": (a2c, {"total_steps": 40_000, "n_steps": 8}),
    "ppo": (ppo, {"total_steps": 15_000, "n_steps": 8, "epochs": 4, "minibatches": 2}),
    "a3c": (a3c, {"total_steps": 40_000, "n_steps": 8, "n_envs": 16}),
    "sac": (sac, {"total_steps": 4_000, "warmup": 128}),
}


def train(name, env, **changes):
    """The trained policy, and what the recorder held when training ended."""
    module, settings = CONFIG[name]
    held = {}
    config = module.Config(env=env, **{**SHORT, **settings, **changes})
    result = module.train(config, progress=False, callback=lambda r: held.update(r.parts))
    return result, held


def value(name, held, obs):
    obs = torch.tensor([[obs]])
    with torch.no_grad():
        if name == "sac":
            return torch.minimum(*held["critic"](obs, torch.zeros(1, 1))).item()
        return (held["critic"] if name == "baseline" else held["policy"].critic)(obs).item()


def environment(name, number):
    return f"pgcourse/{'Continuous' if name == 'sac' else ''}Probe{number}-v0"


CRITICS = ["baseline", "a2c", "a3c", "ppo", "sac"]


@pytest.mark.parametrize("name", CRITICS)
def test_probe_1_the_critic_learns_a_constant(name):
    _, held = train(name, environment(name, 1))
    assert value(name, held, 0.0) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", CRITICS)
def test_probe_2_the_critic_sees_the_observation(name):
    _, held = train(name, environment(name, 2))
    for obs in (-1.0, 1.0):
        assert value(name, held, obs) == pytest.approx(obs, abs=0.1)


@pytest.mark.parametrize("name", CRITICS)
def test_probe_3_a_delayed_reward_is_discounted_once(name):
    _, held = train(name, environment(name, 3))
    slack = 0.1
    if name == "sac":  # its value also counts the entropy of the second step
        slack += GAMMA * held["temperature"]["log_alpha"].exp().item() * 2
        assert slack < 0.4
    assert value(name, held, 1.0) == pytest.approx(1.0, abs=0.1)
    assert value(name, held, 0.0) == pytest.approx(GAMMA, abs=slack)


@pytest.mark.parametrize("name", CONFIG)
@pytest.mark.parametrize("number", [4, 5])
def test_probes_4_and_5_the_actor_finds_the_right_action(name, number):
    result, _ = train(name, environment(name, number))
    for obs in (-1.0, 1.0) if number == 5 else (0.0,):
        act = result.policy.act(torch.tensor([[obs]]), deterministic=True).item()
        right = obs if number == 5 else 1.0
        if name == "sac":
            assert act == pytest.approx(0.5 * right, abs=0.15)
        else:
            assert act == (1 if right > 0 else 0)


@pytest.mark.parametrize("module", [a2c, ppo])
@pytest.mark.parametrize("number", [4, 5])
def test_a_gaussian_policy_finds_the_right_number(module, number):
    config = module.Config(
        env=f"pgcourse/ContinuousProbe{number}-v0", gamma=GAMMA, total_steps=40_000, log_std=-0.5
    )
    policy = module.train(config, progress=False).policy
    for obs in (-1.0, 1.0) if number == 5 else (0.0,):
        act = policy.act(torch.tensor([[obs]]), deterministic=True).item()
        assert act == pytest.approx(0.5 * (obs if number == 5 else 1.0), abs=0.2)


def test_one_step_actor_critic_finds_the_right_action():
    config = a2c.Config(env="pgcourse/Probe5-v0", gamma=GAMMA, total_steps=40_000)
    policy = a2c.train(config, step=a2c.actor_critic_step, progress=False).policy
    obs = torch.tensor([[-1.0], [1.0]])
    assert policy.act(obs, deterministic=True).tolist() == [0, 1]


def quick(name, **changes):
    module, settings = CONFIG[name]
    env = "Pendulum-v1" if name == "sac" else "CartPole-v1"
    changes = {"env": env, "total_steps": 1700, "seed": 3, **changes}  # an episode ends
    if name == "a3c":
        changes["n_workers"] = 1  # more than one are not repeatable, by design
    return module, module.Config(**changes)


@pytest.mark.parametrize("name", CONFIG)
def test_the_same_seed_gives_the_same_run_bit_for_bit(name):
    module, config = quick(name)
    torch.manual_seed(123)  # whatever the global state was
    first = module.train(config, progress=False)
    second = module.train(config, progress=False)
    assert first.returns.tolist() == second.returns.tolist()
    for a, b in zip(first.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["reinforce", "ppo", "sac"])
def test_another_seed_gives_another_run(name):
    module, config = quick(name)
    _, other = quick(name, seed=4)
    runs = [module.train(c, progress=False) for c in (config, other)]
    assert runs[0].returns.tolist() != runs[1].returns.tolist()


def test_the_learners_pieces_are_the_ones_that_are_used():
    """Each argument of each train is called, and what it returns matters."""
    for name in ("reinforce", "baseline", "a2c", "ppo", "sac"):
        module, config = (
            quick(name, total_steps=600, baseline=True)
            if name == "baseline"
            else (quick(name, total_steps=1100))
        )
        pieces = {
            key: default
            for key, default in zip(
                module.train.__code__.co_varnames[1:], module.train.__defaults__, strict=False
            )
            if callable(default)
        }
        if name != "baseline":
            pieces.pop("value_loss", None), pieces.pop("normalize", None)
            pieces = {k: f for k, f in pieces.items() if (name, k) != ("reinforce", "advantage")}
        else:
            config.normalize = True
        for key, piece in pieces.items():
            calls = []

            def spy(*args, piece=piece, calls=calls, **keywords):
                calls.append(1)
                return piece(*args, **keywords)

            module.train(config, progress=False, **{key: spy})
            assert calls, f"{name}: {key} was never called"


def test_truncation_matters_to_the_loop():
    """Pendulum never terminates, only runs out of time: a loop that mixes the two up is caught."""
    seen = []

    def spy(rew, val, next_val, terminated, ended, gamma, lam):
        seen.append((terminated.any().item(), ended.any().item()))
        return gae(rew, val, next_val, terminated, ended, gamma, lam)

    config = ppo.Config(env="Pendulum-v1", n_steps=250, total_steps=8_000, epochs=1)
    ppo.train(config, advantage=spy, progress=False)
    assert seen and set(seen) == {(False, True)}  # in every rollout
