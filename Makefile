# Verbs for people. Each is one line over hack/; CI runs hack/test itself.
.DEFAULT_GOAL := help
.PHONY: help sync check test unit fuzz protocol cluster kubernetes bench gen measure

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

sync: ## make .venv from the lock
	@bash -c '. hack/lib.sh && prepare_environment dev'

check: ## ruff, mypy, import contracts, generated files, shellcheck
	@./hack/test check

test: ## everything
	@./hack/test

unit: ## the pure parts
	@./hack/test unit

fuzz: ## the corpus and random clients, for minutes
	@./hack/test fuzz

bench: ## this broker beside Mosquitto, in one run
	@./hack/bench

protocol: ## one real broker, real clients
	@./hack/test protocol

cluster: ## several brokers on real Redis, with faults
	@./hack/test cluster

kubernetes: ## a real API server: the definitions and what they refuse
	@./hack/test kubernetes

gen: sync ## write the CRDs, the state diagram and the clause table again
	@.venv/bin/python hack/gen_crds.py
	@.venv/bin/python hack/rbac.py
	@.venv/bin/python hack/gen_boards.py
	@.venv/bin/python hack/gen_manifests.py
	@.venv/bin/python hack/state_diagram.py
	@.venv/bin/python hack/clauses.py --markdown

measure: sync ## lines, functions and docstrings per package
	@.venv/bin/python hack/measure.py
