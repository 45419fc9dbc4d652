# The two commands of the README, and a few for the people who work on the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all

.PHONY: run test browser-test chromium test-processes test-gpu test-published test-estimate faults cluster-test slurm test-sample bench look scores lint lock clean

run: $(VENV)/ready
	$(BIN)/snakemake --cores $(CORES) --quiet rules
	@$(BIN)/python -m pipeline scores
	@echo "pictures: data/runs/toy/report/"
	@echo "gallery, for a browser: file://$(CURDIR)/data/runs/toy/gallery/index.html"

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest

# The gallery in a Chromium; `make test` holds it where there is one. Installed where apt-get may.
browser-test: $(VENV)/ready-dev chromium
	$(BIN)/python -m pytest -m browser tests/browser

chromium:
	@command -v chromium chromium-browser google-chrome > /dev/null || { apt-get update --quiet && \
	apt-get install --quiet --yes --no-install-recommends chromium fonts-dejavu-core; } > chromium.log 2>&1 || \
	{ tail -3 chromium.log; echo "no Chromium, and none can be installed: the browser tests will not run"; }
	@rm -f chromium.log

# Every training stage and every strategy on two processes, about ten minutes on two cores; one case is in `make test`.
test-processes: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m "processes or not processes" tests/stages/test_processes.py

# Every stage with a network in every variant, predict and the benchmarks on a pretended GPU; two cases are in `make test`.
test-gpu: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m "gpu or not gpu" tests/gpu

# Every training at the papers' sizes, 800 x 1333 pixels, one after the other: a job takes up to 10 GB.
test-published: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m published --numprocesses 1

# Estimated and real time of a run of four times the scenes, a few minutes on two cores that do nothing else.
test-estimate: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m estimate --numprocesses 0 tests/pipeline/estimate

# Kills, power cuts, flipped bits, mutated files. FAULTS=1000 make faults takes a night, FAULTS_SEED=7 other cases.
faults: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m faults tests/faults

# A few cases of these four, others with every commit.
SAMPLE ?= 3
test-sample: $(VENV)/ready-dev
	FAULTS=$${FAULTS:-4} $(BIN)/python -m pytest -m "published or processes or gpu or faults" --numprocesses 1 --sample $(SAMPLE) --sample-seed "$$(git rev-parse HEAD)"

# The miniature through profiles/slurm on a real Slurm of one node: jobs cancelled, out of time, out of memory; ten minutes on two
# cores. As root; installed where apt-get may.
SLURM := slurmctld slurmd slurmdbd slurm-client munge mariadb-server
cluster-test: $(VENV)/ready-dev slurm
	$(BIN)/python -m pytest -rs -m cluster tests/cluster --numprocesses 1

slurm:
	@(for program in slurmctld slurmd slurmdbd sbatch munged mariadbd; do command -v $$program || exit 1; done) > /dev/null || { apt-get update --quiet && \
	DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $(SLURM); } > slurm.log 2>&1 || \
	{ tail -3 slurm.log; echo "no Slurm, and none can be installed: the test of the cluster will not run"; }
	@rm -f slurm.log

# Every row of the benchmarks, about half an hour on two cores; some: make bench ONLY="gradcam nouns"
bench: $(VENV)/ready
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

look: $(VENV)/ready
	$(BIN)/snakemake --cores $(CORES) --quiet rules --until report
	@ls -1 data/runs/toy/report/*.png

scores: $(VENV)/ready
	@$(BIN)/python -m pipeline scores

lint: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile
	$(BIN)/snakemake --lint

# One stamp says that the environment holds what requirements.lock says, the other that it holds tests and lint, too.
# Nothing is installed whose digest is not in a lock; requirements-build.lock is what builds the packages without a wheel.
INSTALL := $(BIN)/python -m pip install --quiet --require-hashes --no-build-isolation --use-pep517

$(VENV)/ready: requirements-build.lock requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: apt-get install python3-venv"; exit 1; }
	$(INSTALL) --requirement requirements-build.lock
	$(INSTALL) --requirement requirements.lock
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.lock
	$(INSTALL) --requirement requirements-dev.lock
	@touch $@

# The locks, made anew from the lists: after a version of theirs was changed. Without a change to them nothing is upgraded.
UV ?= uv
COMPILE := $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock"

lock:
	$(COMPILE) requirements.txt --output-file requirements.lock
	$(COMPILE) requirements.txt requirements-dev.txt --constraint requirements.lock --output-file requirements-dev.lock
	echo setuptools | $(COMPILE) - --constraint requirements.lock --output-file requirements-build.lock

clean:
	rm -rf $(VENV) .snakemake logs data/runs data/actions data/store data/scratch data/locks data/configs data/cache data/toy
