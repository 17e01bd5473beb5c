# make lab      JupyterLab with the first lesson      make lab ARGS=--no-browser   on a server
# make test     everything that CI checks             make test ARGS="-k build"    a part of it
# make grade    grade the example class               make bench                   side by side with the peers
# make site     the solved lessons as pages in site/
#
# Each of them first makes .venv, once. Your own Python: make lab PYTHON=python3.12
# torch alone from another index: make lab TORCH_INDEX=<address of the CPU builds>      more for pip: PIP_ARGS=…
# every file but torch's held to its hash: make lab HASHES=1      versions held by another file: CONSTRAINTS=…
# In a terminal pip shows its downloads; in a log it is quiet.

PYTHON ?=
ARGS ?=
PIP_ARGS ?=
TORCH_INDEX ?=
HASHES ?=
CONSTRAINTS ?= constraints.txt
# never an activated environment's packages or kernels; .venv's programs (nbgrader calls alembic by name) first
RUN = env -u PYTHONPATH -u PYTHONHOME -u JUPYTER_PATH JUPYTER_PREFER_ENV_PATH=1 PATH="$$PWD/.venv/bin:$$PATH"

.PHONY: lab test grade bench site setup

lab: setup
	@root=; if [ "$$(id -u)" = 0 ]; then root=--allow-root; fi; \
	exec $(RUN) python -m jupyterlab $$root \
	  --LabApp.app_settings_dir="$$PWD/pgcourse/data/jupyterlab" \
	  --LabApp.default_url=/lab/tree/course/01_policy_gradient_theorem.ipynb $(ARGS)

test: setup
	@exec $(RUN) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

grade: setup
	@exec $(RUN) python -m pgcourse.cli classroom example $(ARGS)

site: setup
	@exec $(RUN) python -m pgcourse.cli site $(ARGS)

bench: setup
	@exec $(RUN) python -m pgcourse.cli bench $(ARGS)

# .venv/.ready is written last and names what was installed and where: a set-up that failed, was interrupted,
# was moved, or is older than pyproject.toml or constraints.txt is not believed.
setup:
	@key="$$(pwd) $$(cat pyproject.toml $(CONSTRAINTS) | cksum)"; \
	was="$$(cat .venv/.ready 2>/dev/null)"; \
	if [ "$$was" = "$$key" ] && .venv/bin/python -c '' 2>/dev/null; then exit 0; fi; \
	trap 'exit 130' INT TERM HUP; \
	case "$$was" in "$$(pwd) "*) .venv/bin/python -c '' 2>/dev/null || was= ;; *) was= ;; esac; \
	if [ -n "$$was" ]; then \
	  echo "pgcourse: pyproject.toml or constraints.txt changed, bringing .venv up to date"; \
	  trap 'printf "%s" "$$was" > .venv/.ready' EXIT; rm -f .venv/.ready; \
	else \
	  python=; seen=; \
	  for p in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
	    v="$$($$p -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" || continue; \
	    seen="$$seen $$p ($$v)"; \
	    if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python="$$p"; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "pgcourse needs Python 3.11 or newer; found:$${seen:- none}."; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; \
	  fi; \
	  if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "$$python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; \
	  fi; \
	  echo "pgcourse: making .venv with $$python $$v (once; it downloads 360 MB with the CPU build of torch, gigabytes with others)"; \
	  trap 'rm -rf .venv' EXIT; rm -rf .venv; \
	  $$python -m venv .venv || exit 1; \
	fi; \
	quiet=--quiet; if [ -t 1 ]; then quiet=; fi; \
	pip() { $(RUN) python -m pip install $$quiet --disable-pip-version-check --no-input "$$@"; }; \
	torch="$$(grep '^torch==' $(CONSTRAINTS))"; \
	if ! { [ -z "$(TORCH_INDEX)" ] || pip --no-deps --index-url "$(TORCH_INDEX)" "$$torch"; } || \
	   ! { [ -z "$(HASHES)" ] || pip --no-deps --require-hashes -r constraints.hashes.txt; } || \
	   ! pip -c $(CONSTRAINTS) $(PIP_ARGS) -e '.[dev]'; then \
	  echo "pgcourse: the installation failed (the reason is above); nothing half-made was kept."; exit 1; \
	fi; \
	trap - EXIT; printf '%s' "$$key" > .venv/.ready
