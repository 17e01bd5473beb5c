"""What is compared: each row names its task, our settings and the peer's, all written out.

`tuned`: each side with the settings that its own project found for the task.
`ours` / `theirs`: both sides with our settings / with the peer's; what is left is the code.
"""

# rl-baselines3-zoo, hyperparams/*.yml, as of Stable-Baselines3 2.7
ZOO = {
    "ppo CartPole-v1": {
        "algo": "PPO",
        "n_envs": 8,
        "n_steps": 32,
        "batch_size": 256,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "n_epochs": 20,
        "ent_coef": 0.0,
        "learning_rate": "linear 0.001",
        "clip_range": "linear 0.2",
        "total_steps": 100_000,
    },
    "a2c CartPole-v1": {"algo": "A2C", "n_envs": 8, "ent_coef": 0.0, "total_steps": 500_000},
    "ppo Pendulum-v1": {
        "algo": "PPO",
        "n_envs": 4,
        "n_steps": 1024,
        "gae_lambda": 0.95,
        "gamma": 0.9,
        "n_epochs": 10,
        "ent_coef": 0.0,
        "learning_rate": 1e-3,
        "clip_range": 0.2,
        "use_sde": True,
        "sde_sample_freq": 4,
        "total_steps": 100_000,
    },
    "sac Pendulum-v1": {"algo": "SAC", "n_envs": 1, "learning_rate": 1e-3, "total_steps": 20_000},
}


def as_ours(algo, config):
    """Our settings in the peer's words."""
    words = {
        "algo": algo.upper(),
        "n_envs": config.n_envs,
        "gamma": config.gamma,
        "total_steps": config.total_steps,
        "net_arch": list(config.hidden),
    }
    if algo == "sac":
        return words | {
            "learning_rate": config.lr,
            "batch_size": config.batch,
            "tau": config.tau,
            "train_freq": config.n_steps,
            "gradient_steps": max(
                1, round(config.updates_per_step * config.n_envs * config.n_steps)
            ),
            "learning_starts": config.warmup,
            "buffer_size": config.capacity,
        }
    words |= {
        "n_steps": config.n_steps,
        "gae_lambda": config.lam,
        "ent_coef": config.entropy_coef,
        "max_grad_norm": config.max_grad_norm,
    }
    if algo == "a2c":
        return words | {
            "learning_rate": config.actor_lr,
            "critic_lr": config.critic_lr,
            "normalize_advantage": config.normalize,
            "use_rms_prop": False,
        }
    return words | {
        "learning_rate": config.lr,
        "critic_lr": config.critic_lr or config.lr,
        "n_epochs": config.epochs,
        "batch_size": config.n_envs * config.n_steps // config.minibatches,
        "clip_range": config.clip,
        "vf_coef": config.value_coef,
        "log_std_init": config.log_std,
    }


# the peer's settings in our words
AS_THEIRS = {
    "ppo CartPole-v1": {
        "n_envs": 8,
        "n_steps": 32,
        "epochs": 20,
        "minibatches": 1,
        "lr": 1e-3,
        "critic_lr": None,
        "gamma": 0.98,
        "lam": 0.8,
        "hidden": (64, 64),
        "max_grad_norm": 0.5,
        "total_steps": 100_000,
    },
    "sac Pendulum-v1": {
        "n_envs": 1,
        "n_steps": 1,
        "updates_per_step": 1.0,
        "batch": 256,
        "hidden": (256, 256),
        "lr": 1e-3,
        "tau": 0.005,
        "gamma": 0.99,
        "actor_every": 1,
        "warmup": 100,
        "reward_scale": 1.0,
        "total_steps": 20_000,
    },
}

# Tianshou's own example of PPO on CartPole-v1 (test/discrete/test_ppo_discrete.py, version 2)
TIANSHOU_PPO = {
    "n_envs": 20,
    "n_steps": 100,
    "hidden": (64, 64),
    "lr": 3e-4,
    "epochs": 10,
    "batch": 64,
    "total_steps": 500_000,
    "algorithm": {
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "eps_clip": 0.2,
        "vf_coef": 0.5,
        "ent_coef": 0.0,
        "max_grad_norm": 0.5,
        "advantage_normalization": False,
    },
}

SB3, SBX = "Stable-Baselines3", "SBX"  # SBX: Stable-Baselines3's algorithms in JAX, compiled
TIANSHOU, TEXTBOOK = "Tianshou", "textbook"

# terms, algorithm, task, peer, target ratio; the textbook's REINFORCE is `pgcourse.bench.plain`
ROWS = [
    ("tuned", "ppo", "CartPole-v1", SB3, 10),
    ("tuned", "ppo", "CartPole-v1", TIANSHOU, 10),
    ("tuned", "a2c", "CartPole-v1", SB3, 10),
    ("tuned", "ppo", "Pendulum-v1", SB3, 10),
    ("tuned", "sac", "Pendulum-v1", SB3, 15),
    ("ours", "ppo", "CartPole-v1", SB3, 8),
    ("ours", "a2c", "CartPole-v1", SB3, 8),
    ("ours", "sac", "Pendulum-v1", SB3, 3),
    ("theirs", "ppo", "CartPole-v1", SB3, 3),
    ("theirs", "sac", "Pendulum-v1", SB3, 1.6),
    ("tuned", "reinforce", "CartPole-v1", TEXTBOOK, 8),
    ("tuned", "baseline", "CartPole-v1", None, None),
    ("tuned", "a3c", "CartPole-v1", None, None),
    ("tuned", "ppo", "Acrobot-v1", None, None),
]

# at steady state, on the peer's settings: algorithm, task, steps before the first update, and the steps
# from where to where it is measured (of PPO whole rollouts)
STEADY = [
    ("sac", "Pendulum-v1", (100, 500, 2_000)),
    ("ppo", "CartPole-v1", (0, 1_024, 1_024 + 40 * 256)),
]


def our_config(terms, algo, env, seed):
    """Our module and configuration for one row and seed."""
    from pgcourse.runs import algorithm

    changes = {"seed": seed}
    if algo == "baseline":
        algo, changes = "reinforce", {**changes, "baseline": True}
    if terms == "theirs":
        changes |= AS_THEIRS[f"{algo} {env}"]
    module = algorithm(algo)
    return module, module.Config.tuned(env, **changes)


def their_settings(terms, algo, env):
    """The peer's settings for one row."""
    if terms == "ours":
        return as_ours(algo, our_config("tuned", algo, env, 0)[1])
    return dict(ZOO[f"{algo} {env}"])
