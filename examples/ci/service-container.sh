#!/usr/bin/env bash
# Berth as a service container: the engine's socket is handed in, code goes to functions by copy. Needs docker and the AWS
# CLI, and an image of Berth (`make image`; BERTH_IMAGE names another).
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
container=$(docker run --detach --publish 127.0.0.1::3001 --env BERTH_DELIVERY=copy \
  --volume /var/run/docker.sock:/var/run/docker.sock "${BERTH_IMAGE:-berth}")

clean_up() {
  local status=$?
  trap - EXIT INT TERM
  [ "$status" = 0 ] || docker logs --tail 50 "$container" >&2 || true
  docker stop --time 30 "$container" >/dev/null || true  # kindly: it takes the functions' containers with it
  docker rm --force --volumes "$container" >/dev/null || true
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT INT TERM

docker exec "$container" berth doctor --ready --wait 120
# Asked for only now: it changes when Berth joins its functions' network.
AWS_ENDPOINT_URL=http://$(docker port "$container" 3001/tcp)
export AWS_ENDPOINT_URL AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=berth AWS_SECRET_ACCESS_KEY=berth AWS_PAGER=

(cd pytest/greeting && python3 -m zipfile -c "$work/greeting.zip" app.py)
aws lambda create-function --function-name greeting --runtime python3.11 --handler app.handler \
  --role arn:aws:iam::123456789012:role/any --zip-file "fileb://$work/greeting.zip" >/dev/null
aws lambda wait function-active-v2 --function-name greeting
echo '{"name": "service container"}' >"$work/event.json"
aws lambda invoke --function-name greeting --payload "fileb://$work/event.json" "$work/answer.json" >/dev/null
cat "$work/answer.json"
grep -q '"Hello, service container!"' "$work/answer.json"
