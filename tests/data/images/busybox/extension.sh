#!/bin/sh
# An external extension that lies in the image: registers, and says what it hears of.
api="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
id="$(wget -q -S -O /dev/null --header 'Lambda-Extension-Name: watcher' --post-data '{"events":["INVOKE"]}' "$api/register" 2>&1 |
    sed -n 's/^ *Lambda-Extension-Identifier: *\([0-9a-f-]*\).*/\1/pi')"
while event="$(wget -q -O - --header "Lambda-Extension-Identifier: $id" "$api/event/next")"; do
    echo "watcher heard ${event}"
done
