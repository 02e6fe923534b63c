# Every target is one command. A Docker engine is used where one runs; elsewhere e2e/cluster.sh brings one along.
SHELL := /bin/bash
IMAGE ?= packet-capture:dev
CLUSTER ?= packet-capture
PREFIX ?= $(HOME)/.local
KUBECTL := e2e/kubectl.sh
export CLUSTER

.PHONY: help docker-build cluster kind-load deploy undeploy install-plugin test-pod check test-root e2e test demo demo-down clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

docker-build: ## the image
	e2e/cluster.sh build $(IMAGE)

cluster: ## a Kind cluster, $(CLUSTER)
	e2e/cluster.sh up $(CLUSTER)

kind-load: ## the image into the cluster's nodes
	e2e/cluster.sh load $(CLUSTER) $(IMAGE)

deploy: ## packet-capture into the cluster, or a new image of it; that ends all captures
	e2e/deploy.sh

undeploy: ## removes packet-capture from the cluster, and all captures with it
	$(KUBECTL) delete --ignore-not-found -f daemonset.yaml

install-plugin: ## kubectl packet-capture, for this user; PREFIX=/usr/local for all
	mkdir -p $(PREFIX)/bin && install -m 755 kubectl-packet_capture $(PREFIX)/bin
	@[[ :$$PATH: == *:$(PREFIX)/bin:* ]] || echo "kubectl does not find it yet: put $(PREFIX)/bin on the PATH" >&2

test-pod: ## a pod named test-pod with steady traffic, and a server that it talks to
	$(KUBECTL) apply -f e2e/test-pod.yaml && $(KUBECTL) wait --for=condition=Ready pod/test-pod pod/test-server --timeout=120s

check: ## format, lints and the tests that need neither root nor a cluster
	e2e/check.sh

test-root: ## the tests that need root and tcpdump, and those that take minutes
	e2e/install.sh tcpdump && cargo test --locked -- --ignored --test-threads 16

e2e: ## test.sh: every promise, on a Kind cluster of its own
	./test.sh

test: check test-root e2e ## everything

demo: ## from nothing to a pod's packets on the screen; leaves the cluster up
	e2e/demo.sh

demo-down: ## removes the cluster of the demo
	e2e/cluster.sh down $(CLUSTER)

clean: ## removes all clusters, the engine that they brought, and what was built here
	e2e/cluster.sh purge && cargo clean
