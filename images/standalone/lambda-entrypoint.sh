#!/bin/dash
# Starts the runtime of a container image: under the platform where there is one, else under the emulator, which then
# takes invocations on port 8080. The one argument is the handler.
if [ $# -ne 1 ]; then
    echo "entrypoint requires the handler name to be the first argument" >&2
    exit 142
fi
export _HANDLER="$1"

# Where Node.js looks for what layers bring; empty in other images.
search=@NODE_PATH@
[ -z "$search" ] || export NODE_PATH="${NODE_PATH:-$search}"

# What SDKs and tracers know a managed runtime by; OS-only ones have none.
execution=@EXECUTION@
[ -z "$execution" ] || export AWS_EXECUTION_ENV="$execution"

# OS-only runtimes have what the Dockerfile copied, here or there.
for bootstrap in /var/runtime/bootstrap /var/task/bootstrap /opt/bootstrap; do
    [ ! -e "$bootstrap" ] || break
done

if [ -z "$AWS_LAMBDA_RUNTIME_API" ]; then
    exec /usr/local/bin/aws-lambda-rie "$bootstrap"
fi
exec "$bootstrap"
