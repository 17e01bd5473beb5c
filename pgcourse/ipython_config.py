"""Installed as etc/ipython/ipython_config.py of the environment: every kernel loads pgcourse.notebook."""

c = get_config()  # noqa: F821  IPython defines it
c.InteractiveShellApp.extensions.append("pgcourse.notebook")
