# make run   reconstructs the default sample, from Geant4 to tables and pictures
# make test  runs the tests
# Both set up what they need in .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(abspath $(VENV))/bin
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
# Where a production goes: make run RESULTS=other
RESULTS ?= results
# Where the documentation goes: make docs SITE=site/0.9
SITE ?= build/site
INTO   := --config $(if $(filter-out results,$(RESULTS)),'results=$(RESULTS)')
WHERE  := $(if $(findstring --config ,$(ARGS)),,$(if $(filter-out results,$(RESULTS)),$(INTO)))
# The exact versions, of dependencies of dependencies too.
LOCK    = envs/lock-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
# Bytecode is made on all cores, which pip does on one: a job that compiles what it imports takes seconds longer.
COMPILE := $(BIN)/python -m compileall -q
BYTECODE := $(COMPILE) -j 0 -x '/tests/|/testing/_internal/' $(VENV)/lib && $(COMPILE) lartpc
# One thread per process: spinning OpenMP threads of several processes slow each other down.
PYTEST := PATH="$(BIN):$$PATH" OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/pytest

.PHONY: help image fuzz sanitize install run train-demo test test-slow test-slurm test-drills test-all check format docs docs-versions schema clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(STAMP) ## make the environment in .venv

# torch goes first and alone, so that nothing else chooses its build.
$(STAMP): pyproject.toml $(wildcard envs/lock-*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	    || { echo 'lartpc needs Python 3.11 to 3.13: make PYTHON=/path/to/python3.11 ...'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' $(LOCK))"
	$(PIP) --constraint $(LOCK) --editable '.[all]'
	-$(BYTECODE)
	@touch $(STAMP)

# What the tests and checks need besides.
$(DEV): $(STAMP)
	$(PIP) --constraint $(LOCK) --editable '.[dev]'
	-$(BYTECODE)
	@touch $(DEV)

# A run that was killed leaves Snakemake's lock: it goes when that run is proved to be dead, on whatever machine it was.
# Two at once for the same results wait for each other. On terminals there is a bar of jobs (profiles/local).
# Of several --config, Snakemake takes the last only.
run: $(STAMP) ## reconstruct the default sample: tables in results/dataset, pictures in results/report.html
	@$(COMPILE) lartpc || true
	@mkdir -p '$(RESULTS)'
	@flock --nonblock '$(RESULTS)/.lock' true || echo 'another run is at work in $(RESULTS); waiting for it to end'
	@PATH="$(BIN):$$PATH" flock --close '$(RESULTS)/.lock' \
	    sh -c 'lartpc unlock "$$0" --pid $$$$ && exec snakemake "$$@"' '$(RESULTS)' $(WHERE) \
	    --quiet $(if $(filter -n --dry-run,$(ARGS)),,progress) rules host --profile profiles/local $(if $(WHERE),$(ARGS),$(subst --config ,$(INTO) ,$(ARGS)))

train-demo: ## the same with networks trained anew, briefly, on the default sample
	@$(MAKE) --no-print-directory run ARGS="--configfile config/train_demo.yaml $(ARGS)"

test: $(DEV) ## run the tests (minutes; those that take longer are in test-slow)
	$(PYTEST) -n 2 --dist loadfile -m "not slow and not slurm" $(ARGS)

ROOMS := $(subst $() ,:,$(wildcard tests/unit/*))

fuzz: $(DEV) ## read files that are changed at random: CASES of each reader (10000: an hour or more), and go on where it was ended
	PYTHONPATH=tests:$(ROOMS) OMP_NUM_THREADS=1 $(BIN)/python -m fuzz.long --cases $(or $(CASES),10000) $(ARGS)

# -O0: with -O3 the compilation takes an hour. The compilers' own libraries go first. Python does not give back what it holds at its end: leaks are not looked for.
KERNEL_TESTS := $(addprefix tests/unit/kernels/test_,losses.py links.py partition.py kinematics.py sparse.py block.py bf16.py messages.py rowwise.py compiled_images.py compiled_graphs.py) \
    -k "not (start_at_once or damaged_build or importing_compiles or spconv)"
SANITIZED := LARTPC_LONGEST_BUILD_S=3600 LARTPC_BUILD_OPTIONS=-O0 XDG_CACHE_HOME=$(abspath build/sanitized) \
    CXX='g++ -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined' \
    LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0:halt_on_error=1
# Libraries that are not compiled for it, torch and Python, are not looked at. -D: built anew when the file changes.
THREADS := $(abspath tests/sanitize/openmp.cpp)
RACES := LARTPC_LONGEST_BUILD_S=3600 LARTPC_BUILD_OPTIONS=-O0 XDG_CACHE_HOME=$(abspath build/sanitized) \
    CXX="g++ -g -fno-omit-frame-pointer -fsanitize=thread -DOPENMP=$$(cksum < '$(THREADS)' | cut -d' ' -f1) '$(THREADS)'" \
    LD_PRELOAD="$$(g++ -print-file-name=libtsan.so) $$(g++ -print-file-name=libstdc++.so)" \
    TSAN_OPTIONS=halt_on_error=1:ignore_noninstrumented_modules=1

sanitize: $(DEV) ## run the tests of the compiled kernels under the sanitizers of addresses, undefined behaviour and threads
	$(SANITIZED) $(PYTEST) $(KERNEL_TESTS) $(ARGS)
	$(RACES) $(PYTEST) $(KERNEL_TESTS) $(ARGS)

test-slow: $(DEV) ## run the long tests
	$(PYTEST) -m "slow and not slurm" $(ARGS)

test-slurm: $(DEV) ## run the tests on a SLURM of their own (Debian's packages, as root)
	$(PYTEST) -m "slurm and not slow" $(ARGS)

test-drills: $(DEV) ## run the failure drills on that SLURM (an hour)
	$(PYTEST) -m "slurm and slow" $(ARGS)

test-all: test test-slow test-slurm test-drills ## run all tests

check: $(DEV) ## format, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PATH="$(BIN):$$PATH" $(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules

format: $(DEV) ## write the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	PATH="$(BIN):$$PATH" $(BIN)/snakefmt Snakefile workflow/Snakefile workflow/rules

docs: $(DEV) ## build the site of the documentation: build/site/index.html
	PATH="$(BIN):$$PATH" $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -d build/doctrees docs $(SITE)

docs-versions: $(DEV) ## the same for each release (git tags v...) and the checkout: build/versions/index.html
	PATH="$(BIN):$$PATH" $(BIN)/python docs/versions.py

# Apptainer reads lartpc.def; buildah and docker the Dockerfile, and an image of theirs becomes lartpc.sif elsewhere.
image: ## build the container image: lartpc.sif where Apptainer is; GPU=1 with CUDA
	@if command -v apptainer > /dev/null; then \
	    apptainer build --build-arg gpu=$(or $(GPU),0) lartpc.sif envs/lartpc.def; \
	elif command -v buildah > /dev/null; then \
	    buildah bud --isolation chroot --build-arg GPU=$(or $(GPU),0) --file envs/Dockerfile --tag lartpc . \
	        && echo 'built localhost/lartpc; buildah push localhost/lartpc docker-archive:lartpc.tar, and where Apptainer is:' \
	        && echo 'apptainer build lartpc.sif docker-archive://lartpc.tar'; \
	elif command -v docker > /dev/null; then \
	    docker build --build-arg GPU=$(or $(GPU),0) --file envs/Dockerfile --tag lartpc .; \
	else echo 'no apptainer, buildah or docker is here; install one of them' >&2; exit 1; fi

schema: $(STAMP) ## write the configuration's schema and its table in config/README.md
	$(BIN)/lartpc config schema > workflow/schemas/config.schema.json
	$(BIN)/lartpc config table > config/README.md

clean: ## remove the environment; results stay
	rm -rf $(VENV)
