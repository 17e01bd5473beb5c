"""A real JupyterHub, to the end: two students fetch, work, validate, submit; a teacher grades; they read it.

Not part of the suite: it makes users and takes minutes. As root on a machine that may be thrown away, with jupyterhub,
this project and its extra `lab` in one environment, and configurable-http-proxy (npm) on the PATH:

    /opt/course/bin/python tests/hub.py

Students go through the hub's proxy and their own servers alone; the teacher uses commands. It ends with `all right`,
and removes the users.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import requests

from pgcourse.checks import get
from pgcourse.classroom.students import text_of

LESSON = "01_policy_gradient_theorem"
TEACHER, STUDENTS = "hubteacher", {"hubada": True, "hubbob": False}  # whether all answers are right
BIN = Path(sys.executable).parent
ETC = BIN.parent / "etc" / "jupyter"
HUB = "http://127.0.0.1:8765"
TOKEN = secrets.token_hex(16)
CONFIG = f"""
c = get_config()
c.JupyterHub.bind_url = {HUB!r}
c.JupyterHub.hub_port = 8766
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:8767"
c.JupyterHub.authenticator_class = "dummy"  # a real hub: PAM, LDAP, OAuth …
c.DummyAuthenticator.password = {TOKEN!r}
c.Authenticator.allow_all = True
c.Spawner.default_url = "/lab"
c.Spawner.start_timeout = c.Spawner.http_timeout = 180
c.Spawner.environment = {{"PGCOURSE_FAST": "1"}}  # short training; here alone
c.JupyterHub.services = [dict(name="script", api_token={TOKEN!r})]
c.JupyterHub.load_roles = [
    dict(name="script", services=["script"], scopes=["admin:users", "admin:servers", "access:servers"])
]
"""


def main():
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-")))
        place.chmod(0o755)
        for name in (TEACHER, *STUDENTS):
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True)
            stack.callback(remove, name)
        stack.enter_context(site(place))
        stack.enter_context(hub(place))
        release()
        for name, right in STUDENTS.items():
            hand_in(name, right)
        grade()
        for name, right in STUDENTS.items():
            read(name, right)
        others_cannot_look()
    print("all right")


def remove(name):
    subprocess.run(["pkill", "-u", name])
    time.sleep(1)
    subprocess.run(["userdel", "--remove", name], stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def site(place):
    """What the guide says is installed once for all: the exchange, and nbgrader's configuration."""
    exchange = place / "exchange"
    exchange.mkdir()
    exchange.chmod(0o1777)
    path = ETC / "nbgrader_config.py"
    lines = ["c = get_config()", f"c.Exchange.root = {str(exchange)!r}", "c.Execute.timeout = 600"]
    path.write_text("\n".join(lines) + "\n")
    yield
    path.unlink()


@contextlib.contextmanager
def hub(place):
    (place / "hub").mkdir(mode=0o700)
    (place / "hub" / "jupyterhub_config.py").write_text(CONFIG)
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    log = place / "hub" / "log"
    with open(log, "w") as file:
        process = subprocess.Popen(
            [BIN / "jupyterhub"], cwd=place / "hub", env=env, stdout=file, stderr=file
        )
    try:
        until(lambda: requests.get(f"{HUB}/hub/api").ok, "the hub answers")
        yield
    except BaseException:
        print(log.read_text()[-8000:])
        raise
    finally:
        process.terminate()
        process.wait(300)


