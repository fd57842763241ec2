#!/usr/bin/env bash
# What a workflow's step runs (workflow.yml): Berth on the runner itself, a template deployed, tests against the same Berth.
# Needs `berth` and `pytest` in PATH's Python, and the runner's engine.
set -euo pipefail
cd "$(dirname "$0")"
data=${RUNNER_TEMP:-$(mktemp -d)}/berth

clean_up() {
  local status=$?
  trap - EXIT INT TERM
  [ "$status" = 0 ] || tail -n 50 "$data/berth.log" >&2 || true
  berth down --data-dir "$data" || true
  rm -rf "$data"
  exit "$status"
}
trap clean_up EXIT INT TERM

berth up --detach --data-dir "$data" --port 0
BERTH_URL=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["url"])' "$data/berth.json")
export BERTH_URL
berth doctor --ready --wait 120

echo "::group::Deploy"
berth deploy --template ../sam-demo/template.yaml
berth invoke sam-demo-Greet:live --payload '{"name": "CI"}' | tee "$data/greeting.json"
echo "::endgroup::"

echo "::group::Tests"
BERTH_ENDPOINT=$BERTH_URL python3 -m pytest pytest -p no:cacheprovider
echo "::endgroup::"

if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  { echo "### Berth"; echo '```json'; cat "$data/greeting.json"; echo; echo '```'; } >>"$GITHUB_STEP_SUMMARY"
fi
