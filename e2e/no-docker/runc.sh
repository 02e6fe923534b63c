#!/usr/bin/env bash
# runc for a host that lacks CAP_SYS_RESOURCE. Removes this capability from the specification of a container (--bundle) or process (--process).
arguments=("$@")
for ((i = 0; i < $#; i++)); do
  case ${arguments[i]} in
    --bundle) specification=${arguments[i + 1]}/config.json ;;
    --process) specification=${arguments[i + 1]} ;;
  esac
done
[[ -z ${specification:-} ]] || sed -i 's/"CAP_SYS_RESOURCE",//g; s/,"CAP_SYS_RESOURCE"//g' "$specification"
exec runc "$@"