def until(ready, what, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(requests.ConnectionError):
            if found := ready():
                return found
        time.sleep(1)
    raise TimeoutError(what)


def api(method, path, **more):
    headers = {"Authorization": f"token {TOKEN}"}
    answer = requests.request(method, HUB + path, headers=headers, timeout=900, **more)
    assert answer.ok, (method, path, answer.status_code, answer.text[:2000])
    return answer.json() if answer.text else None


def as_user(name, *command, folder="~", right=True):
    """Run a command as somebody who logged in; returns what it said."""
    line = f"cd {folder} && PATH={BIN}:$PATH {' '.join(command)}"
    done = subprocess.run(
        ["su", "-", name, "-c", line], capture_output=True, text=True, timeout=900
    )
    print(f"{name}: {' '.join(command)}", *done.stdout.splitlines()[-1:], sep="\n    ")
    assert (done.returncode == 0) == right, done.stdout + done.stderr
    return done.stdout + done.stderr


def release():
    as_user(TEACHER, "pgcourse", "classroom", "new", "ppo-course", "--lesson", LESSON)
    as_user(TEACHER, "nbgrader", "release_assignment", LESSON, folder="~/ppo-course")


def hand_in(name, right):
    """Through the student's own server: what the buttons of nbgrader's Assignment List and Validate call."""
    api("POST", f"/hub/api/users/{name}")
    api("POST", f"/hub/api/users/{name}/server")
    until(lambda: api("GET", f"/hub/api/users/{name}")["server"], f"{name}'s server")
    mine, about = f"/user/{name}", {"course_id": "ppo-course", "assignment_id": LESSON}
    assert api("GET", f"{mine}/courses")["value"] == ["ppo-course"]
    done = api("POST", f"{mine}/assignments/fetch", data=about)
    assert done["success"], done
    path = f"{LESSON}/{LESSON}.ipynb"
    nb = nbformat.from_dict(api("GET", f"{mine}/api/contents/{path}")["content"])
    for cell in nb.cells:
        cell_about = cell.metadata.get("nbgrader", {})
        if cell_about.get("solution") and (right or cell_about["grade_id"] == "softmax"):
            cell.source = text_of(get(cell_about["grade_id"]).reference, cell_about["grade_id"])
    content = {"type": "notebook", "format": "json", "content": nb}
    api("PUT", f"{mine}/api/contents/{path}", data=json.dumps(content))
    valid = api("POST", f"{mine}/assignments/validate", data={"path": path})
    assert valid["success"], valid
    failed = valid["value"].get("failed", [])
    assert bool(failed) != right, valid
    print(f"{name}: validated, {len(failed)} failed")
    as_user(name, "pgcourse", "progress", "--yes")
    done = api("POST", f"{mine}/assignments/submit", data=about)
    assert done["success"], done


def grade():
    class_ = {"folder": "~/ppo-course"}
    as_user(TEACHER, "nbgrader", "collect", LESSON, **class_)
    said = as_user(TEACHER, "pgcourse", "grade", ".", LESSON, **class_)
    assert "Warning" not in said and "NOT ISOLATED" not in said
    as_user(TEACHER, "pgcourse", "report", ".", LESSON, **class_)
    as_user(TEACHER, "nbgrader", "generate_feedback", LESSON, **class_)
    as_user(TEACHER, "nbgrader", "release_feedback", LESSON, **class_)


def read(name, right):
    mine, about = f"/user/{name}", {"course_id": "ppo-course", "assignment_id": LESSON}
    done = api("POST", f"{mine}/assignments/fetch_feedback", data=about)
    assert done["success"], done
    (folder,) = api("GET", f"{mine}/api/contents/{LESSON}/feedback")["content"]
    (page,) = api("GET", f"{mine}/api/contents/{folder['path']}")["content"]
    text = api("GET", f"{mine}/api/contents/{page['path']}")["content"]
    assert "✓ softmax" in text and ("✓ grad_log_softmax" in text) == right
    print(f"{name}: reads {page['path']}")


def others_cannot_look():
    """The seed, the grades, the source and a classmate's work are closed to a student."""
    for path in (
        f"~{TEACHER}/ppo-course/nbgrader_config.py",
        f"~{TEACHER}/ppo-course/gradebook.db",
    ):
        as_user(next(iter(STUDENTS)), "cat", path, right=False)


if __name__ == "__main__":
    main()
