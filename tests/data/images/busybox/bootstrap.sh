#!/bin/sh
# Answers each event with what it sees of its surroundings, as lines in one JSON string.
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while :; do
    wget -q -S -O /tmp/event "$api/invocation/next" 2>/tmp/headers || exit 1
    id="$(sed -n 's/^ *Lambda-Runtime-Aws-Request-Id: *\([0-9a-f-]*\).*/\1/pi' /tmp/headers)"
    [ "$(cat /tmp/event)" != '"exit"' ] || exit 3
    touch /store/new 2>/dev/null && store=writable || store=read-only
    seen="arguments=$*;cwd=$PWD;uid=$(id -u);greeting=$GREETING;region=$AWS_REGION;preload=$LD_PRELOAD;store=$store $(cat /store/file);tmp=$(echo /tmp/*)"
    wget -q -O /dev/null --post-data "\"$seen\"" "$api/invocation/$id/response" || exit 2
done
