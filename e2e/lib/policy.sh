# shellcheck shell=bash disable=SC2154
# Functions for policy.yaml and for users with few permissions. Sourced by case.sh.
# A user is only a name. A user has only the permissions that the case grants.

# Applies policy.yaml until the end of the case. The policies need a moment to be in force.
apply_policy() {
  afterwards kubectl delete --ignore-not-found -f "$HERE/../policy.yaml"
  kubectl apply -f "$HERE/../policy.yaml" >/dev/null
  grant probe clusterrole=edit "$NS"
  grant probe role=packet-capture-reader kube-system
  within 30 denied starting probe
  within 30 denied exec_as probe "$CONTROLLER" ls
}

grant() { # USER KIND=ROLE NAMESPACE
  [[ $3 == "$NS" ]] || afterwards revoke "$@" # a binding in the case's own namespace is deleted with the namespace
  kubectl -n "$3" create rolebinding "$1-$ID-${2#*=}" "--$2" "--user=$1" >/dev/null
}
revoke() { kubectl -n "$3" delete --ignore-not-found rolebinding "$1-$ID-${2#*=}" >/dev/null; } # USER KIND=ROLE NAMESPACE

as() { kubectl -n "$NS" --as="$1" "${@:2}"; } # USER ARGUMENT...
starting() { pod_yaml started 5 | as "$1" create --dry-run=server -f -; } # USER
exec_as() { kubectl -n kube-system --as="$1" exec "$2" -- "${@:3}"; } # USER POD COMMAND...

# A user who may edit pods, and has every other permission that can change a pod's annotations.
editor() { # USER
  kubectl apply -f - >/dev/null <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: all-about-pods, namespace: $NS}
rules:
  - {apiGroups: [""], resources: [bindings, pods, pods/binding, pods/ephemeralcontainers, pods/status, podtemplates], verbs: ["*"]}
YAML
  grant "$1" clusterrole=edit "$NS"
  grant "$1" role=all-about-pods "$NS"
}

annotate_as() { as "$1" annotate pod "$2" --overwrite "${@:3}"; } # USER POD ANNOTATION...
patch_status_as() { as "$1" patch pod "$2" --subresource=status -p "{$3}"; } # USER POD FIELDS

# The policy denies the command; a missing permission is not enough.
denied() { # COMMAND...
  local said
  if said=$("$@" 2>&1); then fail "let through: $*" || return; fi
  [[ $said == *"ValidatingAdmissionPolicy 'packet-capture-"*' denied request: '*'; hint: '* ]] || fail "not by the policy: $*"$'\n'"$said"
}

# The API server accepts the command. The output and the exit code of the command do not matter.
let_in() { # COMMAND...
  local said
  said=$("$@" 2>&1) || [[ $said == *'command terminated with exit code'* ]] || fail "not let in: $*"$'\n'"$said"
}
