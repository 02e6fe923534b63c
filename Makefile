# Every target is one command. e2e/cluster.sh uses a running Docker engine, or starts its own if there is none.
SHELL := /bin/bash
IMAGE ?= packet-capture:dev
CLUSTER ?= packet-capture
PREFIX ?= $(HOME)/.local
KUBECTL := e2e/kubectl.sh
export CLUSTER

.PHONY: help docker-build cluster kind-load deploy undeploy install-plugin test-pod check test-root e2e test demo demo-down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

docker-build: ## build the image
	e2e/cluster.sh build $(IMAGE)

cluster: ## create a Kind cluster, $(CLUSTER)
	e2e/cluster.sh up $(CLUSTER)

kind-load: ## load the image into the cluster's nodes
	e2e/cluster.sh load $(CLUSTER) $(IMAGE)

deploy: ## install or upgrade packet-capture in the cluster; ends all captures
	e2e/deploy.sh

undeploy: ## remove packet-capture and all captures from the cluster
	$(KUBECTL) delete --ignore-not-found -f daemonset.yaml

install-plugin: ## install kubectl packet-capture for this user; PREFIX=/usr/local for all
	mkdir -p $(PREFIX)/bin && install -m 755 kubectl-packet_capture $(PREFIX)/bin
	@[[ :$$PATH: == *:$(PREFIX)/bin:* ]] || echo "kubectl cannot find the plugin yet: add $(PREFIX)/bin to PATH" >&2

test-pod: ## create a pod named test-pod with steady traffic, and a server for it
	$(KUBECTL) apply -f e2e/test-pod.yaml && $(KUBECTL) wait --for=condition=Ready pod/test-pod pod/test-server --timeout=120s

check: ## check format and lints, and run the tests that need neither root nor a cluster
	e2e/check.sh

test-root: ## run the tests that need root, tcpdump or tshark, and the measurements
	e2e/install.sh tcpdump tshark wireshark-common && cargo test --locked --workspace -- --ignored --test-threads 16

e2e: ## run test.sh: every promise, on its own Kind cluster
	./test.sh

test: check test-root e2e ## run all tests

demo: ## show a pod's packets, starting from nothing; keeps the cluster
	e2e/demo.sh

demo-down: ## remove the demo's cluster
	e2e/cluster.sh down $(CLUSTER)

clean: ## remove all clusters, the Docker engine that was started for them, and all build output
	e2e/cluster.sh purge && cargo clean
