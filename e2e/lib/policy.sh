# shellcheck shell=bash disable=SC2154
# policy.yaml, and people with few rights. Sourced by case.sh.
# A person is a name alone: what it may do is what the case gives it.

# Until the case is over. The policies take a moment to be in force.
apply_policy() {
  afterwards kubectl delete --ignore-not-found -f "$HERE/../policy.yaml"
  kubectl apply -f "$HERE/../policy.yaml" >/dev/null
  give probe clusterrole=edit "$NS"
  give probe role=packet-capture-reader kube-system
  within 30 denied starting probe
  within 30 denied exec_as probe "$CONTROLLER" ls
}

give() { # PERSON KIND=ROLE NAMESPACE
  [[ $3 == "$NS" ]] || afterwards take "$@" # what is in the case's own goes with it
  kubectl -n "$3" create rolebinding "$1-$ID-${2#*=}" "--$2" "--user=$1" >/dev/null
}
take() { kubectl -n "$3" delete --ignore-not-found rolebinding "$1-$ID-${2#*=}" >/dev/null; } # PERSON KIND=ROLE NAMESPACE

as() { kubectl -n "$NS" --as="$1" "${@:2}"; } # PERSON ARGUMENT...
starting() { pod_yaml started 5 | as "$1" create --dry-run=server -f -; } # PERSON
exec_as() { kubectl -n kube-system --as="$1" exec "$2" -- "${@:3}"; } # PERSON POD COMMAND...

# May edit, and do whatever else reaches a pod's annotations.
editor() { # PERSON
  kubectl apply -f - >/dev/null <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: all-about-pods, namespace: $NS}
rules:
  - {apiGroups: [""], resources: [bindings, pods, pods/binding, pods/ephemeralcontainers, pods/status, podtemplates], verbs: ["*"]}
YAML
  give "$1" clusterrole=edit "$NS"
  give "$1" role=all-about-pods "$NS"
}

annotate_as() { as "$1" annotate pod "$2" --overwrite "${@:3}"; } # PERSON POD ANNOTATION...
patch_status_as() { as "$1" patch pod "$2" --subresource=status -p "{$3}"; } # PERSON POD FIELDS

# By the policy, not for want of an ordinary right.
denied() { # COMMAND...
  local said
  if said=$("$@" 2>&1); then fail "let through: $*" || return; fi
  [[ $said == *"ValidatingAdmissionPolicy 'packet-capture-"*' denied request: '*'; hint: '* ]] || fail "not by the policy: $*"$'\n'"$said"
}

# What the command says and how it ends is its own affair.
let_in() { # COMMAND...
  local said
  said=$("$@" 2>&1) || [[ $said == *'command terminated with exit code'* ]] || fail "not let in: $*"$'\n'"$said"
}
